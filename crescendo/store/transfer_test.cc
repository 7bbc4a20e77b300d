#include "crescendo/store/transfer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "crescendo/io/tensor_map.h"
#include "crescendo/model/blocks.h"
#include "crescendo/store/model_dir.h"
#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {
namespace {

using test::relative_l2;

struct Saved {
  explicit Saved(ModelConfig config = test::tiny_config()) : model(test::lively_model(config)) {
    save_model(dir.path(), {.model = config}, model->params().map(), at::kFloat);
  }
  std::unique_ptr<FarModel> transferred(const ModelConfig& config) {
    drawn.clear();
    return transfer_weights(dir.path(), config, /*seed=*/5, drawn);
  }
  bool drew(const std::string& name) const { return std::find(drawn.begin(), drawn.end(), name) != drawn.end(); }

  test::TemporaryDirectory dir;
  std::unique_ptr<FarModel> model;
  std::vector<std::string> drawn;
};

TEST(Transfer, TakesWhatHasTheSameNameAndShape) {
  Saved saved;
  ModelConfig wider = test::tiny_config();
  wider.diffusion_width = 12;
  const TensorMap got = saved.transferred(wider)->params().map(), own = saved.model->params().map(),
                  random = FarModel::random(wider, 5)->params().map();
  const std::string taken = "encoder_blocks.0.attn.qkv.weight", grown = "diffloss.net.time_embed.mlp.2.weight";
  EXPECT_TRUE(at::equal(got.at(taken), own.at(taken)));
  EXPECT_TRUE(at::equal(got.at(grown), random.at(grown)));
  EXPECT_FALSE(saved.drew(taken));
  EXPECT_TRUE(saved.drew(grown));
}

TEST(Transfer, PositionsOfTokensStandBehindAnyBuffer) {
  Saved saved;
  const Tensor positions = saved.model->params().map().at("encoder_pos_embed_learned");
  ASSERT_EQ(positions.size(1), 18);  // a buffer of two, 16 tokens
  ModelConfig larger = test::tiny_config();
  larger.buffer_size = 3;
  const Tensor table = saved.transferred(larger)->params().map().at("encoder_pos_embed_learned");
  EXPECT_TRUE(at::equal(table.narrow(1, 3, 16), positions.narrow(1, 2, 16)));
  EXPECT_TRUE(saved.drawn.empty());
}

// While its attention to the text is still zero, a block of the text model does what the class model's did.
TEST(Transfer, TextModelsTakeTheBlocksOfClassModels) {
  const at::NoGradGuard no_grad;
  Saved saved;
  const ModelConfig text = test::tiny_text_config();
  const BlockConfig config{text.width, text.heads, text.attention_width(), text.mlp_ratio};
  const auto block_of = [](const TensorMap& weights) {
    return Params::from(with_prefix_removed(weights, "decoder_blocks.0."), "block");
  };
  Params vit_params = block_of(saved.model->params().map()),
         cross_params = block_of(saved.transferred(text)->params().map());
  const VitBlock vit(Scope(vit_params), config);
  const CrossBlock cross(Scope(cross_params), config);
  const Tensor x = at::randn({2, 16, 8});
  BlockInput in;
  const auto through = [&](const auto& block) {
    ResidualStream stream{x, {}};
    block(stream, in);
    return stream.x + stream.branch;
  };
  const Tensor expected = through(vit);
  in.context = at::randn({2, 5, 8});
  EXPECT_LT(relative_l2(through(cross), expected), 1e-3);  // GELU is exact in one, by tanh in the other
  EXPECT_GT(relative_l2(x, expected), 0.1);
  EXPECT_TRUE(saved.drew("context_embed.weight"));
  EXPECT_TRUE(saved.drew("encoder_blocks.0.attn2.to_q.weight"));
  EXPECT_FALSE(saved.drew("encoder_blocks.0.attn1.to_q.weight"));
  for (const std::string& name : saved.drawn) EXPECT_FALSE(name.starts_with("diffloss")) << name;
}

TEST(Transfer, TokenizersTakeWhatHasTheSameNameAndShape) {
  KlVaeConfig config = kl_vae_preset("shapes-64"), deeper = config;
  deeper.decoder_blocks = config.blocks_up() + 1;
  const auto from = KlVae::random(config, 1);
  std::vector<std::string> drawn;
  const TensorMap got = transfer_weights(*from, deeper, /*seed=*/5, drawn)->params().map(),
                  random = KlVae::random(deeper, 5)->params().map();
  ASSERT_FALSE(drawn.empty());
  for (const auto& [name, tensor] : got) {
    const bool is_drawn = std::find(drawn.begin(), drawn.end(), name) != drawn.end();
    EXPECT_EQ(is_drawn, name.starts_with("decoder.up.0.block.2.")) << name;
    EXPECT_TRUE(at::equal(tensor, is_drawn ? random.at(name) : from->params().map().at(name))) << name;
  }
}

}  // namespace
}  // namespace crescendo
