#include "crescendo/core/rng.h"

#include <cmath>
#include <numbers>
#include <random>

namespace crescendo {

namespace {

// Ten rounds of Philox 4x32 (Salmon et al. 2011, table 2 for the constants).
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return c;
}

}  // namespace

// The first counter word runs; the other three name the stream. Purpose and b share one word: 2^8 purposes, 2^24 inner
// steps.
Rng::Rng(uint64_t seed, Draw purpose, uint32_t a, uint32_t b)
    : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
      counter_{0, static_cast<uint32_t>(purpose) | b << 8, a, 0} {}

void Rng::refill() {
  block_ = philox(counter_, key_);
  if (++counter_[0] == 0) ++counter_[3];
  used_ = 0;
}

uint32_t Rng::next_u32() {
  if (used_ == 4) refill();
  return block_[used_++];
}

uint64_t Rng::next_u64() {
  const uint64_t low = next_u32();
  return low | uint64_t{next_u32()} << 32;
}

double Rng::uniform() { return static_cast<double>(next_u64() >> 11) * 0x1.0p-53; }
double Rng::uniform(double low, double high) { return low + (high - low) * uniform(); }

int64_t Rng::below(int64_t n) {
  const auto range = static_cast<uint64_t>(n);
  const uint64_t limit = UINT64_MAX - UINT64_MAX % range;
  uint64_t v;
  do v = next_u64();
  while (v >= limit);
  return static_cast<int64_t>(v % range);
}

double Rng::normal() {
  float pair[2];
  fill_normal(pair);
  return pair[0];
}

void Rng::fill_normal(std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 2) {
    const float u1 = (static_cast<float>(next_u32() >> 8) + 1.0f) * 0x1.0p-24f;  // in (0, 1], so that the log is finite
    const float u2 = static_cast<float>(next_u32() >> 8) * 0x1.0p-24f;
    const float radius = std::sqrt(-2.0f * std::log(u1));
    const float angle = 2.0f * std::numbers::pi_v<float> * u2;
    out[i] = radius * std::cos(angle);
    if (i + 1 < out.size()) out[i + 1] = radius * std::sin(angle);
  }
}

uint64_t derive_seed(uint64_t seed, uint64_t index) {
  uint64_t z = seed + 0x9E3779B97F4A7C15 * (index + 1);
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
  z = (z ^ z >> 27) * 0x94D049BB133111EB;
  return z ^ z >> 31;
}

uint64_t random_seed() { return std::random_device{}() & 0x7FFFFFFF; }

}  // namespace crescendo
