// Models small enough for a thousand evaluations in a test.
#pragma once

#include <utility>

#include "crescendo/core/rng.h"
#include "crescendo/model/far_model.h"

namespace crescendo::test {

// 4 x 4 latents of 2 channels, 4 levels, 3 classes.
inline ModelConfig tiny_config(Order order = Order::kFar) {
  ModelConfig c;
  c.order = order;
  c.width = 8;
  c.encoder_blocks = c.decoder_blocks = 1;
  c.heads = 2;
  c.mlp_ratio = 2;
  c.diffusion_width = 8;
  c.diffusion_blocks = 1;
  c.latent_channels = 2;
  c.latent_height = c.latent_width = 4;
  c.levels = 4;
  c.buffer_size = 2;
  c.classes = 3;
  return c;
}
// The same with 5 text positions of width 6.
inline ModelConfig tiny_text_config() {
  ModelConfig c = tiny_config();
  c.conditioning = Conditioning::kText;
  c.buffer_size = 0;
  c.text_hidden = 6;
  c.text_length = 5;
  return c;
}

// A random model whose every parameter matters. Drawn as for training it would answer zero whatever it is asked, since
// the last layers start at zero.
inline std::unique_ptr<FarModel> lively_model(const ModelConfig& config, uint64_t seed = 1) {
  auto model = FarModel::random(config, seed);
  for (const auto& [name, p] : model->params().items()) {
    std::vector<float> noise(static_cast<size_t>(p.numel()));
    uint64_t name_seed = seed;
    for (const char c : name) name_seed = derive_seed(name_seed, static_cast<unsigned char>(c));
    Rng(name_seed, Draw::kOther).fill_normal(noise);
    Tensor shaken = p.clone();
    for (int64_t i = 0; i < p.numel(); ++i) shaken.data_ptr<float>()[i] += 0.2f * noise[static_cast<size_t>(i)];
    Tensor(p).copy_(shaken);
  }
  return model;
}

}  // namespace crescendo::test
