// The published sizes end to end: B, L and H with random weights, the full KL-16 decoder, 256 x 256 pictures. Few
// steps, but every layer at its full width.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "crescendo/pipeline/pipeline.h"
#include "tests/support.h"

namespace crescendo {
namespace {

class PublishedSizes : public testing::TestWithParam<const char*> {};

TEST_P(PublishedSizes, MakeAPicture) {
  ModelInfo info;
  info.model = model_preset(GetParam());
  info.model.masked = false;
  auto model = FarModel::random(info.model, 1);
  const at::NoGradGuard no_grad;
  // The last layers start at zero; drawn anew, what goes through the whole network reaches the picture.
  for (const auto& [name, p] : model->params().items())
    if (name.starts_with("diffloss.net.final_layer.linear") || name.find("adaLN_modulation") != std::string::npos)
      Tensor(p).normal_(0, 0.02);
  const Pipeline pipeline(info, std::move(model), KlVae::random(kl_vae_preset("kl16"), 2));

  Request request;
  request.labels = {207};
  request.seeds = {1};
  request.sampler["steps"] = 2;
  request.sampler["diffusion_steps"] = Json::array({2});
  request.sampler["start_timestep"] = 980;
  Generated made;
  PipelineHooks hooks;
  hooks.on_image = [&](Generated g) { made = std::move(g); };
  ASSERT_TRUE(pipeline.generate(request, hooks));
  ASSERT_EQ(made.latent.sizes(), (std::vector<int64_t>{16, 16, 16}));
  EXPECT_TRUE(made.latent.isfinite().all().item<bool>());

  const test::TemporaryDirectory folder;
  write_png(folder / "x.png", made.image);
  const Image read = read_image(folder / "x.png");
  EXPECT_EQ(read.width, 256);
  EXPECT_EQ(read.height, 256);
  EXPECT_EQ(read.rgb, made.image.rgb);
  const auto [low, high] = std::minmax_element(read.rgb.begin(), read.rgb.end());
  EXPECT_GT(*high, *low) << "a picture of one colour";
}

INSTANTIATE_TEST_SUITE_P(Far, PublishedSizes, testing::Values("far-b", "far-l", "far-h"),
                         [](const auto& size) { return std::string(1, size.param[4]); });

}  // namespace
}  // namespace crescendo
