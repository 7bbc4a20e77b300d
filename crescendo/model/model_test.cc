#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "crescendo/model/far_model.h"
#include "tests/fixture_model.h"
#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {
namespace {

using test::error_of;
using test::lively_model;
using test::relative_l2;
using test::tiny_config;
using test::tiny_text_config;

Tensor draw(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed));
}

TEST(Backbone, MatchesThePublishedClassModel) {
  CRESCENDO_NEEDS_SHARED("fixtures/far_micro");
  const TensorMap expected = test::fixture_expected("far_micro");
  const auto model = test::fixture_model("far_micro");
  const Backbone& backbone = model->backbone();
  const Tensor tokens = expected.at("backbone.tokens");
  const Tensor condition = backbone.class_condition(expected.at("backbone.labels"));
  const auto expect_published = [&](const std::string& mode, const TokenMask& mask) {
    EXPECT_LT(relative_l2(backbone.encode(tokens, condition, mask), expected.at("backbone." + mode + ".encoder")), 1e-5)
        << mode;
    EXPECT_LT(relative_l2(backbone.forward(tokens, condition, mask), expected.at("backbone." + mode + ".z")), 1e-5)
        << mode;
  };
  expect_published("masked", TokenMask::of(expected.at("backbone.masked.mask").to(at::kBool)));
  expect_published("full", TokenMask::of(expected.at("backbone.full.mask").to(at::kBool)));
  expect_published("full", TokenMask::none());  // the same said in another way
  const Tensor unconditional = backbone.forward(tokens, backbone.null_condition(2), TokenMask::none());
  EXPECT_LT(relative_l2(unconditional, expected.at("backbone.uncond.z")), 1e-5);
}

TEST(Backbone, MatchesThePublishedTextModel) {
  CRESCENDO_NEEDS_SHARED("fixtures/t2i_micro");
  const TensorMap expected = test::fixture_expected("t2i_micro");
  const auto model = test::fixture_model("t2i_micro");
  const Backbone& backbone = model->backbone();
  const Tensor tokens = expected.at("backbone.tokens");
  const Tensor condition = backbone.text_condition(expected.at("backbone.text"));
  const TokenMask mask = TokenMask::of(expected.at("backbone.mask").to(at::kBool));
  EXPECT_LT(relative_l2(backbone.encode(tokens, condition, mask), expected.at("backbone.encoder")), 1e-5);
  EXPECT_LT(relative_l2(backbone.forward(tokens, condition, mask), expected.at("backbone.z")), 1e-5);
}

TEST(Backbone, PackedIsTheSame) {
  for (const ModelConfig& sizes : {tiny_config(), tiny_text_config()}) {
    const auto model = lively_model(sizes);
    const Backbone packed = model->backbone().prepared(Products::kPacked);
    const Tensor tokens = draw({3, 16, 2}, 1), condition = model->backbone().null_condition(3);
    const Tensor some = draw({3, 16}, 2) > 0;
    const at::NoGradGuard no_grad;
    for (const TokenMask& mask : {TokenMask::none(), TokenMask::of(some)})
      EXPECT_LT(
          relative_l2(packed.forward(tokens, condition, mask), model->backbone().forward(tokens, condition, mask)),
          1e-6);
    // What becomes of the weights later does not show in the products.
    if (!PackedWeight::serves(at::empty({1, 1}))) continue;
    const Tensor before = packed.forward(tokens, condition, TokenMask::none());
    for (const auto& [name, p] : model->params().items())
      if (name.ends_with("blocks.0.mlp.fc1.weight") || name.ends_with("blocks.0.ff.net.2.weight")) Tensor(p).mul_(3);
    EXPECT_TRUE(at::equal(packed.forward(tokens, condition, TokenMask::none()), before));
    EXPECT_GT(relative_l2(model->backbone().forward(tokens, condition, TokenMask::none()), before), 1e-3);
  }
}

TEST(Backbone, InPlaceIsTheSame) {
  for (const ModelConfig& sizes : {tiny_config(), tiny_text_config()}) {
    const auto model = lively_model(sizes);
    const Backbone other = model->backbone().prepared(Products::kInPlace);
    const Tensor tokens = draw({3, 16, 2}, 1), condition = model->backbone().null_condition(3);
    const at::NoGradGuard no_grad;
    EXPECT_LT(relative_l2(other.forward(tokens, condition, TokenMask::none()),
                          model->backbone().forward(tokens, condition, TokenMask::none())),
              2e-6);
  }
}

