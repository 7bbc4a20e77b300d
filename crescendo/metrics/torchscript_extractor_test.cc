#include "crescendo/metrics/torchscript_extractor.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>

#include "crescendo/core/file.h"
#include "crescendo/core/sha256.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;

class TorchScript : public ::testing::Test {
 protected:
  // A file whose forward(self, x) has this body.
  std::filesystem::path script(const std::string& body) const {
    torch::jit::Module module("Net");
    module.define("def forward(self, x):\n  " + body + "\n");
    const auto path = folder / "net.pt";
    module.save(path.string());
    return path;
  }
  std::string refused(const std::string& body) const {
    const auto path = script(body);
    const std::string message = error_of([&] { TorchScriptExtractor extractor(path, small()); });
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_CONTAINS(message, path.string());
    return message;
  }
  static TorchScriptOptions small() {
    TorchScriptOptions options;
    options.side = 4;
    return options;
  }
  const test::TemporaryDirectory folder;
};

TEST_F(TorchScript, FeaturesAndScores) {
  const auto path = script("return (x.mean(dim=[3]), x.mean(dim=[2, 3]) * 2)");
  TorchScriptOptions options = small();
  options.mean = {0, 0, 0};
  options.std = {1 / 255.0, 1 / 255.0, 1 / 255.0};  // pictures as 0..255
  const TorchScriptExtractor extractor(path, options);
  Image image(8, 16);
  for (int64_t y = 0; y < 16; ++y)
    for (int64_t x = 0; x < 8; ++x)
      for (int c = 0; c < 3; ++c) image.pixel(x, y)[c] = static_cast<uint8_t>(10 * (c + 1));
  const Tensor x = at::stack({extractor.prepare(image), extractor.prepare(image)});
  ASSERT_EQ(x.sizes(), at::IntArrayRef({2, 3, 4, 4}));
  const Features features = extractor(x);
  EXPECT_EQ(features.pool.sizes(), at::IntArrayRef({2, 12}));  // (3, 4), flattened
  EXPECT_TRUE(at::allclose(features.logits, at::tensor({20.0f, 40.0f, 60.0f}).expand({2, 3})));
  EXPECT_FALSE(features.spatial.defined());
  const Json identity = extractor.identity();
  EXPECT_EQ(identity.at("network"), "torchscript");
  EXPECT_EQ(identity.at("weights"), sha256_of_file(path));
  EXPECT_EQ(identity.at("side"), 4);
  EXPECT_EQ(identity.at("filter"), "bicubic");
}

TEST_F(TorchScript, NormalisesAsImageNet) {
  const TorchScriptExtractor extractor(script("return x.mean(dim=[2, 3])"), small());
  Image white(3, 3);
  std::fill(white.rgb.begin(), white.rgb.end(), uint8_t{255});
  const Features features = extractor(extractor.prepare(white).unsqueeze(0));
  EXPECT_FALSE(features.logits.defined());
  EXPECT_TRUE(at::allclose(features.pool[0],
                           at::tensor({(1 - 0.485f) / 0.229f, (1 - 0.456f) / 0.224f, (1 - 0.406f) / 0.225f})));
}

TEST_F(TorchScript, RefusesOtherAnswers) {
  EXPECT_CONTAINS(refused("return x.mean()"), "features must be floats (B, ...)");
  EXPECT_CONTAINS(refused("return x.argmax(dim=1)"), "int64 [1, 4, 4]");
  EXPECT_CONTAINS(refused("return [x]"), "a tensor of features, or a tuple");
  EXPECT_CONTAINS(refused("return (x, x, x)"), "a tuple of 3");
  EXPECT_CONTAINS(refused("return x.view(7, 5)"), "the network fails on float32 [1, 3, 4, 4]");
}

TEST_F(TorchScript, RefusesOtherFilesAndOptions) {
  const auto path = folder / "notes.pt";
  write_file_atomically(path, "these are notes");
  EXPECT_NE(error_of([&] { TorchScriptExtractor extractor(path); }).find("not a TorchScript file"), std::string::npos);
  EXPECT_NE(error_of([&] { TorchScriptExtractor extractor(folder / "none.pt"); }).find("cannot read"),
            std::string::npos);
  const auto net = script("return x.mean(dim=[2, 3])");
  const auto usage = [&](auto change) {
    TorchScriptOptions options = small();
    change(options);
    return test::usage_error_of([&] { TorchScriptExtractor extractor(net, options); });
  };
  EXPECT_NE(usage([](auto& o) { o.side = 0; }).find("`side` must be in 1..4096"), std::string::npos);
  EXPECT_NE(usage([](auto& o) { o.std = {1, 0, 1}; }).find("`std` above 0"), std::string::npos);
  EXPECT_NE(usage([](auto& o) { o.mean = {0.5}; }).find("a number each"), std::string::npos);
}

}  // namespace
}  // namespace crescendo
