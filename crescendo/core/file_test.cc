#include "crescendo/core/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <ostream>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;
using test::TemporaryDirectory;

TEST(File, WritesAndReadsBytes) {
  const TemporaryDirectory dir;
  const std::string bytes("a\0b\r\n\xff", 6);
  write_file_atomically(dir / "f", bytes);
  EXPECT_EQ(read_file(dir / "f"), bytes);
  write_file_atomically(dir / "f", "");
  EXPECT_EQ(read_file(dir / "f"), "");
  EXPECT_EQ(dir.list(), std::vector<std::string>{"f"});
}

TEST(File, LargeAndPiecewiseWritesArriveWhole) {
  const TemporaryDirectory dir;
  std::string expected;
  write_file_atomically(dir / "f", [&](std::ostream& out) {
    for (size_t i = 0; i < 300; ++i) {
      const std::string piece(i * 37 % 5000 + (i == 150 ? 200000 : 0), static_cast<char>('a' + i % 26));
      out << piece;
      expected += piece;
    }
  });
  EXPECT_EQ(read_file(dir / "f"), expected);
}

TEST(File, StreamCanGoBackAndFillIn) {
  const TemporaryDirectory dir;
  write_file_atomically(dir / "f", [](std::ostream& out) {
    out << "????body";
    const auto end = out.tellp();
    EXPECT_EQ(end, std::streampos(8));
    out.seekp(0);
    out << "head";
    out.seekp(end);
    out << "!";
  });
  EXPECT_EQ(read_file(dir / "f"), "headbody!");
}

TEST(File, BareNamesGoToTheWorkingFolder) {
  const TemporaryDirectory dir;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  write_file_atomically("bare", "x");
  std::filesystem::current_path(before);
  EXPECT_EQ(read_file(dir / "bare"), "x");
}

