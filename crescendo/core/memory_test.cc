#include "crescendo/core/memory.h"

#include <gtest/gtest.h>

#include <limits>

#include "crescendo/core/file.h"
#include "tests/support.h"

namespace crescendo {
namespace {

// A file system of our own, with 8 GiB available.
class AvailableMemory : public ::testing::Test {
 protected:
  void SetUp() override { put("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\n"); }
  void put(const std::string& file, const std::string& content) {
    make_directories((root_ / file).parent_path());
    write_file_atomically(root_ / file, content);
  }
  int64_t mib() const { return available_memory_bytes(root_.path()) >> 20; }
  test::TemporaryDirectory root_;
};

TEST_F(AvailableMemory, IsTheMachinesWhereNoGroupHasALimit) {
  EXPECT_EQ(mib(), 8192);
  put("proc/self/cgroup", "0::/user.slice/session\n");
  put("sys/fs/cgroup/user.slice/session/memory.max", "max\n");
  put("sys/fs/cgroup/user.slice/session/memory.current", "1048576\n");
  EXPECT_EQ(mib(), 8192);
}

TEST_F(AvailableMemory, IsWhatTheTightestGroupAroundLeaves) {
  put("proc/self/cgroup", "0::/outer/inner\n");
  put("sys/fs/cgroup/outer/inner/memory.max", std::to_string(4LL << 30));
  put("sys/fs/cgroup/outer/inner/memory.current", std::to_string(1LL << 30));
  EXPECT_EQ(mib(), 3072);
  put("sys/fs/cgroup/outer/memory.max", std::to_string(2LL << 30));
  put("sys/fs/cgroup/outer/memory.current", std::to_string(3LL << 29));
  EXPECT_EQ(mib(), 512);
  put("sys/fs/cgroup/outer/memory.stat", "file 9999999999\ninactive_file 536870912\n");  // the kernel gives it back
  EXPECT_EQ(mib(), 1024);
}

TEST_F(AvailableMemory, KnowsTheFirstVersionOfGroups) {
  put("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/0123\n0::/\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824");  // a container sees the mount's top alone
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "268435456");
  EXPECT_EQ(mib(), 768);
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "2073741824");
  EXPECT_EQ(mib(), 0);
}

TEST_F(AvailableMemory, IsUnboundedWhereNothingIsTold) {
  const test::TemporaryDirectory nothing;
  EXPECT_EQ(available_memory_bytes(nothing.path()), std::numeric_limits<int64_t>::max());
}

TEST(CheckFitsMemory, NamesNeedAndRemedy) {
  EXPECT_NO_THROW(check_fits_memory(1, "one byte", "nothing"));
  const std::string error = test::error_of([] { check_fits_memory(7.7e18, "reading captions", "train the encoder"); });
  EXPECT_CONTAINS(error, "reading captions needs 7.7 EB of memory, ");
  EXPECT_CONTAINS(error, " are available; train the encoder");
  EXPECT_EQ(format_bytes(999), "999 bytes");
  EXPECT_EQ(format_bytes(999.6), "1 kB");
  EXPECT_EQ(format_bytes(16.3e9), "16 GB");
  EXPECT_EQ(format_bytes(999.9e9), "1 TB");
}

}  // namespace
}  // namespace crescendo