TEST(Backbone, InInt8IsNear) {
  for (const ModelConfig& sizes : {tiny_config(), tiny_text_config()}) {
    const auto model = lively_model(sizes);
    const Backbone packed = model->backbone().prepared(Products::kInt8);
    const Tensor tokens = draw({3, 16, 2}, 1), condition = model->backbone().null_condition(3);
    const at::NoGradGuard no_grad;
    const double error = relative_l2(packed.forward(tokens, condition, TokenMask::none()),
                                     model->backbone().forward(tokens, condition, TokenMask::none()));
    EXPECT_LT(error, 0.05);
    EXPECT_GT(error, 1e-4);
  }
}

// A batch whose rows hide different numbers of tokens pads the shorter ones; every row must come out as it does alone.
TEST(Backbone, UnevenMasksEqualRowsAlone) {
  for (const ModelConfig& sizes : {tiny_config(), tiny_text_config()}) {
    const auto model = lively_model(sizes);
    const Backbone& backbone = model->backbone();
    const std::vector<int64_t> hidden{0, 5, 15, 16, 9};
    const Tensor tokens = draw({5, 16, 2}, 1);
    const Tensor condition = sizes.is_text() ? backbone.text_condition(draw({5, 5, 6}, 2))
                                             : backbone.class_condition(at::tensor({0, 1, 2, 1, 0}, at::kLong));
    const Tensor order = draw({5, 16}, 3).argsort(1, /*descending=*/false);
    const Tensor missing = order < at::tensor(hidden, at::kLong).unsqueeze(1);
    const TokenMask mask = TokenMask::of(missing);
    EXPECT_FALSE(mask.even);
    EXPECT_EQ(mask.visible, 16);
    const Tensor z = backbone.forward(tokens, condition, mask);
    EXPECT_TRUE(at::isfinite(z).all().item<bool>());
    for (int64_t b = 0; b < 5; ++b) {
      const TokenMask own = TokenMask::of(missing.slice(0, b, b + 1));
      EXPECT_TRUE(own.even);
      EXPECT_EQ(own.visible, 16 - hidden[static_cast<size_t>(b)]);
      const Tensor alone = backbone.forward(tokens.slice(0, b, b + 1), condition.slice(0, b, b + 1), own);
      EXPECT_LT(relative_l2(z[b], alone[0]), 1e-5)
          << sizes.kind() << ", " << hidden[static_cast<size_t>(b)] << " hidden";
    }
  }
}

// What is hidden must not matter, what is visible must.
TEST(Backbone, HiddenTokensAreNotSeen) {
  const auto model = lively_model(tiny_config());
  const Backbone& backbone = model->backbone();
  const Tensor condition = backbone.class_condition(at::tensor({1}, at::kLong));
  const Tensor missing = at::arange(16).remainder(3).eq(0).unsqueeze(0);
  const Tensor tokens = draw({1, 16, 2}, 1), other = draw({1, 16, 2}, 2),
               mixed = at::where(missing.unsqueeze(2), other, tokens);
  const auto z = [&](const Tensor& x) { return backbone.forward(x, condition, TokenMask::of(missing)); };
  EXPECT_TRUE(at::equal(z(tokens), z(mixed)));
  EXPECT_GT(relative_l2(z(tokens), z(other)), 1e-3);
}

TEST(Backbone, ConditionAndDropoutMatter) {
  for (const ModelConfig& sizes : {tiny_config(), tiny_text_config()}) {
    const auto model = lively_model(sizes);
    const Backbone& backbone = model->backbone();
    const Tensor tokens = draw({1, 16, 2}, 1);
    const bool text = sizes.is_text();
    const Tensor one =
        text ? backbone.text_condition(draw({1, 5, 6}, 2)) : backbone.class_condition(at::tensor({0}, at::kLong));
    const Tensor two =
        text ? backbone.text_condition(draw({1, 5, 6}, 3)) : backbone.class_condition(at::tensor({1}, at::kLong));
    const Tensor z = backbone.forward(tokens, one, {});
    EXPECT_GT(relative_l2(backbone.forward(tokens, two, {}), z), 1e-3);
    EXPECT_GT(relative_l2(backbone.forward(tokens, backbone.null_condition(1), {}), z), 1e-3);
    EXPECT_TRUE(at::equal(backbone.forward(tokens, one, {}), z));
    for (const BackboneDropout& dropout : {BackboneDropout{0.3, 0}, BackboneDropout{0, 0.3}}) {
      at::manual_seed(5);
      const Tensor dropped = backbone.forward(tokens, one, {}, dropout);
      EXPECT_GT(relative_l2(dropped, z), 1e-3);
      at::manual_seed(5);
      EXPECT_TRUE(at::equal(backbone.forward(tokens, one, {}, dropout), dropped));  // LibTorch's generator decides
    }
  }
}

