#include "crescendo/pipeline/pipeline.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/pipeline/filtered.h"
#include "crescendo/pipeline/reconstruct.h"
#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {
namespace {

using test::error_of;
using test::usage_error_of;

// 4 x 4 latents of 2 channels, factor 4: pictures of 16 x 16.
Pipeline tiny_pipeline(bool tokenizer = true, const ModelConfig& config = test::tiny_config()) {
  ModelInfo info;
  info.model = config;
  KlVaeConfig vae = kl_vae_preset("shapes-64");
  vae.base_channels = 4;
  vae.norm_groups = 2;
  vae.latent_channels = 2;
  auto model = test::lively_model(info.model);
  return {info, std::move(model), tokenizer ? std::shared_ptr<const KlVae>(KlVae::random(vae, 1)) : nullptr};
}

Request request(int64_t count) {
  Request r;
  for (int64_t i = 0; i < count; ++i) {
    r.labels.push_back(i % 3);
    r.seeds.push_back(static_cast<uint64_t>(100 + i));
  }
  r.sampler["diffusion_steps"] = {4};
  return r;
}

std::vector<Generated> generate(const Pipeline& pipeline, const Request& r) {
  std::vector<Generated> out;
  PipelineHooks hooks;
  hooks.on_image = [&](Generated g) { out.push_back(std::move(g)); };
  EXPECT_TRUE(pipeline.generate(r, hooks));
  return out;
}

TEST(Pipeline, TheBatchDoesNotChangeImages) {
  const Pipeline pipeline = tiny_pipeline();
  Request r = request(5);
  const auto whole = generate(pipeline, r);
  ASSERT_EQ(whole.size(), 5u);
  r.batch = 2;
  const auto parts = generate(pipeline, r);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(whole[i].index, static_cast<int64_t>(i));
    EXPECT_EQ(parts[i].index, static_cast<int64_t>(i));
    EXPECT_EQ(whole[i].image.width, 16);
    EXPECT_LT(test::relative_l2(parts[i].latent, whole[i].latent), 1e-5) << i;
    EXPECT_EQ(test::relative_l2(whole[i].latent, whole[0].latent) > 1e-2, i > 0) << i;
  }
}

TEST(Pipeline, StripAndTraceOfEveryStep) {
  const Pipeline pipeline = tiny_pipeline();
  Request r = request(3);
  r.batch = 2;
  r.strip = r.trace = true;
  r.sampler["steps"] = 3;
  for (const Generated& g : generate(pipeline, r)) {
    ASSERT_EQ(g.strip.size(), 3u);
    EXPECT_EQ(g.strip.back(), g.image);  // the last prediction is the picture
    EXPECT_EQ(g.trace.sizes(), (std::vector<int64_t>{3, 16, 2}));
    EXPECT_EQ(g.trace[0].abs().max().item<double>(), 0);
    EXPECT_GT(g.trace[1].abs().max().item<double>(), 0);
    EXPECT_EQ(g.latent.sizes(), (std::vector<int64_t>{2, 4, 4}));
  }
  r.strip = r.trace = r.decode = false;
  for (const Generated& g : generate(tiny_pipeline(false), r)) {
    EXPECT_TRUE(g.image.rgb.empty());
    EXPECT_FALSE(g.trace.defined());
  }
}

// Figure 12: what a step leaves for the next, which is the prediction through the filter of the next level.
TEST(Pipeline, StripOfInputs) {
  const Pipeline pipeline = tiny_pipeline();
  Request r = request(1);
  r.strip = true;
  r.sampler["mask"] = false;
  r.sampler["steps"] = 3;
  const Generated predictions = generate(pipeline, r)[0];
  r.strip_of = StripOf::kInputs;
  const Generated inputs = generate(pipeline, r)[0];
  ASSERT_EQ(inputs.strip.size(), 3u);
  EXPECT_EQ(inputs.strip.back(), inputs.image);
  EXPECT_EQ(inputs.image, predictions.image);
  EXPECT_FALSE(inputs.strip[0] == predictions.strip[0]);

  using Labels = std::vector<std::string>;
  const ModelConfig& m = pipeline.info().model;
  const Plan plan = make_plan(resolve_sampler(r.sampler, m), m);
  EXPECT_EQ(strip_labels(plan, StripOf::kPredictions, m), (Labels{"level 0", "level 2", "level 3"}));
  EXPECT_EQ(strip_labels(plan, StripOf::kInputs, m), (Labels{"level 2", "level 3", "level 4"}));
  const ModelConfig mar = test::tiny_config(Order::kMar);
  r.sampler = {{"steps", 2}};
  EXPECT_EQ(strip_labels(make_plan(resolve_sampler(r.sampler, mar), mar), StripOf::kInputs, mar),
            (Labels{"step 1", "step 2"}));
}

// Noise is told as such: by the plan, and by what came of it.
TEST(Pipeline, WarnsOfNoise) {
  Request r = request(3);
  r.decode = false;
  const auto said = [&](const Pipeline& pipeline) {
    testing::internal::CaptureStderr();
    generate(pipeline, r);
    return testing::internal::GetCapturedStderr();
  };
  const std::string few = said(tiny_pipeline(false));
  EXPECT_CONTAINS(few, "warning: outer step 1 takes 4 steps of ddpm from t = 999");
  EXPECT_CONTAINS(few, "warning: the latents of image 1 are ");
  EXPECT_FALSE(test::contains(few, "image 2"));
  r.sampler["start_timestep"] = 700;
  ModelInfo untrained;  // answers zero
  untrained.model = test::tiny_config();
  EXPECT_EQ(said({untrained, FarModel::random(untrained.model, 1), nullptr}), "");
}

