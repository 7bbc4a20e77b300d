// A 64-bit hash of bytes, to tell contents apart: not against an adversary.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace crescendo {

class Hash64 {
 public:
  // Each call is an item of its own: add("ab") and add("a"), add("b") differ.
  Hash64& add(std::string_view bytes) {
    mix(bytes.size());
    for (; bytes.size() >= 8; bytes.remove_prefix(8)) mix(word(bytes.data(), 8));
    if (!bytes.empty()) mix(word(bytes.data(), bytes.size()));
    return *this;
  }
  Hash64& add(uint64_t number) {
    mix(number);
    return *this;
  }
  uint64_t value() const {
    uint64_t h = state_;
    h = (h ^ (h >> 32)) * kOdd;
    h = (h ^ (h >> 29)) * kOdd;
    return h ^ (h >> 32);
  }

 private:
  static constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u;  // 2^64 over the golden ratio
  static uint64_t word(const char* bytes, size_t count) {
    uint64_t w = 0;
    std::memcpy(&w, bytes, count);
    return w;
  }
  void mix(uint64_t w) {
    uint64_t h = (state_ ^ w) * kOdd;
    h ^= h >> 32;  // or the highest bit of one word would only meet a single bit of the next
    state_ = (h + kOdd) * kOdd;
  }
  uint64_t state_ = kOdd;
};

}  // namespace crescendo
