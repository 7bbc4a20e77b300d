// The small models of shared/fixtures, built.
#pragma once

#include "crescendo/model/far_model.h"
#include "tests/fixture_weights.h"

namespace crescendo::test {

// Everything but the number of heads could be read from the shapes; stated here, the loading checks it.
inline ModelConfig fixture_config(const std::string& name) {
  ModelConfig c;
  c.width = 64;
  c.encoder_blocks = c.decoder_blocks = 2;
  c.heads = 4;
  c.diffusion_width = 48;
  c.diffusion_blocks = 2;
  if (name == "mar_micro") c.order = Order::kMar;
  if (name == "t2i_micro") {
    c.conditioning = Conditioning::kText;
    c.heads = 2;
    c.head_dim = 64;
    c.buffer_size = 0;
    c.text_hidden = 1536;
    c.text_length = 300;
  }
  return c;
}

inline std::unique_ptr<FarModel> fixture_model(const std::string& name) {
  return FarModel::from(fixture_config(name), fixture_weights(name), name);
}

}  // namespace crescendo::test
