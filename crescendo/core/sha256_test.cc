#include "crescendo/core/sha256.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "crescendo/core/file.h"

namespace crescendo {
namespace {

// The examples of FIPS 180 and its million of letters.
TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// Every length around the ends of blocks, in pieces of every size: the same as at once.
TEST(Sha256, PiecesMakeNoDifference) {
  std::string text;
  for (int i = 0; i < 200; ++i) text.push_back(static_cast<char>(i * 7));
  for (size_t length : {1, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 200}) {
    const std::string_view whole = std::string_view(text).substr(0, length);
    for (size_t piece : {1, 3, 63, 64, 65}) {
      Sha256 hash;
      for (size_t i = 0; i < length; i += piece) hash.add(whole.substr(i, piece));
      EXPECT_EQ(hash.hex(), sha256(whole)) << length << " bytes by " << piece;
      EXPECT_EQ(hash.hex(), hash.hex());
    }
  }
}

TEST(Sha256, OfAFile) {
  const auto path = std::filesystem::temp_directory_path() / ("sha256_test_" + std::to_string(::getpid()));
  write_file_atomically(path, "abc");
  EXPECT_EQ(sha256_of_file(path), sha256("abc"));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace crescendo
