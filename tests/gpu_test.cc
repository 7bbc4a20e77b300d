// What a GPU computes is what the CPU computes: sampler, loss and its gradients, optimizer, tokenizer. Skips where
// there is no GPU.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/generated/variable_factories.h>  // backward() needs autograd linked in

#include "crescendo/core/device.h"
#include "crescendo/order/objective.h"
#include "crescendo/order/sample.h"
#include "crescendo/tokenizer/kl_vae.h"
#include "crescendo/train/adamw.h"
#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {
namespace {

using test::lively_model;
using test::relative_l2;

class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "needs a GPU and a LibTorch for CUDA";
    set_up_torch(0);
    gpu_ = parse_device("cuda");
  }
  at::Device gpu_ = at::kCPU;
};

Tensor normal(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed));
}

// Wide enough for the kernels that take four numbers at a time.
ModelConfig wider(ModelConfig c) {
  c.width = 32;
  c.encoder_blocks = c.decoder_blocks = 2;
  c.diffusion_width = 64;
  c.diffusion_blocks = 3;
  return c;
}

Plan plan_of(const ModelConfig& config, const Json& asked) { return make_plan(resolve_sampler(asked, config), config); }

std::unique_ptr<FarModel> model_on(at::Device device, const ModelConfig& config, at::ScalarType type = at::kFloat) {
  auto model = lively_model(config);
  model->params().to(device, type);
  return model;
}

Tensor condition_of(const FarModel& model, int64_t first) {
  const ModelConfig& c = model.config();
  if (c.is_text())
    return model.backbone().text_condition(
        normal({2, c.text_length, c.text_hidden}, static_cast<uint64_t>(first)).to(model.device(), model.dtype()));
  return model.backbone().class_condition(at::tensor({first % c.classes, (first + 1) % c.classes}).to(model.device()));
}

Tensor pictures(const FarModel& model, Sampler& sampler, const Plan& plan, int64_t first) {
  const at::NoGradGuard no_grad;
  const ModelConfig& c = model.config();
  const SeededNoise noise({static_cast<uint64_t>(first), 77}, c.tokens(), c.token_channels(), model.device());
  return sampler.sample(condition_of(model, first), plan, noise).to(at::kCPU);
}

// As they come, put down as graphs, and replayed; from t = 900, since the step from 999 multiplies every rounding.
TEST_F(Gpu, SamplesTheSamePictures) {
  for (const ModelConfig& sizes : {test::tiny_config(), test::tiny_text_config(), test::tiny_config(Order::kMar)})
    for (const Solver solver : {Solver::kDdpm, Solver::kDdim, Solver::kDpm2m, Solver::kDpm2mSde})
      for (const bool mask : {false, true}) {
        const ModelConfig config = wider(sizes);
        if (config.order == Order::kMar && !mask) continue;
        const Plan plan = plan_of(config, {{"solver", enum_name(solver)},
                                           {"mask", mask},
                                           {"steps", 4},
                                           {"diffusion_steps", {7}},
                                           {"start_timestep", 900}});  // the first step is not guided
        const auto there = model_on(gpu_, config), here = model_on(at::kCPU, config);
        Sampler on_gpu(*there), on_cpu(*here);
        for (int64_t picture = 0; picture < 4; ++picture)
          EXPECT_LT(relative_l2(pictures(*there, on_gpu, plan, picture), pictures(*here, on_cpu, plan, picture)), 1e-4)
              << config.kind() << ", " << enum_name(solver) << ", masks " << mask << ", picture " << picture;
      }
}

TEST_F(Gpu, SamplesInBf16NearToFp32) {
  const ModelConfig config = wider(test::tiny_config());
  const Plan plan = plan_of(
      config,
      {{"mask", false}, {"solver", "dpmpp-2m"}, {"steps", 4}, {"diffusion_steps", {6}}, {"start_timestep", 700}});
  const auto rounded = model_on(gpu_, config, at::kBFloat16), exact = model_on(at::kCPU, config);
  Sampler on_gpu(*rounded), on_cpu(*exact);
  for (int64_t picture = 0; picture < 3; ++picture) {
    const double error =
        relative_l2(pictures(*rounded, on_gpu, plan, picture), pictures(*exact, on_cpu, plan, picture));
    EXPECT_LT(error, 0.1) << picture;
    EXPECT_GT(error, 1e-5) << picture;
  }
}

