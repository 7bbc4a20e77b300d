#include "crescendo/model/config_from_weights.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {
namespace {

using test::error_of;

// Names and shapes of a model, without values.
TensorMap shapes_of(const ModelConfig& config) { return FarModel::outline(config)->params().map(); }
ModelConfig read(const TensorMap& weights, int64_t heads = 0, int64_t latent_channels = 0) {
  return model_config_from(weights, "x.pth", heads, latent_channels);
}

TEST(Architecture, PublishedSizesAreFoundAgainWithTheirHeads) {
  for (const ModelPreset& preset : kModelPresets) {
    const ModelConfig config = model_preset(preset.name);
    EXPECT_EQ(value_to_json(read(shapes_of(config))), value_to_json(config)) << preset.name;
  }
}

TEST(Architecture, AnotherHeadOrClassTableIsReadFromShapes) {
  ModelConfig config = model_preset("far-l");
  config.diffusion_width = 1536;  // one published L
  config.classes = 7;
  config.buffer_size = 3;
  EXPECT_EQ(value_to_json(read(shapes_of(config))), value_to_json(config));
}

TEST(Architecture, OtherSizesNeedHeads) {
  for (const ModelConfig& sizes : {test::tiny_config(), test::tiny_config(Order::kMar)}) {
    const ModelConfig config = sizes;
    EXPECT_EQ(read(shapes_of(config)).heads, 0);
    EXPECT_EQ(value_to_json(read(shapes_of(config), 2)), value_to_json(config));
  }
}

TEST(Architecture, TextModelsHaveHeadsOf64) {
  ModelConfig config = test::tiny_text_config();
  config.heads = 3;
  config.head_dim = 64;
  const ModelConfig found = read(shapes_of(config));
  EXPECT_EQ(found.heads, 3);
  EXPECT_EQ(found.head_dim, 64);
  EXPECT_EQ(found.text_hidden, 6);
  EXPECT_EQ(found.text_length, 5);
  EXPECT_EQ(found.buffer_size, 0);
  EXPECT_EQ(read(shapes_of(config), 6).head_dim, 32);
}

TEST(Architecture, TheTokenizersChannelsTellThePatch) {
  ModelConfig config = test::tiny_config();
  config.patch = 2;  // 4 tokens of 2 x 2 x 2 channels
  const ModelConfig plain = read(shapes_of(config), 2), told = read(shapes_of(config), 2, 2);
  EXPECT_EQ(plain.latent_channels, 8);
  EXPECT_EQ(plain.latent_height, 2);
  EXPECT_EQ(value_to_json(told), value_to_json(config));
}

TEST(Architecture, DamagedWeightsAreNamed) {
  const TensorMap whole = shapes_of(test::tiny_config());
  const auto without = [&](const char* name) {
    TensorMap weights = whole;
    weights.erase(name);
    return error_of([&] { read(weights, 2); });
  };
  for (const char* name : {"mask_token", "diffusion_pos_embed_learned", "z_proj.weight", "class_emb.weight",
                           "diffloss.net.input_proj.weight", "encoder_blocks.0.mlp.fc1.weight"})
    EXPECT_CONTAINS(without(name), std::string("no tensor ") + name);
  TensorMap flat = whole;
  flat["z_proj.weight"] = at::zeros({16});
  EXPECT_CONTAINS(error_of([&] { read(flat, 2); }), "z_proj.weight must have 2 dimensions, got [16]");
  TensorMap oblong = whole;
  oblong["diffusion_pos_embed_learned"] = at::zeros({1, 15, 8});
  EXPECT_CONTAINS(error_of([&] { read(oblong, 2); }), "15 tokens are no square");
}

// A block that lacks in the middle must not make the model shorter.
TEST(Architecture, BlocksAreCountedByTheHighestNumber) {
  TensorMap weights = shapes_of(test::tiny_config());
  weights["decoder_blocks.11.norm1.weight"] = at::zeros({8});
  weights["decoder_blocks.x.norm1.weight"] = at::zeros({8});
  weights["decoder_blocks.99999999999.norm1.weight"] = at::zeros({8});
  EXPECT_EQ(read(weights, 2).decoder_blocks, 12);
}

TEST(Architecture, KindsOfWeightsAreToldApart) {
  const Tensor any = at::zeros({1});
  EXPECT_EQ(weights_kind(shapes_of(test::tiny_config())), WeightsKind::kModel);
  EXPECT_EQ(weights_kind({{"encoder.conv_in.weight", any}}), WeightsKind::kTokenizer);
  EXPECT_EQ(weights_kind({{"model.embed_tokens.weight", any}}), WeightsKind::kTextEncoder);
  EXPECT_EQ(weights_kind({{"moments", any}}), WeightsKind::kOther);
}

}  // namespace
}  // namespace crescendo
