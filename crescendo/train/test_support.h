// What tests of the training loop share: a data set of patterns, a run of a tiny model, and what it leaves.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "crescendo/core/rng.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/train/loop.h"
#include "tests/tiny_model.h"

namespace crescendo::test {

// 24 latents, each near its class's own pattern. Image numbers in `poisoned` come out as NaN.
class Patterns : public LatentSource {
 public:
  int64_t size() const override { return 24; }
  TrainingBatch batch(const std::vector<int64_t>& indices, const std::vector<uint64_t>& seeds) const override {
    TrainingBatch out{at::empty({static_cast<int64_t>(indices.size()), 2, 4, 4}), at::tensor(indices).remainder(3), {}};
    for (size_t b = 0; b < indices.size(); ++b) {
      float* x = out.latents[static_cast<int64_t>(b)].data_ptr<float>();
      Rng(static_cast<uint64_t>(indices[b] % 3), Draw::kOther).fill_normal({x, 32});
      Rng noise(seeds[b], Draw::kPosterior);
      for (int64_t i = 0; i < 32; ++i) x[i] += 0.1f * static_cast<float>(noise.normal());
      if (poisoned(asked++)) x[0] = NAN;
    }
    return out;
  }
  std::function<bool(int64_t n)> poisoned = [](int64_t) { return false; };
  mutable int64_t asked = 0;  // images so far
};

// 20 steps of 4 images, dropout and masks on.
inline TrainConfig tiny_training() {
  TrainConfig c;
  c.model = tiny_config();
  c.objective.diffusion_batch_mul = 2;
  c.train.images = 80;
  c.train.batch = 4;
  c.train.lr = 2e-3;
  c.train.lr_schedule.warmup_images = 8;
  c.train.ema = 0.9;
  c.train.log_images = 20;
  c.train.sample_images = 0;
  c.train.save_minutes = 1000;
  return c;
}

// Trains a fresh model in `out`.
inline TrainProgress run(const TrainConfig& c, const std::filesystem::path& out, bool resume = false,
                         const TrainHooks& hooks = {}, const LatentSource& data = Patterns()) {
  const auto model = FarModel::random(c.model, 1);
  return train(*model, c, data, out, resume, hooks);
}

inline Safetensors checkpoint(const std::filesystem::path& out) {
  return read_safetensors(out / "checkpoint.safetensors");
}

inline void expect_same_tensors(const TensorMap& a, const TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
}

inline std::vector<Json> log_lines(const std::filesystem::path& out) {
  std::ifstream file(out / "log.jsonl");
  std::vector<Json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
  return lines;
}

}  // namespace crescendo::test
