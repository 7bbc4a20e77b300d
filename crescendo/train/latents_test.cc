#include "crescendo/train/latents.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "crescendo/core/rng.h"
#include "crescendo/data/shapes_dataset.h"
#include "crescendo/image/image.h"
#include "tests/support.h"

namespace crescendo {
namespace {

// Counts how often a picture is asked for.
class CountingShapes : public ShapesDataset {
 public:
  using ShapesDataset::ShapesDataset;
  LabelledImages batch(std::span<const int64_t> indices) const override {
    asked += static_cast<int64_t>(indices.size());
    return ShapesDataset::batch(indices);
  }
  mutable int64_t asked = 0;  // in batches; the encoder reads nothing else but one picture, for its side
};

std::unique_ptr<KlVae> tiny_vae(uint64_t seed) {
  KlVaeConfig config = kl_vae_preset("shapes-64");
  config.base_channels = 4;
  config.norm_groups = 2;
  return KlVae::random(config, seed);
}

TEST(CachedLatents, PosteriorSamplesOfEachImage) {
  const at::NoGradGuard no_grad;
  const auto vae = tiny_vae(1);
  const ShapesDataset data(40, 1, 16);  // more than one batch of the encoder
  const CachedLatents latents(encode_dataset(data, "shapes", *vae, true, {}), *vae);
  ASSERT_EQ(latents.size(), 40);
  const std::vector<int64_t> indices{35, 2};
  const std::vector<uint64_t> seeds{11, 12};
  const TrainingBatch batch = latents.batch(indices, seeds);
  for (size_t b = 0; b < 2; ++b) {
    EXPECT_EQ(batch.labels[static_cast<int64_t>(b)].item<int64_t>(), data.label(indices[b]));
    Tensor x = data.get(indices[b]).image.to(at::kFloat).div(127.5).sub(1).unsqueeze(0);
    if (Rng(seeds[b], Draw::kFlip).uniform() < 0.5) x = x.flip({3});
    const Tensor moments = vae->encode_moments(x), noise = at::empty({1, 3, 4, 4});
    Rng(seeds[b], Draw::kPosterior).fill_normal({noise.data_ptr<float>(), 48});
    EXPECT_LT(test::relative_l2(batch.latents[static_cast<int64_t>(b)], vae->to_latent(moments, noise)[0]), 1e-5) << b;
  }
  // The image's own stream: the same in any company, other with another seed.
  EXPECT_TRUE(at::equal(latents.batch({2}, {12}).latents[0], batch.latents[1]));
  EXPECT_GT(test::relative_l2(latents.batch({2}, {13}).latents[0], batch.latents[1]), 1e-4);
}

TEST(CachedLatents, PosteriorStdIsAShareOfTheSpread) {
  const at::NoGradGuard no_grad;
  const auto vae = tiny_vae(1);
  const ShapesDataset data(4, 1, 16);
  const EncodedSet set = encode_dataset(data, "shapes", *vae, false, {});
  const auto latents = [&](double share) { return CachedLatents(set, *vae, share).batch({1, 3}, {11, 12}).latents; };
  const Tensor mean = vae->to_latent(set.moments.index_select(0, at::tensor({1, 3})));
  EXPECT_TRUE(at::equal(latents(0), mean));
  EXPECT_GT(test::relative_l2(latents(1), mean), 0.1);
  EXPECT_LT(test::relative_l2(latents(0.25) - mean, (latents(1) - mean) * 0.25), 1e-5);
}

TEST(CachedLatents, FlipsHalfOfTheTime) {
  const auto vae = tiny_vae(1);
  EncodedSet set{at::zeros({1, 6, 2, 2}), at::ones({1, 6, 2, 2}), at::zeros({1}, at::kLong)};
  set.moments.slice(1, 3).fill_(-30);  // no spread
  set.moments_flip.slice(1, 3).fill_(-30);
  const CachedLatents latents(set, *vae);
  std::vector<uint64_t> seeds;
  for (uint64_t i = 0; i < 400; ++i) seeds.push_back(derive_seed(3, i));
  const Tensor mirrored =
      latents.batch(std::vector<int64_t>(400, 0), seeds).latents.mean({1, 2, 3}) / vae->config().latent_scale;
  EXPECT_NEAR(mirrored.mean().item<double>(), 0.5, 0.1);
  EXPECT_TRUE(mirrored.lt(0.01).logical_or(mirrored.gt(0.99)).all().item<bool>());
}

TEST(EncodeDataset, CacheIsUsedWhileNothingChanged) {
  const test::TemporaryDirectory folder;
  const auto cache = folder / "latents.safetensors";
  const auto vae = tiny_vae(1);
  const auto encoded = [&](const std::string& spec, const KlVae& tokenizer, bool flip, int64_t count, int64_t side) {
    const CountingShapes data(count, 1, side);
    const EncodedSet set = encode_dataset(data, spec, tokenizer, flip, cache);
    EXPECT_EQ(set.moments_flip.defined(), flip);
    EXPECT_EQ(set.labels.size(0), count);
    EXPECT_EQ(set.moments.size(2), side / 4);
    return std::pair(set.moments.clone(), data.asked == count);  // encoded anew?
  };
  const auto first = encoded("shapes:seed=1", *vae, false, 10, 16);
  EXPECT_TRUE(first.second);
  EXPECT_EQ(folder.list(), std::vector<std::string>{"latents.safetensors"});
  const auto again = encoded("shapes:seed=1", *vae, false, 10, 16);
  EXPECT_FALSE(again.second);
  EXPECT_TRUE(at::equal(again.first, first.first));
  // Each of these makes another set; the second time it is the cache's.
  const auto other = tiny_vae(2);
  const auto expect_anew = [&](const std::string& spec, const KlVae& tokenizer, bool flip, int64_t count,
                               int64_t side) {
    EXPECT_TRUE(encoded(spec, tokenizer, flip, count, side).second) << spec;
    EXPECT_FALSE(encoded(spec, tokenizer, flip, count, side).second) << spec;
  };
  expect_anew("shapes:seed=2", *vae, false, 10, 16);
  expect_anew("shapes:seed=2", *other, false, 10, 16);
  expect_anew("shapes:seed=2", *other, true, 10, 16);
  expect_anew("shapes:seed=2", *other, true, 12, 16);
  expect_anew("shapes:seed=2", *other, true, 12, 32);
}

// A folder of class a, and the latents of what is in it.
class FolderCache : public ::testing::Test {
 protected:
  void put(const std::string& file, uint8_t grey) {
    make_directories((folder_ / file).parent_path());
    Image image(16, 16);
    std::fill(image.rgb.begin(), image.rgb.end(), grey);
    write_png(folder_ / file, image);
  }
  void SetUp() override {
    for (const char* name : {"set/a/0.png", "set/a/1.png", "set/a/2.png"}) put(name, static_cast<uint8_t>(name[6]));
  }
  // Moments of the set as it is, which must be those that a fresh encoding gives; and what was said.
  std::string encode(bool flip = false) {
    const auto set = open_dataset((folder_ / "set").string(), 16);
    testing::internal::CaptureStderr();
    const Tensor kept = encode_dataset(*set, "set", *vae_, flip, folder_ / "latents.safetensors").moments;
    const std::string said = testing::internal::GetCapturedStderr();
    testing::internal::CaptureStderr();
    EXPECT_TRUE(at::equal(kept, encode_dataset(*set, "set", *vae_, flip, {}).moments));
    testing::internal::GetCapturedStderr();
    return said;
  }
  test::TemporaryDirectory folder_;
  std::unique_ptr<KlVae> vae_ = tiny_vae(1);
};

TEST_F(FolderCache, LatentsNeverOutliveTheirPictures) {
  encode();
  EXPECT_CONTAINS(encode(), "latents of 3 images read");
  std::filesystem::rename(folder_ / "set/a/0.png", folder_ / "set/a/9.png");
  const std::string renamed = encode();
  EXPECT_CONTAINS(renamed, "1 image new (e.g. ");
  EXPECT_CONTAINS(renamed, "9.png");
  EXPECT_CONTAINS(renamed, "1 image gone; everything is encoded anew");
  put("set/a/1.png", 200);
  std::filesystem::last_write_time(folder_ / "set/a/1.png",
                                   std::filesystem::file_time_type::clock::now() + std::chrono::seconds(9));
  EXPECT_CONTAINS(encode(), "1 image of another size or date");
  for (const char* text : {"set/a/1.txt", "set/a/2.txt", "set/a/9.txt"})
    write_file_atomically(folder_ / text, std::string_view("new"));
  EXPECT_CONTAINS(encode(), "3 images with another caption or class");
  EXPECT_CONTAINS(encode(true), "another flip");
  std::filesystem::rename(folder_ / "set/a", folder_ / "set/b");
  EXPECT_CONTAINS(encode(true), "other class names");
  vae_ = tiny_vae(2);
  EXPECT_CONTAINS(encode(true), "another tokenizer");
  write_file_atomically(folder_ / "latents.safetensors", std::string_view("damaged"));
  EXPECT_CONTAINS(encode(), "not a cache of latents");
}

TEST_F(FolderCache, TheFingerprintSeesEveryWeight) {
  const std::string before = tokenizer_fingerprint(*vae_);
  Tensor p = vae_->params().items().back().second;
  p.detach().view({-1})[0].neg_();  // the sum of sizes stays
  const std::string negated = tokenizer_fingerprint(*vae_);
  EXPECT_NE(negated, before);
  p.detach().view({-1})[0].neg_();
  EXPECT_EQ(tokenizer_fingerprint(*vae_), before);
}

TEST_F(FolderCache, WhatAnErrorInterruptedIsKept) {
  for (int i = 10; i < 60; ++i) put("set/a/" + std::to_string(i) + ".png", static_cast<uint8_t>(i));
  const auto cache = folder_ / "latents.safetensors";
  write_file_atomically(folder_ / "set/a/59.png", std::string_view("broken"));
  const auto set = open_dataset((folder_ / "set").string(), 16);
  EXPECT_CONTAINS(test::error_of([&] { encode_dataset(*set, "set", *vae_, false, cache); }), "59.png");
  put("set/a/59.png", 59);
  EXPECT_CONTAINS(encode(), "latents of 32 of 53 images read");
  EXPECT_CONTAINS(encode(), "latents of 53 images read");
}

TEST(EncodeDataset, RefusesWhatDoesNotFitInMemory) {
  const auto vae = tiny_vae(1);
  const ShapesDataset data(int64_t{1} << 50, 1, 16);
  EXPECT_CONTAINS(test::error_of([&] { encode_dataset(data, "shapes", *vae, false, {}); }), "432 PB of memory");
}

}  // namespace
}  // namespace crescendo
