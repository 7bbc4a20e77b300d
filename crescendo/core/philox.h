// Philox4x32-10 (Salmon et al. 2011), for CPUs and GPUs: block n of a stream, and normal numbers from its words.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define CRESCENDO_PHILOX __host__ __device__ __forceinline__
#else
#define CRESCENDO_PHILOX inline
#endif

namespace crescendo {

struct PhiloxStream {
  uint32_t key[2];
  uint32_t name[2];  // words 1 and 2 of the counter; 0 and 3 run
};
struct PhiloxBlock {
  uint32_t word[4];
};
struct NormalPair {
  float first, second;
};

// Stream (purpose, a, b) of a seed. Purpose and b share one word: 2^8 purposes, 2^24 inner steps.
CRESCENDO_PHILOX PhiloxStream philox_stream(uint64_t seed, uint32_t purpose, uint32_t a, uint32_t b) {
  return {{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}, {purpose | b << 8, a}};
}

// Ten rounds (table 2 for the constants).
CRESCENDO_PHILOX PhiloxBlock philox(const PhiloxStream& stream, uint64_t n) {
  PhiloxBlock c = {{static_cast<uint32_t>(n), stream.name[0], stream.name[1], static_cast<uint32_t>(n >> 32)}};
  uint32_t k0 = stream.key[0], k1 = stream.key[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c.word[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c.word[2];
    c = {{static_cast<uint32_t>(p1 >> 32) ^ c.word[1] ^ k0, static_cast<uint32_t>(p1),
          static_cast<uint32_t>(p0 >> 32) ^ c.word[3] ^ k1, static_cast<uint32_t>(p0)}};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}

CRESCENDO_PHILOX NormalPair box_muller(uint32_t a, uint32_t b) {
  const float u1 = (static_cast<float>(a >> 8) + 1.0f) * (1.0f / 16777216.0f);  // in (0, 1], so that the log is finite
  const float u2 = static_cast<float>(b >> 8) * (1.0f / 16777216.0f);
  const float radius = sqrtf(-2.0f * logf(u1));
  const float angle = 6.28318530717958647692f * u2;
  return {radius * cosf(angle), radius * sinf(angle)};
}

}  // namespace crescendo
