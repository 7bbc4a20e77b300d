#include "crescendo/nn/linear_product.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "crescendo/core/device.h"
#include "crescendo/core/torch_compat.h"
#include "crescendo/kernels/cpu/onednn.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

struct Layer {
  Layer(at::IntArrayRef shape, int64_t outputs)
      : x(at::randn(shape)), weight(at::randn({outputs, shape.back()})), bias(at::randn({outputs})) {
    for (Tensor* t : {&x, &weight, &bias}) t->set_requires_grad(true);
  }
  Tensor x, weight, bias;
};

// What comes out, and the gradients of x, weight and bias by a weighted sum of it.
std::vector<Tensor> with_gradients(const Tensor& out, const Layer& by) {
  const Tensor weights = at::arange(out.numel(), at::kFloat).sin().add(0.5).view(out.sizes());
  std::vector<Tensor> all = torch::autograd::grad({(out.to(at::kFloat) * weights).sum()}, {by.x, by.weight, by.bias});
  all.insert(all.begin(), out);
  return all;
}

const std::vector<std::vector<int64_t>> kShapes = {{320, 192}, {2, 5, 21}, {1, 1}, {7, 1}};

TEST(LinearProduct, HasTheGradientsOfLibTorchs) {
  at::manual_seed(1);
  for (const auto& shape : kShapes)
    for (const int64_t outputs : {1, 48}) {
      const Layer layer(shape, outputs);
      const auto got = with_gradients(linear(layer.x, layer.weight, layer.bias), layer),
                 expected = with_gradients(at::linear(layer.x, layer.weight, layer.bias), layer);
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].scalar_type(), at::kFloat);
        EXPECT_LT(relative_l2(got[i], expected[i]), 1e-5) << at::IntArrayRef(shape) << ", " << outputs << ": " << i;
      }
    }
}

// Under autocast the factors are rounded; beside exact gradients those of the weights are rounded no more.
TEST(LinearProduct, UnderAutocastRoundsToBf16) {
  if (onednn::instructions(at::kBFloat16).empty()) GTEST_SKIP() << "no products in bf16";
  at::manual_seed(1);
  for (const auto& shape : {kShapes[0], kShapes[1]})
    for (const bool rounded : {false, true}) {
      const Layer layer(shape, 48);
      const auto run = [&](auto&& product) {
        const Tensor x = rounded ? layer.x.to(at::kBFloat16) : layer.x;
        Tensor out;
        {
          const Autocast autocast(at::kCPU, at::kBFloat16);
          out = product(x, layer.weight, layer.bias);
        }
        return with_gradients(out, layer);
      };
      const auto got = run(linear), libtorchs = run([](const auto&... all) { return at::linear(all...); }),
                 exact = with_gradients(at::linear(layer.x, layer.weight, layer.bias), layer);
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].scalar_type(), i == 0 ? at::kBFloat16 : at::kFloat);
        EXPECT_LT(relative_l2(got[i], libtorchs[i]), 0.01) << at::IntArrayRef(shape) << ": " << i;
        EXPECT_LT(relative_l2(got[i], exact[i]), 0.01) << at::IntArrayRef(shape) << ": " << i;
      }
    }
}

TEST(LinearProduct, OfPartsOfTensors) {
  Layer layer({6, 4, 10}, 12);
  const auto both = [&](auto&& product) {
    const Tensor out = product(layer.x.transpose(0, 1).slice(2, 1, 9), layer.weight.slice(1, 2), layer.bias);
    return torch::autograd::grad({out.slice(2, 3, 5).sum()}, {layer.x, layer.weight, layer.bias});
  };
  const auto got = both(linear), expected = both([](const auto&... all) { return at::linear(all...); });
  for (size_t i = 0; i < got.size(); ++i) EXPECT_LT(relative_l2(got[i], expected[i]), 1e-5) << i;
}

TEST(LinearProduct, GivesTheGradientsThatAreWanted) {
  const Layer layer({5, 8}, 3);
  const Tensor x = layer.x.detach(), out = linear(x, layer.weight, layer.bias);
  EXPECT_LT(relative_l2(torch::autograd::grad({out.sum()}, {layer.weight})[0], x.sum(0).expand({3, 8})), 1e-6);
  EXPECT_FALSE(linear(x, layer.weight.detach(), layer.bias.detach()).requires_grad());
  EXPECT_EQ(linear(layer.x.slice(0, 0, 0), layer.weight, layer.bias).sizes(), (std::vector<int64_t>{0, 3}));
  if (onednn::instructions(at::kFloat).empty()) return;
  EXPECT_NE(test::error_of([&] {
              torch::autograd::grad({linear(layer.x, layer.weight, layer.bias).sum()}, {layer.x}, {}, true, true);
            }).find("second derivative"),
            std::string::npos);
}

}  // namespace
}  // namespace crescendo
