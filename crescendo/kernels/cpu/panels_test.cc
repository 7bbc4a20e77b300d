#include "crescendo/kernels/cpu/panels.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/core/tensor.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using panels::Product;

float* data(const Tensor& t) { return t.data_ptr<float>(); }

template <class T>
Tensor packed(const Tensor& factor) {
  const Tensor out = at::empty({panels::packed_size<T>(factor.size(0), factor.size(1))}, factor.options());
  panels::pack(factor.data_ptr<T>(), factor.stride(0), factor.stride(1), factor.size(0), factor.size(1),
               out.data_ptr<T>());
  return out;
}

TEST(Panels, WriteTheirOwnPlacesOnly) {
  const int64_t rows = 7, depth = 9, outputs = 21, x_stride = 11, out_stride = 30;
  const Tensor x = at::randn({rows, x_stride}), weight = at::randn({outputs, depth}), panels = packed<float>(weight),
               out = at::full({rows + 1, out_stride}, 7.0f);
  panels::multiply(
      Product<float, float>{rows, depth, outputs, data(x), x_stride, data(panels), nullptr, 0, data(out), out_stride});
  const Tensor written = out.slice(0, 0, rows).slice(1, 0, outputs);
  EXPECT_LT((written - at::mm(x.slice(1, 0, depth), weight.t())).abs().max().item<float>(), 1e-5);
  EXPECT_TRUE(out.slice(1, outputs).eq(7).all().item<bool>());
  EXPECT_TRUE(out[rows].eq(7).all().item<bool>());
}

TEST(Panels, ATransposedFactorIsPackedAlike) {
  const Tensor weight = at::randn({37, 12});
  EXPECT_TRUE(at::equal(packed<float>(weight), packed<float>(weight.t().contiguous().t())));
  const Tensor bytes = at::randint(-127, 128, {37, 12}, at::kChar);
  EXPECT_TRUE(at::equal(packed<int8_t>(bytes), packed<int8_t>(bytes.t().contiguous().t())));
}

// Rows and outputs that fill tiles and panels, and those that do not, and results too large for a cache, by every set
// of instructions that this machine has; beside the outputs nothing is written.
constexpr int64_t kRows[] = {1, 4, 5, 11, 12, 13, 24, 31}, kOutputs[] = {1, 15, 16, 17, 32, 33, 48, 63, 64, 2101};

TEST(Panels, EveryWayInFp32IsTheProduct) {
  for (const auto& way : panels::ways<float, float>())
    for (const int64_t rows : kRows)
      for (const int64_t outputs : kOutputs)
        for (const bool biased : {false, true}) {
          const int64_t depth = 19;
          const Tensor x = at::randn({rows, depth}), weight = at::randn({outputs, depth}), bias = at::randn({outputs}),
                       panels = packed<float>(weight), out = at::full({rows, outputs + 1}, 7.0f);
          way.multiply({rows, depth, outputs, data(x), depth, data(panels), biased ? data(bias) : nullptr, 0, data(out),
                        outputs + 1});
          const Tensor expected = at::mm(x, weight.t()) + (biased ? bias : at::zeros({outputs}));
          EXPECT_TRUE(at::allclose(out.slice(1, 0, outputs), expected, 1e-5, 1e-5))
              << way.name << " " << rows << " " << outputs;
          EXPECT_TRUE(out.select(1, outputs).eq(7).all().item<bool>()) << way.name;
        }
}

TEST(Panels, EveryWayInBf16IsTheProduct) {
  for (const auto& way : panels::ways<c10::BFloat16, float>())
    for (const int64_t rows : kRows)
      for (const int64_t outputs : kOutputs) {
        const int64_t depth = 22, x_stride = 25;
        const Tensor x = at::randn({rows, x_stride}).to(at::kBFloat16), of_rows = at::randn({rows, outputs}),
                     weight = at::randn({outputs, depth}).to(at::kBFloat16), panels = packed<c10::BFloat16>(weight),
                     out = at::full({rows, outputs + 1}, 7.0f);
        way.multiply({rows, depth, outputs, x.data_ptr<c10::BFloat16>(), x_stride, panels.data_ptr<c10::BFloat16>(),
                      data(of_rows), outputs, data(out), outputs + 1});
        const Tensor expected = at::mm(x.slice(1, 0, depth).to(at::kFloat), weight.t().to(at::kFloat)) + of_rows;
        EXPECT_TRUE(at::allclose(out.slice(1, 0, outputs), expected, 1e-5, 1e-5))
            << way.name << " " << rows << " " << outputs;
        EXPECT_TRUE(out.select(1, outputs).eq(7).all().item<bool>()) << way.name;
      }
}

