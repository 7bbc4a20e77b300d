// SHA-256 (FIPS 180-4): names files by their content, so that results say which weights they came from.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace crescendo {

class Sha256 {
 public:
  Sha256& add(std::string_view bytes);
  // 64 lower-case hexadecimal digits of all that was added.
  std::string hex() const;

 private:
  void absorb(const unsigned char* block);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> block_{};  // what does not fill a block yet
  uint64_t size_ = 0;                      // bytes added
};

std::string sha256(std::string_view bytes);
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace crescendo