TEST(File, PermissionsFollowTheUmask) {
  const TemporaryDirectory dir;
  const mode_t before = ::umask(027);
  write_file_atomically(dir / "f", "x");
  ::umask(before);
  struct stat info {};
  ASSERT_EQ(::stat((dir / "f").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST(File, ExceptionWhileWritingLeavesTheOldFile) {
  const TemporaryDirectory dir;
  write_file_atomically(dir / "f", "old");
  EXPECT_THROW(write_file_atomically(dir / "f",
                                     [](std::ostream& out) {
                                       out << "half of the ne";
                                       throw std::runtime_error("no more");
                                     }),
               std::runtime_error);
  EXPECT_EQ(read_file(dir / "f"), "old");
  EXPECT_EQ(dir.list(), std::vector<std::string>{"f"});
}

// A limit on the size of files stands in for a full disk: write() fails half way.
TEST(File, FullDiskLeavesTheOldFile) {
  const TemporaryDirectory dir;
  write_file_atomically(dir / "f", "old");
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 1 << 20;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = error_of([&] { write_file_atomically(dir / "f", std::string(3 << 20, 'x')); });
  const std::string piecewise = error_of([&] {
    write_file_atomically(dir / "f", [](std::ostream& out) {
      for (int i = 0; i < 3 << 10; ++i) out << std::string(1 << 10, 'x');
    });
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_CONTAINS(error, "cannot write " + (dir / "f").string() + ": File too large");
  EXPECT_CONTAINS(piecewise, "File too large");
  EXPECT_EQ(read_file(dir / "f"), "old");
  EXPECT_EQ(dir.list(), std::vector<std::string>{"f"});
}

TEST(File, PlacesThatCannotBeWrittenAreNamed) {
  const TemporaryDirectory dir;
  EXPECT_CONTAINS(error_of([&] { write_file_atomically(dir / "absent/f", "x"); }),
                  (dir / "absent/f").string() + ": No such file");
  write_file_atomically(dir / "f", "x");
  EXPECT_CONTAINS(error_of([&] { write_file_atomically(dir / "f/g", "x"); }), "Not a directory");
  EXPECT_CONTAINS(error_of([] { write_file_atomically("/proc/crescendo_test", "x"); }),
                  "cannot write /proc/crescendo_test: ");
  if (::geteuid() != 0) {  // root may write anywhere
    make_directories(dir / "locked");
    std::filesystem::permissions(dir / "locked",
                                 std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
    EXPECT_CONTAINS(error_of([&] { write_file_atomically(dir / "locked/f", "x"); }), "Permission denied");
  }
}

TEST(File, FolderInTheWayIsAnErrorAndNothingIsLeft) {
  const TemporaryDirectory dir;
  make_directories(dir / "taken");
  EXPECT_CONTAINS(error_of([&] { write_file_atomically(dir / "taken", "x"); }),
                  "cannot write " + (dir / "taken").string());
  EXPECT_EQ(dir.list(), std::vector<std::string>{"taken"});
}

// As root the rename would put a file in the place of /dev/null.
TEST(File, DevicesAndPipesAreNotReplaced) {
  const TemporaryDirectory dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_CONTAINS(error_of([&] { write_file_atomically(dir / "pipe", "x"); }), "no regular file");
  EXPECT_TRUE(std::filesystem::is_fifo(dir / "pipe"));
  EXPECT_EQ(dir.list(), std::vector<std::string>{"pipe"});
}

TEST(File, ReadErrorsNameThePath) {
  const TemporaryDirectory dir;
  EXPECT_EQ(error_of([&] { read_file(dir / "absent"); }),
            "cannot read " + (dir / "absent").string() + ": No such file or directory");
  EXPECT_EQ(error_of([&] { read_file(dir.path()); }), "cannot read " + dir.path().string() + ": it is a folder");
}

TEST(File, MakesFoldersOrSaysWhyNot) {
  const TemporaryDirectory dir;
  make_directories(dir / "a/b/c");
  make_directories(dir / "a/b/c");
  EXPECT_TRUE(std::filesystem::is_directory(dir / "a/b/c"));
  write_file_atomically(dir / "f", "x");
  EXPECT_CONTAINS(error_of([&] { make_directories(dir / "f"); }), "cannot create folder " + (dir / "f").string());
  EXPECT_CONTAINS(error_of([&] { make_directories(dir / "f/g"); }), "cannot create folder " + (dir / "f/g").string());
}

TEST(File, AFolderAppearsWholeOrNotAtAll) {
  const TemporaryDirectory dir;
  const auto fill = [&](const std::filesystem::path& folder) {
    write_file_atomically(folder / "a", "1");
    EXPECT_FALSE(std::filesystem::exists(dir / "x"));  // not before all is there
  };
  write_folder_atomically(dir / "x" / "", fill);
  EXPECT_EQ(read_file(dir / "x" / "a"), "1");
  std::filesystem::create_directory(dir / "empty");
  write_folder_atomically(dir / "empty", [](const std::filesystem::path&) {});
  EXPECT_CONTAINS(error_of([&] { write_folder_atomically(dir / "x", fill); }), "exists already");
  EXPECT_CONTAINS(error_of([&] {
                    write_folder_atomically(dir / "y", [&](const std::filesystem::path& folder) {
                      write_file_atomically(folder / "a", "1");
                      fail("no more");
                    });
                  }),
                  "no more");
  EXPECT_EQ(dir.list(), (std::vector<std::string>{"empty", "x"}));
}

// Runs `work` in a process of its own, which is killed as by `kill -9`.
template <class Work>
void killed_in(Work&& work) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    work();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
}

TEST(File, WhatAKilledProgramLeftIsRemoved) {
  const TemporaryDirectory dir;
  killed_in([&] {
    write_folder_atomically(dir / "folder", [&](const std::filesystem::path& folder) {
      write_file_atomically(folder / "inside", "x");
      write_file_atomically(dir / "a", [&](std::ostream& out) {
        out << std::string(1 << 20, 'x');
        write_file_atomically(dir / std::string(250, 'n'), [](std::ostream&) { std::raise(SIGKILL); });
      });
    });
  });
  ASSERT_EQ(dir.list().size(), 3u);
  for (const auto& name : dir.list()) EXPECT_CONTAINS(name, ".partial-");
  // Names that others may have chosen.
  const std::vector<std::string> foreign{"a.Ab12Cd",           "a.partial",           "a.partial-",
                                         "a.partial--abcdef",  "a.partial-1-abcde",   "a.partial-1-abcdefg",
                                         "a.partial-1-abc.ef", "a.partial-x1-abcdef", "a.partial-final"};
  for (const auto& name : foreign) std::ofstream(dir / name) << "mine";
  write_file_atomically(dir / "b", "y");
  std::vector<std::string> expected = foreign;
  expected.emplace_back("b");
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(dir.list(), expected);
}

TEST(File, WhatALivingProgramWritesStays) {
  const TemporaryDirectory dir;
  int to_child[2], to_parent[2];
  ASSERT_EQ(::pipe(to_child) + ::pipe(to_parent), 0);
  const auto tell = [](int end) { EXPECT_EQ(::write(end, "x", 1), 1); };
  const auto wait = [](int end) {
    char c;
    EXPECT_EQ(::read(end, &c, 1), 1);
  };
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    write_folder_atomically(dir / "folder", [&](const std::filesystem::path& folder) {
      write_file_atomically(folder / "inside", "x");
      write_file_atomically(dir / "a", [&](std::ostream& out) {
        out << "the child's";
        tell(to_parent[1]);
        wait(to_child[0]);
      });
    });
    ::_exit(0);
  }
  wait(to_parent[0]);
  write_file_atomically(dir / "a", "the parent's");
  EXPECT_EQ(dir.list().size(), 3u);
  EXPECT_EQ(read_file(dir / "a"), "the parent's");
  tell(to_child[1]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(dir.list(), (std::vector<std::string>{"a", "folder"}));
  EXPECT_EQ(read_file(dir / "a"), "the child's");
  for (const int end : {to_child[0], to_child[1], to_parent[0], to_parent[1]}) ::close(end);
}

TEST(MappedFile, HoldsTheBytes) {
  const TemporaryDirectory dir;
  write_file_atomically(dir / "f", "hello");
  const auto file = MappedFile::open(dir / "f");
  EXPECT_EQ(file->path(), dir / "f");
  ASSERT_EQ(file->bytes().size(), 5u);
  EXPECT_EQ(file->bytes()[1], std::byte{'e'});
  // A tensor that views it may be written by mistake; the file stays as it is.
  const_cast<std::byte&>(file->bytes()[0]) = std::byte{'j'};
  EXPECT_EQ(read_file(dir / "f"), "hello");
  // A new version replaces the name, not the mapped bytes.
  write_file_atomically(dir / "f", "other");
  EXPECT_EQ(file->bytes()[4], std::byte{'o'});
}

TEST(MappedFile, ReleasesWholePagesOnly) {
  const TemporaryDirectory dir;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  write_file_atomically(dir / "f", std::string(3 * page, 'a'));
  const auto file = MappedFile::open(dir / "f");
  // A written page shows whether it was given back: the file's own byte returns.
  for (size_t i = 0; i < 3; ++i) const_cast<std::byte&>(file->bytes()[i * page]) = std::byte{'b'};
  release_pages(file->bytes().subspan(1, 2 * page));  // the second page is inside, the first and third in part
  EXPECT_EQ(file->bytes()[0], std::byte{'b'});
  EXPECT_EQ(file->bytes()[page], std::byte{'a'});
  EXPECT_EQ(file->bytes()[2 * page], std::byte{'b'});
  release_pages(file->bytes().subspan(page - 1, 2));  // no whole page
  release_pages({});
  EXPECT_EQ(file->bytes()[page], std::byte{'a'});
}

TEST(MappedFile, EmptyFilesAndErrors) {
  const TemporaryDirectory dir;
  write_file_atomically(dir / "empty", "");
  EXPECT_EQ(MappedFile::open(dir / "empty")->bytes().size(), 0u);
  EXPECT_CONTAINS(error_of([&] { MappedFile::open(dir / "absent"); }), "No such file");
  EXPECT_CONTAINS(error_of([&] { MappedFile::open(dir.path()); }), "not a regular file");
}

}  // namespace
}  // namespace crescendo