TEST_F(Gpu, GoesOnAfterAPictureThatWasGivenUp) {
  const ModelConfig config = wider(test::tiny_config());
  const Plan plan = plan_of(config, {{"steps", 3}, {"diffusion_steps", {40}}, {"start_timestep", 900}});
  const auto there = model_on(gpu_, config), here = model_on(at::kCPU, config);
  Sampler on_gpu(*there), on_cpu(*here);
  const SeededNoise noise({1, 77}, config.tokens(), config.token_channels(), gpu_);
  SampleHooks stop;
  stop.on_inner_step = [](int64_t done, int64_t) { return done < 50; };
  for (int64_t picture = 0; picture < 4; ++picture) {
    EXPECT_FALSE(on_gpu.sample(condition_of(*there, picture), plan, noise, stop).defined());
    EXPECT_LT(relative_l2(pictures(*there, on_gpu, plan, picture), pictures(*here, on_cpu, plan, picture)), 1e-4);
  }
}

// Loss, gradients of every parameter, and what the optimizer makes of them.
TEST_F(Gpu, TrainsTheSame) {
  for (const ModelConfig& sizes : {test::tiny_config(), test::tiny_text_config(), test::tiny_config(Order::kMar)}) {
    const ModelConfig config = wider(sizes);
    ObjectiveOptions options;
    options.attention_dropout = options.projection_dropout = 0;  // whose numbers are the device's own
    options.terminal_weight = 3;
    const auto there = model_on(gpu_, config), here = model_on(at::kCPU, config);
    const Lowpass lowpass(config.latent_height, config.latent_width, config.levels, config.filter);
    const Tensor latents = normal({2, config.latent_channels, config.latent_height, config.latent_width}, 3);
    AdamW on_gpu(there->params(), {}, decays_as_published, 1), on_cpu(here->params(), {}, decays_as_published, 1);
    for (uint64_t step = 0; step < 3; ++step) {
      std::vector<double> losses;
      const auto go = [&](const FarModel& model, AdamW& optimizer) {
        optimizer.zero_grad();
        const ObjectiveResult r = objective(
            model, options, lowpass, {latents.to(model.device()), condition_of(model, 1), {step, step + 100}, step});
        optimizer.add_gradient(r.loss, 0);
        losses.push_back(r.loss.item<double>());
        losses.push_back(optimizer.grad_norm());
        optimizer.step(1e-3, 1.0);
      };
      go(*there, on_gpu);
      go(*here, on_cpu);
      EXPECT_NEAR(losses[0], losses[2], 1e-4 * std::abs(losses[2])) << config.kind() << ", step " << step;
      EXPECT_NEAR(losses[1], losses[3], 1e-3 * std::abs(losses[3])) << config.kind() << ", step " << step;
    }
    EXPECT_LT(relative_l2(on_gpu.flat_parameters(), on_cpu.flat_parameters()), 1e-3) << config.kind();
  }
}

TEST_F(Gpu, EncodesAndDecodesTheSame) {
  const at::NoGradGuard no_grad;
  KlVaeConfig deep = kl_vae_preset("kl16");
  deep.base_channels = 32;
  for (const KlVaeConfig& config : {kl_vae_preset("shapes-64"), deep}) {
    const auto there = KlVae::random(config, 4), here = KlVae::random(config, 4);
    there->params().to(gpu_, at::kFloat);
    const Tensor image = normal({2, 3, 64, 48}, 5).clamp(-1, 1);
    const Tensor moments = here->encode_moments(image);
    EXPECT_LT(relative_l2(there->encode_moments(image), moments), 1e-4);
    const Tensor latent = posterior_mean(moments), picture = here->decode(latent);
    EXPECT_LT(relative_l2(there->decode(latent), picture), 1e-4);
    // In bf16 as near as the CPU's, whose places of rounding are others.
    const Tensor scaled = latent * config.latent_scale;
    const double rounded = relative_l2(there->decode_latent(scaled, at::kBFloat16), picture),
                 rounded_here = relative_l2(here->decode_latent(scaled, at::kBFloat16), picture);
    EXPECT_LT(rounded, 1.5 * rounded_here);
    EXPECT_GT(rounded, 1e-4);
  }
}

}  // namespace
}  // namespace crescendo
