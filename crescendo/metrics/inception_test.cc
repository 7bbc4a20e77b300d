#include "crescendo/metrics/inception.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "crescendo/core/sha256.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/metrics/test_support.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;
using test::relative_l2;

const TensorMap& weights() {
  static const TensorMap w = formula_inception();
  return w;
}

const InceptionNetwork& network() {
  static const InceptionNetwork n(weights(), at::kFloat, at::kCPU, "the formula");
  return n;
}

// The same picture in the three presets: (3, 3, 299, 299).
const Tensor& prepared() {
  static const Tensor x = [] {
    std::vector<Tensor> presets;
    for (const auto& entry : enum_table(InceptionPreset{}))
      presets.push_back(inception_input(formula_picture(64, 48), entry.value));
    return at::stack(presets);
  }();
  return x;
}

const InceptionOutput& answer() {
  static const InceptionOutput out = network()(prepared());
  return out;
}

// Sizes that the table of the published model gives: 94 convolutions with five tensors each, and the classes.
TEST(Inception, FormulaHasThePublishedSizes) {
  int64_t numbers = 0;
  for (const auto& [name, tensor] : weights()) numbers += tensor.numel();
  EXPECT_EQ(weights().size(), 472u);
  EXPECT_EQ(numbers, 23885392);
}

TEST(Inception, FeaturesAreThoseOfTheReference) {
  const Json goldens = read_json("tests/golden/inception.json");
  ASSERT_EQ(answer().pool.sizes(), at::IntArrayRef({3, 2048}));
  ASSERT_EQ(answer().logits.sizes(), at::IntArrayRef({3, 1008}));
  ASSERT_EQ(answer().spatial.sizes(), at::IntArrayRef({3, 2023}));
  int64_t row = 0;
  for (const auto& entry : enum_table(InceptionPreset{})) {
    const Json& golden = goldens.at("features").at(std::string(entry.name));
    const auto error = [&](const Tensor& x, const char* name) {
      const auto values = golden.at(name).get<std::vector<double>>();
      return relative_l2(x[row].slice(0, 0, x.size(1), 4), at::tensor(values, at::kDouble));
    };
    EXPECT_LT(error(answer().pool, "pool"), 1e-5) << entry.name;
    EXPECT_LT(error(answer().logits, "logits"), 1e-5) << entry.name;
    EXPECT_LT(error(answer().spatial, "spatial"), 1e-5) << entry.name;
    ++row;
  }
}

TEST(Inception, BatchesMakeNoDifference) {
  const InceptionOutput one = network()(prepared().narrow(0, 1, 1));
  EXPECT_LT(relative_l2(one.pool, answer().pool.narrow(0, 1, 1)), 1e-6);
  EXPECT_LT(relative_l2(one.logits, answer().logits.narrow(0, 1, 1)), 1e-6);
  EXPECT_LT(relative_l2(one.spatial, answer().spatial.narrow(0, 1, 1)), 1e-6);
}

// On the smallest picture, since other types go by LibTorch's plain operations.
TEST(Inception, OtherTypes) {
  const Tensor x = prepared().narrow(0, 0, 1).slice(2, 0, 75).slice(3, 0, 75);
  const InceptionOutput fp32 = network()(x);
  const InceptionOutput fp64 = InceptionNetwork(weights(), at::kDouble, at::kCPU, "the formula")(x);
  EXPECT_LT(relative_l2(fp32.pool, fp64.pool), 5e-6);
  const InceptionOutput bf16 = InceptionNetwork(weights(), at::kBFloat16, at::kCPU, "the formula")(x);
  EXPECT_LT(relative_l2(bf16.pool, fp64.pool), 0.1);
  EXPECT_GT(relative_l2(bf16.pool, fp64.pool), 1e-4);
  EXPECT_EQ(bf16.pool.scalar_type(), at::kFloat);
  EXPECT_NE(error_of([&] { network()(x.slice(2, 0, 74)); }).find("sides of 75"), std::string::npos);
}

// A file as a program may have saved it: under another name, in half the bytes, with a counter that nobody needs.
TEST(Inception, ReadsAFile) {
  const test::TemporaryDirectory folder;
  const auto path = folder / "inception.safetensors";
  TensorMap stored;
  for (const auto& [name, tensor] : weights()) stored["inception." + name] = tensor.to(at::kBFloat16);
  stored["inception.Mixed_5b.branch1x1.bn.num_batches_tracked"] = at::zeros({}, at::kLong);
  write_safetensors(path, stored);
  const Inception inception(path, {.preset = InceptionPreset::kClean});
  const Image image = formula_picture(64, 48);
  const Tensor x = inception.prepare(image);
  EXPECT_TRUE(x.equal(inception_input(image, InceptionPreset::kClean)));
  const Features features = inception(x.unsqueeze(0));
  // The rounding of the weights to 8 bits, and nothing else.
  EXPECT_LT(relative_l2(features.pool, answer().pool.narrow(0, 2, 1)), 0.05);
  EXPECT_EQ(features.spatial.sizes(), at::IntArrayRef({1, 2023}));
  const Json expected = {
      {"network", "inception-2015-12-05"}, {"preset", "clean"}, {"dtype", "fp32"}, {"weights", sha256_of_file(path)}};
  EXPECT_EQ(inception.identity(), expected);
}

TEST(Inception, RefusesOtherFiles) {
  const test::TemporaryDirectory folder;
  const auto path = folder / "other.safetensors";
  const auto error = [&](const TensorMap& tensors) {
    write_safetensors(path, tensors);
    const std::string message = error_of([&] { Inception inception(path); });
    EXPECT_EQ(message.find('\n'), std::string::npos);
    EXPECT_CONTAINS(message, path.string());
    return message;
  };
  EXPECT_CONTAINS(error({{"conv1.weight", at::zeros({4})}}), "no tensor is called Conv2d_1a_3x3.conv.weight");
  // A layer is missing.
  TensorMap some;
  add_formula_layer(some, "Conv2d_1a_3x3", {32, 3, 3, 3});
  some["fc.weight"] = weights().at("fc.weight");
  EXPECT_CONTAINS(error(some), "Conv2d_2a_3x3.bn");
  // The Inception of ImageNet's thousand classes.
  TensorMap others = some;
  others["fc.weight"] = at::zeros({1000, 2048});
  EXPECT_CONTAINS(error(others), "fc.weight is float32 [1000, 2048]");
  some["Conv2d_1a_3x3.bn.weight"][3] = std::nan("");
  EXPECT_CONTAINS(error(some), "Conv2d_1a_3x3.bn.weight holds numbers that are not finite");
  write_file_atomically(path, "<html>not found</html>");
  EXPECT_NE(error_of([&] { Inception inception(path); }).find("neither a PyTorch checkpoint"), std::string::npos);
}

}  // namespace
}  // namespace crescendo
