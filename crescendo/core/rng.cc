#include "crescendo/core/rng.h"

#include <random>

namespace crescendo {

Rng::Rng(uint64_t seed, Draw purpose, uint32_t a, uint32_t b)
    : stream_(philox_stream(seed, static_cast<uint32_t>(purpose), a, b)) {}

Rng& Rng::seek(uint64_t index) {
  next_block_ = index / 4;
  used_ = 4;
  return *this;
}

void Rng::refill() {
  block_ = philox(stream_, next_block_++);
  used_ = 0;
}

uint32_t Rng::next_u32() {
  if (used_ == 4) refill();
  return block_.word[used_++];
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
    const uint32_t a = next_u32(), b = next_u32();
    const NormalPair normals = box_muller(a, b);
    out[i] = normals.first;
    if (i + 1 < out.size()) out[i + 1] = normals.second;
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
