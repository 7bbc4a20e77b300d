#include "crescendo/pipeline/memory.h"

#include <gtest/gtest.h>

#include "tests/tiny_model.h"

namespace crescendo {
namespace {

TEST(GenerationMemory, IsReckonedFromSizes) {
  ModelConfig model = test::tiny_config();
  model.latent_channels = 3, model.latent_height = 16, model.latent_width = 8, model.patch = 4, model.width = 10;
  KlVaeConfig vae = kl_vae_preset("kl16");
  EXPECT_EQ(latent_bytes(model), 3 * 16 * 8 * 4);
  EXPECT_EQ(picture_bytes(model, vae), 3 * 256 * 128);
  EXPECT_EQ(sampling_bytes(model, std::nullopt), 2 * latent_bytes(model) + 2 * 8 * 10);
  EXPECT_EQ(sampling_bytes(model, vae) - sampling_bytes(model, std::nullopt), 256 * 128 * 128 * 6.0);
  vae.unshuffle = 2, vae.multipliers = {2, 1}, vae.base_channels = 4;  // maps of 8 channels, a quarter of the pixels
  EXPECT_EQ(sampling_bytes(model, vae) - sampling_bytes(model, std::nullopt), 64 * 32 * 12.0);
}

}  // namespace
}  // namespace crescendo
