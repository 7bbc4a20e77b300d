#include "crescendo/core/workers.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/support.h"

namespace crescendo {
namespace {

TEST(Workers, RunAtTheSameTimeAndAgain) {
  Workers workers(3);
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> here{0};
    std::vector<int> calls(3, 0);
    workers.run([&](int64_t w) {
      ++calls[static_cast<size_t>(w)];
      ++here;
      while (here < 3) std::this_thread::yield();  // waits for ever unless all three run together
    });
    EXPECT_EQ(calls, (std::vector<int>{1, 1, 1}));
  }
}

TEST(Workers, OperationsOfAWorkerUseOneThreadAndTheCallersStay) {
  at::set_num_threads(2);
  Workers workers(2);
  std::vector<int> threads(2, 0);
  workers.run([&](int64_t w) { threads[static_cast<size_t>(w)] = at::get_num_threads(); });
  EXPECT_EQ(threads, (std::vector<int>{1, 1}));
  EXPECT_EQ(at::get_num_threads(), 2);
}

TEST(Workers, OneIsTheCaller) {
  Workers workers(1);
  std::thread::id id;
  workers.run([&](int64_t) { id = std::this_thread::get_id(); });
  EXPECT_EQ(id, std::this_thread::get_id());
}

TEST(Workers, TheFirstErrorComesBackAndTheNextRoundIsClean) {
  Workers workers(2);
  const auto both = [&] { workers.run([](int64_t w) { fail("worker ", w); }); };
  EXPECT_EQ(test::error_of(both), "worker 0");
  EXPECT_EQ(test::error_of([&] { workers.run([](int64_t w) { check(w == 0, "worker ", w); }); }), "worker 1");
  workers.run([](int64_t) {});
}

}  // namespace
}  // namespace crescendo
