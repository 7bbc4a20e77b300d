// What tests share: the folder of fixtures, comparison of tensors, a folder of their own.
#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>
#include <stdlib.h>  // mkdtemp

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "crescendo/core/check.h"

namespace crescendo::test {

// The folder with fixtures/ and data/: $CRESCENDO_SHARED, else ../shared beside the checkout (tests run at its top).
inline std::filesystem::path shared_path(const std::string& inside) {
  const char* variable = std::getenv("CRESCENDO_SHARED");
  return std::filesystem::path(variable && *variable ? variable : "../shared") / inside;
}

// First line of a test that needs a file or folder of the shared folder.
#define CRESCENDO_NEEDS_SHARED(inside)                                  \
  if (!std::filesystem::exists(::crescendo::test::shared_path(inside))) \
  GTEST_SKIP() << "needs " << ::crescendo::test::shared_path(inside).string() << "; CRESCENDO_SHARED names its top"

// ||a - b|| / ||b|| over the whole tensor, in double. Infinite where shapes differ, so that no tolerance accepts it.
inline double relative_l2(const at::Tensor& a, const at::Tensor& expected) {
  if (!a.defined() || a.sizes() != expected.sizes()) return HUGE_VAL;
  const at::Tensor e = expected.detach().to(at::kCPU, at::kDouble);
  const double error = a.detach().to(at::kCPU, at::kDouble).sub(e).norm().item<double>();
  const double size = e.norm().item<double>();
  return error == 0 ? 0 : error / size;
}

// The message of the Error that `action` throws; a failed expectation where it throws none.
template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

// As error_of, for what a user asked wrongly (exit code 2).
template <class Action>
std::string usage_error_of(Action&& action) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), Error::Kind::kUsage) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
#define EXPECT_CONTAINS(text, part) EXPECT_PRED2(::crescendo::test::contains, text, part)

// A folder that is removed again.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "crescendo_test_XXXXXX").string();
    if (!::mkdtemp(name.data())) fail("cannot make a temporary folder like ", name);
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  // Names of what it holds, sorted.
  std::vector<std::string> list() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace crescendo::test
