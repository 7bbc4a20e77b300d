// What the tests of this folder share: scratch folders, the optional fixtures, and expectations about errors.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "crescendo/core/check.h"

namespace crescendo {

// A folder that is gone with the test.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "crescendo_io_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A file below $CRESCENDO_SHARED/fixtures (by default ../shared/fixtures).
inline std::filesystem::path fixture(const std::string& name) {
  const char* shared = std::getenv("CRESCENDO_SHARED");
  return std::filesystem::path(shared ? shared : "../shared") / "fixtures" / name;
}

// The message of the Error that `f` must throw; any other exception fails the test.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "not an Error: " << e.what();
    return {};
  }
  ADD_FAILURE() << "no error";
  return {};
}

// Succeeds or throws an Error; for inputs that may be valid or not.
template <class F>
bool accepts(F&& f) {
  try {
    f();
    return true;
  } catch (const Error& e) {
    EXPECT_STRNE(e.what(), "");
    return false;
  } catch (const std::exception& e) {
    ADD_FAILURE() << "not an Error: " << e.what();
    return false;
  }
}

#define EXPECT_CONTAINS(text, part) \
  EXPECT_NE(std::string(text).find(part), std::string::npos) << "'" << (text) << "' lacks '" << (part) << "'"

// Same dtype, shape and bytes.
inline bool identical(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return a.numel() == 0 || std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
}

// Touches every byte, so that a view beyond its memory is noticed under a sanitizer.
inline void touch(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.contiguous();
  const auto* bytes = static_cast<const unsigned char*>(dense.data_ptr());
  volatile unsigned sum = 0;
  for (size_t i = 0; i < dense.nbytes(); ++i) sum = sum + bytes[i];
}

}  // namespace crescendo