// Two blocks in encoder and decoder, in which all branches answer zero but those whose last layer ends as `kept` says.
std::unique_ptr<FarModel> with_branches(const ModelConfig& sizes, const std::string& kept) {
  ModelConfig config = sizes;
  config.encoder_blocks = config.decoder_blocks = 2;
  auto model = lively_model(config);
  for (const auto& [name, p] : model->params().items())
    for (const char* last : {".attn.proj.", ".mlp.fc2.", ".attn1.to_out.0.", ".attn2.to_out.0.", ".ff.net.2."})
      if (name.find(last) != std::string::npos && !name.starts_with(kept)) Tensor(p).zero_();
  return model;
}

// z (L, D) of one picture.
Tensor dropped(const FarModel& model, const BackboneDropout& dropout) {
  const Backbone& backbone = model.backbone();
  at::manual_seed(5);
  return backbone.forward(draw({1, 16, 2}, 1), backbone.null_condition(1), {}, dropout)[0];
}

TEST(Backbone, DropoutActsInEveryBranch) {
  const at::NoGradGuard no_grad;
  for (const ModelConfig& sizes : {tiny_config(), tiny_text_config()}) {
    const std::vector<std::string> branches =
        sizes.is_text() ? std::vector<std::string>{"attn1.to_out.0", "attn2.to_out.0", "ff.net.2"}
                        : std::vector<std::string>{"attn.proj", "mlp.fc2"};
    for (const char* block : {"encoder_blocks.0.", "encoder_blocks.1.", "decoder_blocks.0.", "decoder_blocks.1."})
      for (const std::string& branch : branches) {
        const auto model = with_branches(sizes, block + branch);
        const Tensor z = dropped(*model, {});
        const bool attention = branch.starts_with("attn");
        EXPECT_EQ(relative_l2(dropped(*model, {0.5, 0}), z) > 1e-3, attention) << block << branch;
        EXPECT_GT(relative_l2(dropped(*model, {0, 0.5}), z), 1e-3) << block << branch;
      }
  }
}

// With one hidden channel, a token whose channel is dropped has nothing left of the branch. With a bias alone, which
// hidden channels do not touch, what is dropped is the branch itself: in class models.
TEST(Backbone, DropoutActsWithinTheMlp) {
  const at::NoGradGuard no_grad;
  for (const auto& [sizes, last] : {std::pair{tiny_config(), "mlp.fc2"}, std::pair{tiny_text_config(), "ff.net.2"}}) {
    const std::string name = std::string("decoder_blocks.1.") + last;
    const auto model = with_branches(sizes, name), without = with_branches(sizes, "none");
    const Tensor weight = model->params().map().at(name + ".weight"), bias = model->params().map().at(name + ".bias");
    const Tensor kept = weight.clone();
    weight.zero_();
    EXPECT_EQ(relative_l2(dropped(*model, {0, 0.5}), dropped(*model, {})) > 1e-3, !sizes.is_text());
    weight.select(1, 0).copy_(kept.select(1, 0));
    bias.zero_();
    const Tensor gone = (dropped(*model, {0, 0.5}) - dropped(*without, {})).abs().amax({1}).eq(0);  // (L)
    EXPECT_GT(gone.sum().item<int64_t>(), 2) << name;
    EXPECT_LT(gone.sum().item<int64_t>(), 14) << name;
  }
}