TEST(Pipeline, FilteredPicturesOfEveryLevel) {
  KlVaeConfig config = kl_vae_preset("shapes-64");
  config.base_channels = 4;
  config.norm_groups = 2;
  const auto vae = KlVae::random(config, 1);
  Image image(20, 16);
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<uint8_t>(i * 37);
  const Tensor mean = posterior_mean(vae->encode_moments(image_to_tensor(image).unsqueeze(0)));
  for (const FilterType type : {FilterType::kSpatial, FilterType::kFourier}) {
    const auto pictures = filtered_pictures(*vae, image, type, 4);
    ASSERT_EQ(pictures.size(), 4u);
    EXPECT_EQ(pictures[3], tensor_to_image(vae->decode(mean)));
    const Tensor low = at::ones_like(mean) * mean.mean({2, 3}, true);
    EXPECT_EQ(pictures[0] == tensor_to_image(vae->decode(low)), type == FilterType::kFourier);
    EXPECT_FALSE(pictures[0] == pictures[1]);
    EXPECT_FALSE(pictures[2] == pictures[3]);
  }
  EXPECT_CONTAINS(usage_error_of([&] { filtered_pictures(*vae, image, FilterType::kSpatial, 5); }),
                  "levels must be in 1..4 for a picture of 20 x 16 pixels");
  const Reconstruction kept = reconstruct(*vae, image);
  EXPECT_EQ(kept.decoded, tensor_to_image(vae->decode(mean)));
  EXPECT_NEAR(kept.mean_square_error,
              (image_to_bytes(image).to(at::kDouble) - image_to_bytes(kept.decoded)).square().mean().item<double>(),
              1e-9);
  EXPECT_NEAR(byte_psnr_db(255.0 * 255.0 / 100), 20, 1e-9);
}

TEST(Pipeline, StoppingKeepsFinishedImages) {
  const Pipeline pipeline = tiny_pipeline();
  Request r = request(5);
  r.batch = 2;
  std::vector<int64_t> finished;
  double last = 0;
  PipelineHooks hooks;
  hooks.on_image = [&](Generated g) { finished.push_back(g.index); };
  hooks.on_progress = [&](double done, const std::string& text) {
    EXPECT_GE(done, last);
    last = done;
    EXPECT_CONTAINS(text, done <= 0.4 ? "image 1-2 of 5, step " : "image 3-4 of 5, step ");
    return done < 0.7;
  };
  EXPECT_FALSE(pipeline.generate(r, hooks));
  EXPECT_EQ(finished, (std::vector<int64_t>{0, 1}));
}

TEST(Pipeline, GivenNoiseBelongsToItsImage) {
  const Pipeline pipeline = tiny_pipeline();
  Request r = request(3);
  r.noise["noise_init"] = at::randn({4, 3, 16, 2}, at::make_generator<at::CPUGeneratorImpl>(uint64_t{1}));
  r.noise["order"] = at::arange(16, at::kLong).expand({3, 16});
  const auto whole = generate(pipeline, r);
  r.batch = 1;
  const auto alone = generate(pipeline, r);
  EXPECT_LT(test::relative_l2(alone[2].latent, whole[2].latent), 1e-5);
  r.noise.clear();
  EXPECT_GT(test::relative_l2(generate(pipeline, r)[2].latent, whole[2].latent), 1e-2);
  r.noise["order"] = at::arange(16, at::kLong).expand({2, 16});
  EXPECT_CONTAINS(error_of([&] { generate(pipeline, r); }), "must have 3 images along dimension 0");
}

TEST(Pipeline, RequestsThatCannotBe) {
  const Pipeline pipeline = tiny_pipeline();
  const auto refused = [](const Pipeline& p, auto change) {
    Request r = request(2);
    change(r);
    return usage_error_of([&] { p.generate(r, {}); });
  };
  EXPECT_CONTAINS(refused(pipeline, [](Request& r) { r = {}; }), "nothing to generate");
  EXPECT_CONTAINS(refused(pipeline, [](Request& r) { r.batch = 0; }), "batch must be at least 1, got 0");
  EXPECT_CONTAINS(refused(pipeline, [](Request& r) { r.labels = {1}; }), "got 1 classes for 2 images");
  EXPECT_CONTAINS(refused(pipeline, [](Request& r) { r.labels = {1, 3}; }), "run from 0 to 2, got 3");
  EXPECT_CONTAINS(refused(pipeline, [](Request& r) { r.labels = {}; }), "give `labels`");
  EXPECT_CONTAINS(refused(pipeline, [](Request& r) { r.sampler["steps"] = 9; }), "steps must be in 1..4");
  EXPECT_CONTAINS(refused(tiny_pipeline(false), [](Request&) {}), "without a tokenizer");
  const Pipeline text = tiny_pipeline(true, test::tiny_text_config());
  EXPECT_CONTAINS(refused(text, [](Request& r) { r.labels = {}; }), "give `text`");
  EXPECT_CONTAINS(refused(text,
                          [](Request& r) {
                            r.labels = {};
                            r.text = at::zeros({3, 5, 6});
                          }),
                  "one text per image");
}

TEST(Pipeline, TheTokenizerMustFit) {
  ModelInfo info;
  info.model = test::tiny_config();
  const std::shared_ptr<const KlVae> vae = KlVae::random(kl_vae_preset("shapes-64"), 1);
  EXPECT_CONTAINS(error_of([&] { Pipeline(info, test::lively_model(info.model), vae); }), "do not belong together");
}

}  // namespace
}  // namespace crescendo
