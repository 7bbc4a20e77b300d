#include "crescendo/tokenizer/codebook.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace crescendo {
namespace {

// The vectors at these angles on the unit circle.
Tensor on_circle(std::vector<float> angles) {
  const Tensor a = at::tensor(angles);
  return at::stack({a.cos(), a.sin()}, 1);
}

TEST(Codebook, NearestByAngle) {
  const Tensor codebook = on_circle({0, 1, 2, 3});
  EXPECT_TRUE(at::equal(nearest_codes(on_circle({0.4F, 0.6F, 2.9F, -0.1F}), codebook),
                        at::tensor(std::vector<int64_t>{0, 1, 3, 0})));
  EXPECT_EQ(nearest_codes(at::empty({0, 2}), codebook).size(0), 0);
}

TEST(Codebook, UseIsShareAndPerplexity) {
  const CodeUse even = code_use(at::tensor(std::vector<int64_t>{0, 1, 2, 3}), 4);
  EXPECT_EQ(even.share, 1);
  EXPECT_NEAR(even.perplexity, 4, 1e-12);
  const CodeUse one = code_use(at::tensor(std::vector<int64_t>{2, 2, 2}), 4);
  EXPECT_EQ(one.share, 0.25);
  EXPECT_NEAR(one.perplexity, 1, 1e-12);
}

TEST(Codebook, AverageMovesToTheVectorsOfItsCode) {
  Tensor codebook = on_circle({0, 2});
  CodebookAverage average(codebook, {.decay = 0.5, .restart_below = 0});
  Rng rng(1, Draw::kOther);
  const Tensor first = on_circle({0.1F, 0.1F});
  EXPECT_EQ(average.update(first, at::tensor(std::vector<int64_t>{0, 0}), rng), 2) << "all codes start from the batch";
  EXPECT_TRUE(at::allclose(codebook, first));
  // Code 0 stands for vectors at 0.3 from now on, and nothing comes to code 1.
  for (int i = 0; i < 40; ++i)
    EXPECT_EQ(average.update(on_circle({0.2F, 0.4F}), at::tensor(std::vector<int64_t>{0, 0}), rng), 0);
  EXPECT_NEAR(std::atan2(codebook[0][1].item<double>(), codebook[0][0].item<double>()), 0.3, 1e-4);
  EXPECT_TRUE(at::allclose(codebook[1], first[0]));
  EXPECT_TRUE(at::allclose(at::linalg_vector_norm(codebook, 2, {1}), at::ones({2})));
}

TEST(Codebook, UnusedCodesStartAnew) {
  Tensor codebook = on_circle({0, 2, 4});
  CodebookAverage average(codebook, {.decay = 0.5, .restart_below = 0.2});
  Rng rng(1, Draw::kOther);
  const Tensor batch = on_circle({1, 1, 1});
  average.update(batch, nearest_codes(batch, codebook), rng);
  int64_t renewed = 0;
  const Tensor later = on_circle({0.5F, 0.5F, 0.5F, 0.5F});
  for (int i = 0; i < 10; ++i) renewed += average.update(later, nearest_codes(later, codebook), rng);
  EXPECT_GT(renewed, 0);
  EXPECT_NEAR((codebook - later[0]).abs().max().item<double>(), 0, 0.05);
}

}  // namespace
}  // namespace crescendo