// Sums of whole numbers are exact, with the largest there are, too.
TEST(Panels, EveryWayInInt8IsTheProduct) {
  for (const auto& way : panels::ways<int8_t, float>())
    for (const int64_t rows : kRows)
      for (const int64_t outputs : kOutputs)
        for (const bool largest : {false, true}) {
          const int64_t depth = 24, most = way.most,
                        filled = (outputs + panels::kWidth - 1) / panels::kWidth * panels::kWidth;
          const Tensor x = largest ? at::full({rows, depth}, most, at::kByte)
                                   : at::randint(0, most + 1, {rows, depth}, at::kByte),
                       weight = largest ? at::full({outputs, depth}, -127, at::kChar)
                                        : at::randint(-127, 128, {outputs, depth}, at::kChar),
                       panels = packed<int8_t>(weight), of_row = at::rand({rows}) + 0.5,
                       of_output = at::rand({filled}) + 0.5, zero = at::randint(0, most + 1, {rows}, at::kInt),
                       weights = at::randint(-1000, 1000, {filled}, at::kInt),
                       out = at::full({rows, outputs + 1}, 7.0f);
          way.multiply({rows,
                        depth,
                        outputs,
                        x.data_ptr<uint8_t>(),
                        depth,
                        panels.data_ptr<int8_t>(),
                        nullptr,
                        0,
                        data(out),
                        outputs + 1,
                        {data(of_row), zero.data_ptr<int32_t>(), data(of_output), weights.data_ptr<int32_t>()}});
          const Tensor sum = at::mm(x.to(at::kDouble), weight.t().to(at::kDouble)) -
                             zero.unsqueeze(1) * weights.slice(0, 0, outputs),
                       expected = sum * of_row.unsqueeze(1) * of_output.slice(0, 0, outputs);
          EXPECT_TRUE(at::allclose(out.slice(1, 0, outputs).to(at::kDouble), expected, 1e-6, 1e-6))
              << way.name << " " << rows << " " << outputs;
          EXPECT_TRUE(out.select(1, outputs).eq(7).all().item<bool>()) << way.name;
        }
}

TEST(Panels, RoundToBf16AsLibTorchDoes) {
  const Tensor x = at::randn({40, 20}) * at::pow(10.0, at::linspace(-30, 30, 40)).unsqueeze(1);
  x[3][4] = NAN;
  x[5].fill_(3e38f);
  const Tensor weight = at::randn({48, 20}), factor = x.to(at::kBFloat16),
               panels = packed<c10::BFloat16>(weight.to(at::kBFloat16)), exact = at::empty({40, 48}),
               rounded = at::empty({40, 48}, at::kBFloat16);
  const auto* numbers = factor.data_ptr<c10::BFloat16>();
  const auto* of_weight = panels.data_ptr<c10::BFloat16>();
  panels::multiply(Product<c10::BFloat16, float>{40, 20, 48, numbers, 20, of_weight, nullptr, 0, data(exact), 48});
  panels::multiply(Product<c10::BFloat16, c10::BFloat16>{40, 20, 48, numbers, 20, of_weight, nullptr, 0,
                                                         rounded.data_ptr<c10::BFloat16>(), 48});
  EXPECT_TRUE(at::allclose(rounded, exact.to(at::kBFloat16), 0, 0, /*equal_nan=*/true));
  EXPECT_TRUE(rounded[3].isnan().all().item<bool>());
}

}  // namespace
}  // namespace crescendo
