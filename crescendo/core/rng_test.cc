#include "crescendo/core/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

namespace crescendo {
namespace {

using Block = std::array<uint32_t, 4>;
using Key = std::array<uint32_t, 2>;

// Philox4x32-10 as the paper draws it: an S-box on each half, then a permutation of the words, key bumped by Weyl
// constants between rounds.
Block reference_philox(Block c, Key k) {
  for (int round = 0; round < 10; ++round) {
    if (round > 0) k = {k[0] + 0x9E3779B9u, k[1] + 0xBB67AE85u};
    const uint64_t left = uint64_t{c[0]} * 0xD2511F53u, right = uint64_t{c[2]} * 0xCD9E8D57u;
    const auto high = [](uint64_t v) { return static_cast<uint32_t>(v >> 32); };
    const auto low = [](uint64_t v) { return static_cast<uint32_t>(v); };
    c = {high(right) ^ c[1] ^ k[0], low(right), high(left) ^ c[3] ^ k[1], low(left)};
  }
  return c;
}

Block first_block(Rng rng) { return {rng.next_u32(), rng.next_u32(), rng.next_u32(), rng.next_u32()}; }

// The known answers that come with Random123 (kat_vectors, philox4x32 10).
TEST(Rng, ReferenceGivesTheKnownAnswers) {
  EXPECT_EQ(reference_philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(reference_philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(reference_philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, StreamsArePhiloxBlocks) {
  EXPECT_EQ(first_block(Rng(0, Draw::kInitialNoise)), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  for (const uint64_t seed : {uint64_t{1}, uint64_t{0x123456789ABCDEF0}}) {
    for (const auto& [a, b] : {std::pair<uint32_t, uint32_t>{0, 0}, {9, 0}, {0, 99}, {0xFFFFFFFF, 0xFFFFFF}}) {
      Rng rng(seed, Draw::kStepNoise, a, b);
      for (uint32_t n = 0; n < 3; ++n)
        for (const uint32_t expected :
             reference_philox({n, static_cast<uint32_t>(Draw::kStepNoise) | b << 8, a, 0},
                              {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}))
          EXPECT_EQ(rng.next_u32(), expected) << "block " << n;
    }
  }
}

TEST(Rng, EveryPartOfTheNameMakesAnotherStream) {
  std::set<Block> seen;
  size_t streams = 0;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32})
    for (uint32_t purpose = 0; purpose <= static_cast<uint32_t>(Draw::kOther); ++purpose)
      for (uint32_t a = 0; a < 4; ++a)
        for (uint32_t b = 0; b < 4; ++b, ++streams)
          seen.insert(first_block(Rng(seed, static_cast<Draw>(purpose), a, b)));
  EXPECT_EQ(seen.size(), streams);
}

// Neighbouring streams must not go together: the correlation of n pairs has a deviation of 1 / sqrt(n).
TEST(Rng, NeighbouringStreamsAreUncorrelated) {
  constexpr size_t n = 20000;
  const auto numbers = [](Rng rng) {
    std::vector<float> v(n);
    rng.fill_normal(v);
    return v;
  };
  const auto base = numbers(Rng(5, Draw::kStepNoise, 1, 1));
  for (const Rng& other : {Rng(6, Draw::kStepNoise, 1, 1), Rng(5, Draw::kInitialNoise, 1, 1),
                           Rng(5, Draw::kStepNoise, 2, 1), Rng(5, Draw::kStepNoise, 1, 2)}) {
    const auto v = numbers(other);
    double dot = 0;
    for (size_t i = 0; i < n; ++i) dot += static_cast<double>(base[i]) * static_cast<double>(v[i]);
    EXPECT_LT(std::abs(dot / n), 4 / std::sqrt(static_cast<double>(n)));
  }
}

TEST(Rng, UniformCoversTheUnitInterval) {
  Rng rng(1, Draw::kOther);
  constexpr int n = 100000;
  double sum = 0, squares = 0, low = 1, high = 0;
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform();
    ASSERT_TRUE(u >= 0 && u < 1);
    sum += u;
    squares += u * u;
    low = std::min(low, u);
    high = std::max(high, u);
  }
  EXPECT_NEAR(sum / n, 0.5, 0.004);
  EXPECT_NEAR(squares / n, 1.0 / 3, 0.004);
  EXPECT_LT(low, 1e-3);
  EXPECT_GT(high, 1 - 1e-3);
  for (int i = 0; i < 1000; ++i) {
    const double u = rng.uniform(-3, 5);
    EXPECT_TRUE(u >= -3 && u < 5);
  }
}

TEST(Rng, BelowIsUnbiased) {
  Rng rng(2, Draw::kOther);
  constexpr int64_t n = 7, draws = 70000;
  std::array<double, n> count{};
  for (int64_t i = 0; i < draws; ++i) {
    const int64_t v = rng.below(n);
    ASSERT_TRUE(v >= 0 && v < n);
    ++count[static_cast<size_t>(v)];
  }
  double chi2 = 0;
  for (const double c : count) chi2 += (c - draws / n) * (c - draws / n) / (draws / n);
  EXPECT_LT(chi2, 22.5);  // 6 degrees of freedom: exceeded once in 1000 seeds
  EXPECT_EQ(rng.below(1), 0);

  // Where 2^64 is not a multiple of n, plain modulo favours small numbers: for n = 3 * 2^61 the first third would come
  // 3 times in 8 instead of 1 in 3.
  constexpr int64_t large = int64_t{3} << 61;
  int first_third = 0;
  for (int i = 0; i < 30000; ++i) first_third += rng.below(large) < large / 3;
  EXPECT_NEAR(first_third / 30000.0, 1.0 / 3, 0.011);
}

TEST(Rng, NormalsHaveTheMomentsOfTheNormal) {
  Rng rng(3, Draw::kOther);
  std::vector<float> v(200000);
  rng.fill_normal(v);
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, neighbours = 0;
  const auto n = static_cast<double>(v.size());
  for (size_t i = 0; i < v.size(); ++i) {
    const double x = v[i];
    ASSERT_TRUE(std::isfinite(x));
    m1 += x / n;
    m2 += x * x / n;
    m3 += x * x * x / n;
    m4 += x * x * x * x / n;
    if (i % 2) neighbours += x * static_cast<double>(v[i - 1]) / (n / 2);  // cosine and sine of one pair
  }
  EXPECT_NEAR(m1, 0, 0.01);
  EXPECT_NEAR(m2, 1, 0.015);
  EXPECT_NEAR(m3, 0, 0.04);
  EXPECT_NEAR(m4, 3, 0.15);
  EXPECT_NEAR(neighbours, 0, 0.015);
  EXPECT_GT(*std::max_element(v.begin(), v.end()), 4.0f);  // has tails
}

TEST(Rng, EvenPiecesGiveTheSameNormals) {
  std::vector<float> whole(100), pieces(100);
  Rng(4, Draw::kOther).fill_normal(whole);
  Rng rng(4, Draw::kOther);
  rng.fill_normal(std::span(pieces).subspan(0, 38));
  rng.fill_normal(std::span(pieces).subspan(38, 2));
  rng.fill_normal(std::span(pieces).subspan(40));
  EXPECT_EQ(whole, pieces);
  std::vector<float> odd(99);
  Rng(4, Draw::kOther).fill_normal(odd);
  EXPECT_TRUE(std::equal(odd.begin(), odd.end(), whole.begin()));
}

TEST(Rng, SeekGoesToANumber) {
  Rng straight(9, Draw::kOther, 1, 2);
  std::vector<uint32_t> words(40);
  for (uint32_t& w : words) w = straight.next_u32();
  Rng jumping(9, Draw::kOther, 1, 2);
  for (const uint64_t index : {uint64_t{32}, uint64_t{0}, uint64_t{4}, uint64_t{4}}) {
    jumping.seek(index);
    for (uint64_t i = index; i < index + 6; ++i) EXPECT_EQ(jumping.next_u32(), words[i]) << index;
  }
}

TEST(Rng, ShuffleGivesEveryPermutationEqually) {
  std::map<std::array<int, 3>, int> count;
  Rng rng(5, Draw::kOther);
  for (int i = 0; i < 12000; ++i) {
    std::array<int, 3> items{0, 1, 2};
    rng.shuffle(std::span<int>(items));
    ++count[items];
  }
  ASSERT_EQ(count.size(), 6u);
  for (const auto& [permutation, times] : count) EXPECT_NEAR(times, 2000, 180);  // 4.4 deviations
  std::vector<int> none;
  rng.shuffle(std::span<int>(none));
}

// The first outputs of splitmix64 started at 0, as published with it.
TEST(Rng, DerivedSeedsAreSplitmix64) {
  EXPECT_EQ(derive_seed(0, 0), 0xe220a8397b1dcdafu);
  EXPECT_EQ(derive_seed(0, 1), 0x6e789e6aa1b965f4u);
  EXPECT_EQ(derive_seed(0, 2), 0x06c45d188009454fu);
  EXPECT_NE(derive_seed(1, 0), derive_seed(0, 0));
}

TEST(Rng, SeedsFromTheSystemAreEasyToType) {
  std::set<uint64_t> seen;
  for (int i = 0; i < 8; ++i) {
    const uint64_t seed = random_seed();
    EXPECT_LT(seed, uint64_t{1} << 31);
    seen.insert(seed);
  }
  EXPECT_GT(seen.size(), 6u);
}

}  // namespace
}  // namespace crescendo
