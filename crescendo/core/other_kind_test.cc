#include "crescendo/core/other_kind.h"

#include <gtest/gtest.h>

#include "crescendo/core/check.h"
#include "crescendo/core/json.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using namespace std::string_literals;

std::string kind(const std::string& content) { return other_kind_or_text(content, content.size()); }

TEST(OtherKind, NamesWhatDownloadsLeave) {
  EXPECT_EQ(kind("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 334693512\n"),
            "a Git LFS pointer, not the file itself of 334693512 bytes; fetch that, e.g. with `git lfs pull`");
  EXPECT_CONTAINS(kind(""), "an empty file");
  EXPECT_CONTAINS(kind("\xef\xbb\xbf \n<!DOCTYPE HTML><html>"), "a web page");
  EXPECT_CONTAINS(kind("<html lang=\"en\">"), "a web page");
  EXPECT_CONTAINS(kind("<?xml version=\"1.0\"?><Error>"), "an XML text");
  EXPECT_CONTAINS(kind("{\"error\": \"gated\"}"), "a JSON text that begins '{\"error\": \"gated\"}'");
  EXPECT_CONTAINS(kind("Entry not found\nx"), "a text that begins 'Entry not found'");
  EXPECT_CONTAINS(kind(std::string(600, '\0')), "zeros");
}

TEST(OtherKind, NamesArchivesAndOtherModels) {
  const std::vector<std::pair<std::string, std::string>> all = {
      {"\x1f\x8b\x08", "gzip"},
      {"7z\xbc\xaf\x27\x1c", "7z"},
      {"Rar!\x1a\x07", "RAR"},
      {"BZh91", "bzip2"},
      {"\xfd\x37zXZ", "xz"},
      {"\x28\xb5\x2f\xfd", "zstd"},
      {"name" + std::string(253, '\0') + "ustar", "tar"},
      {"GGUF\3\0\0\0"s, "GGUF"},
      {"\x1c\0\0\0TFL3"s, "TensorFlow Lite"},
      {"\x89HDF\r\n\x1a\n", "HDF5"},
      {"\x08\x08\x12\x07pytorch\x1a\x05"s + "2.1.0xxxx", "ONNX"},
      {"\x08\x01\x12\x40\x0a\x30\x12\x05serve...................", "TensorFlow"},
  };
  for (const auto& [content, name] : all) EXPECT_CONTAINS(kind(content), name);
  EXPECT_EQ(kind("\x80\x02}q\x00."s), "");
  EXPECT_EQ(other_kind("plain", 5), "");
}

TEST(OtherKind, IsSaidOfWhatShouldBeJson) {
  EXPECT_CONTAINS(test::error_of([] { parse_json("<html></html>", "config.json"); }),
                  "config.json is not valid JSON: line 1, column 1; it is a web page");
}

}  // namespace
}  // namespace crescendo