TEST(Backbone, ErrorsSayWhatIsWrong) {
  const auto classes = FarModel::random(tiny_config(), 1), text = FarModel::random(tiny_text_config(), 1);
  EXPECT_CONTAINS(error_of([&] {
                    classes->backbone().text_condition(at::zeros({1, 5, 6}));
                  }),
                  "takes a class, not a prompt");
  EXPECT_CONTAINS(error_of([&] { text->backbone().class_condition(at::zeros({1}, at::kLong)); }),
                  "takes a prompt, not a class");
  EXPECT_CONTAINS(error_of([&] {
                    text->backbone().text_condition(at::zeros({1, 4, 6}));
                  }),
                  "must be (B, 5, 6), got [1, 4, 6]");
  const Tensor condition = classes->backbone().null_condition(1);
  EXPECT_CONTAINS(error_of([&] {
                    classes->backbone().forward(at::zeros({1, 16, 3}), condition, {});
                  }),
                  "tokens must be (B, 16, 2), got [1, 16, 3]");
}

TEST(FarModel, PatchesGroupCellsByChannelRowAndColumn) {
  ModelConfig c = tiny_config();
  c.latent_channels = 3;
  c.latent_height = 4;
  c.latent_width = 6;
  c.patch = 2;
  EXPECT_EQ(c.tokens(), 6);
  EXPECT_EQ(c.token_channels(), 12);
  const Tensor x = at::arange(2 * 3 * 4 * 6).to(at::kFloat).view({2, 3, 4, 6});
  const Tensor tokens = patchify(x, 2);
  ASSERT_EQ(tokens.sizes(), (std::vector<int64_t>{2, 6, 12}));
  // Token 4 stands in the second row of patches, second column; feature 7 is channel 1, lower row, right column.
  EXPECT_EQ(tokens[1][4][7].item<float>(), x[1][1][2 + 1][2 + 1].item<float>());
  EXPECT_EQ(tokens[0][5][9].item<float>(), x[0][2][2 + 0][4 + 1].item<float>());
  EXPECT_TRUE(at::equal(unpatchify(tokens, c), x));
  // With patches of one cell, a token is a column of the latent.
  EXPECT_TRUE(at::equal(patchify(x, 1)[0][13], x[0].select(1, 2).select(1, 1)));
}

TEST(FarModel, LoadsItsOwnWeightsAndNoOthers) {
  const auto model = FarModel::random(tiny_config(), 1);
  EXPECT_EQ(FarModel::from(tiny_config(), model->params().map(), "own")->params().count(), model->params().count());
  ModelConfig wider = tiny_config();
  wider.width = 12;
  const std::string error = error_of([&] { FarModel::from(wider, model->params().map(), "own.safetensors"); });
  EXPECT_CONTAINS(error, "own.safetensors does not hold the weights of this model");
  EXPECT_CONTAINS(error, "class_emb.weight has shape [3, 8], expected [3, 12]");
  ModelConfig shallower = tiny_config();
  shallower.decoder_blocks = 0;
  EXPECT_CONTAINS(error_of([&] { FarModel::from(shallower, model->params().map(), "own"); }),
                  "surplus decoder_blocks.0.attn.proj.bias [8]");
}

// Sizes by hand, from the list of names and shapes of the published state dict.
int64_t counted_by_hand(int64_t d, int64_t blocks, int64_t head_width, int64_t head_blocks, bool level_input) {
  const auto linear = [](int64_t in, int64_t out) { return in * out + out; };
  const int64_t norm = 2 * d, block = 2 * norm + linear(d, 3 * d) + linear(d, d) + linear(d, 4 * d) + linear(4 * d, d);
  const int64_t embeddings =
      1000 * d + d + d + 2 * (64 + 256) * d + 256 * d;  // classes, fake_latent, mask_token, positions
  const int64_t backbone = embeddings + linear(16, d) + 3 * norm + linear(d, d) + 2 * blocks * block;
  const int64_t w = head_width, head_block = 2 * w + 2 * linear(w, w) + linear(w, 3 * w);
  const int64_t head = linear(256, w) + linear(w, w) + linear(d, w) + (level_input ? linear(1, w) : 0) + linear(16, w) +
                       head_blocks * head_block + linear(w, 2 * w) + linear(w, 32);
  return backbone + head;
}

