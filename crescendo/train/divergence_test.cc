// Whatever happens to the weights, what lies in the run folder can be gone on from.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>

#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/train/test_support.h"
#include "tests/support.h"

namespace crescendo {
namespace {

namespace fs = std::filesystem;
using test::checkpoint;
using test::error_of;
using test::Patterns;
using test::run;
using test::tiny_training;

constexpr double kMuchTooFast = 1e4;

void expect_finite(const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors) EXPECT_TRUE(at::isfinite(tensor).all().item<bool>()) << name;
}

Json state_of(const fs::path& out) { return Json::parse(checkpoint(out).metadata.at("state")); }

// A run of 80 images in `out`, for others to spoil.
TrainConfig good_run(const fs::path& out) {
  const TrainConfig c = tiny_training();
  run(c, out);
  return c;
}

TEST(Divergence, TheLastGoodCheckpointStays) {
  const test::TemporaryDirectory folder;
  for (const double save_minutes : {1000.0, 1e-9}) {  // at the end, and after every step
    const fs::path out = folder / std::to_string(save_minutes > 1);
    TrainConfig c = good_run(out);
    const std::string before = read_file(out / kCheckpointFile);
    c.train.lr = kMuchTooFast;
    c.train.images = 8000;
    c.train.save_minutes = save_minutes;
    c.train.sample_images = 4;
    TrainHooks hooks;
    hooks.on_sample = hooks.on_save = [](const TrainProgress&, const TensorMap& weights) { expect_finite(weights); };
    const std::string error = error_of([&] { run(c, out, true, hooks); });
    EXPECT_CONTAINS(error, "checkpoint.safetensors is that of 80 images: lower train.lr (10000)");
    EXPECT_CONTAINS(error, "and `resume`");
    EXPECT_TRUE(read_file(out / kCheckpointFile) == before);
    // The advice is good.
    c.train.lr = 1e-3;
    c.train.images = 160;
    EXPECT_EQ(run(c, out, true).images, 160);
    EXPECT_EQ(state_of(out)["updates"], 40);
    expect_finite(checkpoint(out).tensors);
  }
}

// The weights are finite, and so is the loss, but nothing of what was learned is left.
TEST(Divergence, AHugeLossIsNotSavedEither) {
  const test::TemporaryDirectory folder;
  TrainConfig c = good_run(folder.path());
  const std::string before = read_file(folder / kCheckpointFile);
  c.train.lr = 1;
  c.train.images = 84;  // one step
  EXPECT_CONTAINS(error_of([&] { run(c, folder.path(), true); }), "the loss of the first images went from ");
  EXPECT_TRUE(read_file(folder / kCheckpointFile) == before);
}

TEST(Divergence, AFreshRunLeavesNothingBehind) {
  const test::TemporaryDirectory folder;
  TrainConfig c = tiny_training();
  c.train.lr = 1e30;
  EXPECT_CONTAINS(error_of([&] { run(c, folder.path()); }), "nothing was saved yet: lower train.lr (1e+30)");
  EXPECT_FALSE(fs::exists(folder / kCheckpointFile));
  c.train.lr = 1e-3;
  EXPECT_EQ(run(c, folder.path()).images, 80);
}

// Asks to stop while images 8 and on of a run are computed.
class Stopped : public Patterns {
 public:
  TrainingBatch batch(const std::vector<int64_t>& indices, const std::vector<uint64_t>& seeds) const override {
    if (asked == 8) request_interrupt();
    return Patterns::batch(indices, seeds);
  }
};

TEST(Divergence, StoppedAmongBadStepsItSavesWhatIsGood) {
  const test::TemporaryDirectory folder;
  TrainConfig c = good_run(folder / "nan");
  good_run(folder / "fast");
  c.train.images = 8000;
  Stopped data;
  data.poisoned = [](int64_t n) { return n >= 4; };
  EXPECT_EQ(run(c, folder / "nan", true, {}, data).images, 92);
  EXPECT_EQ(state_of(folder / "nan")["updates"], 21);
  expect_finite(checkpoint(folder / "nan").tensors);
  catch_interrupts();  // forgets it

  c.train.lr = kMuchTooFast;
  EXPECT_CONTAINS(error_of([&] { run(c, folder / "fast", true, {}, Stopped()); }), "is that of 80 images");
  EXPECT_EQ(state_of(folder / "fast")["images"], 80);
  catch_interrupts();
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
}

TEST(Divergence, ASpoiltCheckpointIsNamed) {
  const test::TemporaryDirectory folder;
  TrainConfig c = good_run(folder.path());
  c.train.images = 160;
  const Safetensors good = checkpoint(folder.path());
  for (const char* name : {"model.z_proj.weight", "ema.fake_latent", "exp_avg.mask_token", "exp_avg_sq.z_proj.bias"}) {
    TensorMap spoilt = good.tensors;
    spoilt[name] = spoilt.at(name).clone();
    spoilt[name].view(-1)[0] = INFINITY;
    write_safetensors(folder / kCheckpointFile, spoilt, good.metadata);
    EXPECT_CONTAINS(error_of([&] { run(c, folder.path(), true); }), std::string(name) + " is not finite");
  }
}

TEST(Divergence, DataThatIsNotFiniteIsPassedOver) {
  const test::TemporaryDirectory folder;
  class Spoilt : public Patterns {
   public:
    TrainingBatch batch(const std::vector<int64_t>& indices, const std::vector<uint64_t>& seeds) const override {
      TrainingBatch out = Patterns::batch(indices, seeds);
      for (size_t b = 0; b < indices.size(); ++b)
        if (indices[b] == 5) out.latents[static_cast<int64_t>(b)][1][2][3] = value;
      return out;
    }
    double value = NAN;
  };
  TrainConfig c = tiny_training();
  c.train.images = 24;  // each once
  Spoilt data;
  for (const double value : {static_cast<double>(-INFINITY), 1e30, static_cast<double>(NAN)}) {
    data.value = value;
    const fs::path out = folder / std::to_string(value);
    EXPECT_EQ(run(c, out, false, {}, data).images, 24);
    EXPECT_EQ(state_of(out)["updates"], 5) << value;
    expect_finite(checkpoint(out).tensors);
  }
  c.train.max_bad_steps = 1;
  EXPECT_CONTAINS(error_of([&] { run(c, folder / "named", false, {}, data); }),
                  "image 5 of the data is not finite; " + (folder / "named" / kCheckpointFile).string() +
                      " is that of 8 images: mend that image and `resume`");
  EXPECT_EQ(state_of(folder / "named")["updates"], 1);
}

// Of a gradient whose squares fp32 cannot hold, a clipped one is as good as any other.
TEST(Divergence, AHugeGradientIsClippedOrPassedOver) {
  const test::TemporaryDirectory folder;
  TrainConfig c = tiny_training();
  c.objective.vb_weight = 1e25;
  run(c, folder / "clipped");
  EXPECT_EQ(state_of(folder / "clipped")["updates"], 20);
  expect_finite(checkpoint(folder / "clipped").tensors);
  c.train.grad_clip = 0;
  EXPECT_CONTAINS(error_of([&] { run(c, folder / "free"); }), "is too large; nothing was saved yet");
}

}  // namespace
}  // namespace crescendo
