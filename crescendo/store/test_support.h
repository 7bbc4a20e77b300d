// Tiny checkpoints, and what the tests of convert do with them.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/io/safetensors.h"
#include "crescendo/io/torch_zip.h"
#include "crescendo/store/convert.h"
#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {

namespace fs = std::filesystem;
using test::error_of;
using test::TemporaryDirectory;
using test::usage_error_of;

inline TensorMap weights_of(const ModelConfig& config, uint64_t seed) {
  return test::lively_model(config, seed)->params().map();
}

// A training program's file of a tiny model: raw weights of seed 1, their average of seed 2.
inline void write_checkpoint(const fs::path& path, const ModelConfig& config, const Json& args, bool ema = true) {
  PickleValue::Dict root = {{PickleValue::string("model"), PickleValue::state_dict(weights_of(config, 1))}};
  if (ema) root.emplace_back(PickleValue::string("model_ema"), PickleValue::state_dict(weights_of(config, 2)));
  root.emplace_back(PickleValue::string("args"), PickleValue::from_json(args));
  root.emplace_back(PickleValue::string("epoch"), PickleValue::integer(3));
  write_torch_zip(path, PickleValue::dict(std::move(root)));
}

inline KlVaeConfig tiny_vae_config(int64_t latent_channels = 2) {
  KlVaeConfig config;
  config.base_channels = 32;
  config.multipliers = {1, 1};
  config.residual_blocks = 1;
  config.latent_channels = latent_channels;
  config.attention_levels = {1};
  return config;
}
// The layout of kl16.ckpt, foreign keys included.
inline void write_vae(const fs::path& path, int64_t latent_channels = 2) {
  TensorMap weights = KlVae::random(tiny_vae_config(latent_channels), 3)->params().map();
  weights["loss.logvar"] = at::zeros({});
  write_torch_zip(path, PickleValue::dict({{PickleValue::string("model"), PickleValue::state_dict(weights)}}));
}

inline void expect_identical(const TensorMap& a, const TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_TRUE(b.contains(name)) << name;
    EXPECT_EQ(tensor.scalar_type(), b.at(name).scalar_type()) << name;
    EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
  }
}

inline TensorMap stored(const fs::path& dir) { return read_safetensors(dir / "model.safetensors").tensors; }

inline ConvertOptions two_heads() {
  ConvertOptions options;
  options.heads = 2;
  return options;
}

inline void convert(const fs::path& from, const fs::path& to, const ConvertOptions& options = two_heads()) {
  write_model_directory(open_model(from, options), options, to);
}

}  // namespace crescendo