TEST(FarModel, PresetsHaveThePublishedSize) {
  const auto count = [](const char* name) { return FarModel::outline(model_preset(name))->params().count(); };
  EXPECT_EQ(count("far-b"), counted_by_hand(768, 12, 1024, 6, true));
  EXPECT_EQ(count("far-l"), counted_by_hand(1024, 16, 1024, 3, true));
  EXPECT_EQ(count("far-h"), counted_by_hand(1280, 20, 1024, 3, true));
  EXPECT_EQ(count("mar-b"), counted_by_hand(768, 12, 1024, 6, false));
  EXPECT_EQ(count("mar-l"), counted_by_hand(1024, 16, 1280, 8, false));
  EXPECT_EQ(count("mar-h"), counted_by_hand(1280, 20, 1536, 12, false));
  const auto millions = [](int64_t n) { return std::round(static_cast<double>(n) / 1e5) / 10; };
  EXPECT_EQ(millions(count("far-b")), 207.9);
  EXPECT_EQ(millions(count("far-l")), 426.4);
  EXPECT_EQ(millions(count("far-h")), 811.7);
  EXPECT_EQ(std::round(millions(count("far-t2i"))), 561);  // 564 by the paper, section 5.3
}

TEST(FarModel, OutlineListsWhatARandomModelHolds) {
  const auto outline = FarModel::outline(tiny_config()), random = FarModel::random(tiny_config(), 1);
  ASSERT_EQ(outline->params().items().size(), random->params().items().size());
  for (size_t i = 0; i < outline->params().items().size(); ++i) {
    EXPECT_EQ(outline->params().items()[i].first, random->params().items()[i].first);
    EXPECT_EQ(outline->params().items()[i].second.sizes(), random->params().items()[i].second.sizes());
  }
}

TEST(ModelConfig, ErrorsNameTheSize) {
  const auto error = [](auto change) {
    ModelConfig c;
    change(c);
    return error_of([&] { c.validate(); });
  };
  EXPECT_CONTAINS(error([](ModelConfig& c) { c.width = 0; }), "width must be in 1..65536, got 0");
  EXPECT_CONTAINS(error([](ModelConfig& c) { c.heads = 7; }), "width 768 is not a multiple of heads 7");
  EXPECT_CONTAINS(error([](ModelConfig& c) { c.levels = 17; }), "levels must be in 1..16, got 17");
  EXPECT_CONTAINS(error([](ModelConfig& c) { c.patch = 3; }), "patch 3 does not divide the latent 16 x 16");
  EXPECT_CONTAINS(error([](ModelConfig& c) { c.buffer_size = 0; }), "buffer_size must be in 1..4096, got 0");
  EXPECT_CONTAINS(error([](ModelConfig& c) { c.encoder_blocks = -1; }), "encoder_blocks and decoder_blocks");
  EXPECT_CONTAINS(error([](ModelConfig& c) { c.conditioning = Conditioning::kText; }),
                  "text_hidden must be in 1..65536, got 0");
  EXPECT_CONTAINS(error([](ModelConfig& c) {
                    c = tiny_text_config();
                    c.buffer_size = 4;
                  }),
                  "buffer_size must be 0, got 4");
  EXPECT_CONTAINS(error([](ModelConfig& c) { c.visible_level = 17; }), "visible_level must be in 0..16, got 17");
  EXPECT_CONTAINS(error([](ModelConfig& c) {
                    c.order = Order::kMar;
                    c.predicts = Target::kNextLevel;
                  }),
                  "MAR has no frequency levels");
  ModelConfig().validate();
  tiny_text_config().validate();
  EXPECT_CONTAINS(test::usage_error_of([] { model_preset("far-x"); }),
                  "no model preset 'far-x'; there are far-b, far-l, far-h, far-t2i, mar-b");
}

TEST(ModelConfig, RoundTripsThroughJson) {
  ModelConfig scales = tiny_config(Order::kNextScale);
  scales.scales = {2, 4};
  scales.scale_std = {0.25, 1.5};
  scales.residual = scales.markov = true;
  for (const ModelConfig& sizes :
       {tiny_config(), tiny_text_config(), tiny_config(Order::kMar), tiny_config(Order::kRaster), scales}) {
    const ModelConfig c = sizes;
    ModelConfig back;
    value_from_json(back, Json::parse(value_to_json(c).dump()), "config");
    EXPECT_TRUE(fields_equal(back, c));
    EXPECT_EQ(back.kind(), sizes.kind());
  }
  // What an older file does not say.
  ModelConfig old;
  value_from_json(old, Json{{"width", 64}}, "config");
  EXPECT_EQ(old.predicts, Target::kClean);
  EXPECT_EQ(old.visible_level, 0);
}

}  // namespace
}  // namespace crescendo
