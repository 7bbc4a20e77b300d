#include "crescendo/kernels/cpu/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "crescendo/core/tensor.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

struct Inputs {
  Tensor q, k, v, bias;  // (B, N, heads, d), (B, M, heads, d), the same, (B, M)
};

Tensor expected(const Inputs& in) {
  const Tensor q = in.q.to(at::kDouble).transpose(1, 2), k = in.k.to(at::kDouble).transpose(1, 2),
               v = in.v.to(at::kDouble).transpose(1, 2);
  Tensor scores = at::matmul(q, k.transpose(-2, -1)) / std::sqrt(static_cast<double>(q.size(-1)));
  if (in.bias.defined()) scores = scores + in.bias.to(at::kDouble).unsqueeze(1).unsqueeze(1);
  return at::matmul(at::softmax(scores, -1), v).transpose(1, 2);
}

template <class T>
HeadRows<T> rows_of(const Tensor& t) {
  return {t.data_ptr<T>(), t.stride(0), t.stride(1)};
}

template <class T = float>
Tensor attended(const Inputs& in) {
  const Tensor out = at::full(in.q.sizes(), NAN, in.q.options());
  const bool biased = in.bias.defined();
  attend(Attention<T>{in.q.size(0), in.q.size(2), in.q.size(3), in.q.size(1), in.k.size(1), rows_of<T>(in.q),
                      rows_of<T>(in.k), rows_of<T>(in.v),
                      static_cast<float>(1 / std::sqrt(static_cast<double>(in.q.size(3)))),
                      biased ? in.bias.data_ptr<float>() : nullptr, biased ? in.bias.stride(0) : 0, out.data_ptr<T>()});
  return out;
}

class AttentionInOne : public testing::Test {
 protected:
  void SetUp() override {
    if (!attends(at::kFloat)) GTEST_SKIP() << "needs oneDNN";
  }
};

// Queries and keys that fill tiles and those that do not, as parts of one tensor.
TEST_F(AttentionInOne, IsItsDefinition) {
  for (const int64_t queries : {1, 5, 12, 13, 40})
    for (const int64_t keys : {1, 3, 16, 37, 320})
      for (const int64_t channels : {4, 16, 20, 80}) {
        const int64_t batch = 2, heads = 3;
        const Tensor kv = at::randn({batch, keys, 2, heads, channels});
        const Inputs in{at::randn({batch, queries, heads, channels}), kv.select(2, 0), kv.select(2, 1), {}};
        EXPECT_LT(relative_l2(attended(in), expected(in)), 1e-6) << queries << " " << keys << " " << channels;
      }
}

// More scores than are taken at a time.
TEST_F(AttentionInOne, TakesQueriesInTurn) {
  const Inputs in{at::randn({1, 300, 1, 8}), at::randn({1, 1000, 1, 8}), at::randn({1, 1000, 1, 8}), {}};
  EXPECT_LT(relative_l2(attended(in), expected(in)), 1e-6);
}

// Where numbers round: what goes in, the softmax as a factor, and what comes out.
TEST_F(AttentionInOne, InBf16IsItsDefinitionToItsRounding) {
  if (!attends(at::kBFloat16)) GTEST_SKIP() << "needs products in bf16";
  for (const int64_t queries : {1, 13, 40})
    for (const int64_t keys : {1, 3, 37, 320})
      for (const int64_t channels : {4, 20, 80}) {
        const Tensor kv = at::randn({2, keys, 2, 3, channels}).to(at::kBFloat16), bias = at::randn({2, keys});
        const Inputs in{at::randn({2, queries, 3, channels}).to(at::kBFloat16), kv.select(2, 0), kv.select(2, 1), bias};
        EXPECT_LT(relative_l2(attended<c10::BFloat16>(in).to(at::kFloat), expected(in)), 4e-3)
            << queries << " " << keys << " " << channels;
      }
}

TEST_F(AttentionInOne, WhatIsHiddenIsNotSeen) {
  const Tensor bias = at::zeros({2, 30});
  bias[0].slice(0, 20).fill_(-std::numeric_limits<float>::infinity());
  bias[1].slice(0, 0, 5).fill_(-std::numeric_limits<float>::infinity());
  const Inputs in{at::randn({2, 7, 2, 8}), at::randn({2, 30, 2, 8}), at::randn({2, 30, 2, 8}), bias};
  const Tensor out = attended(in);
  EXPECT_LT(relative_l2(out, expected(in)), 1e-6);
  in.v[0].slice(0, 20).fill_(1e20);
  in.k[1].slice(0, 0, 5).fill_(1e3);
  EXPECT_LT(relative_l2(attended(in), out), 1e-6);
}

TEST_F(AttentionInOne, SurvivesLargeScores) {
  Inputs in{at::randn({1, 9, 1, 16}) * 100, at::randn({1, 50, 1, 16}) * 100, at::randn({1, 50, 1, 16}), {}};
  EXPECT_LT(relative_l2(attended(in), expected(in)), 1e-4);
  in.q = in.q * -1e4;
  EXPECT_TRUE(attended(in).isfinite().all().item<bool>());
}

}  // namespace
}  // namespace crescendo
