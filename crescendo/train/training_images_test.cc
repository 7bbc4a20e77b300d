#include "crescendo/train/training_images.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/core/rng.h"
#include "crescendo/data/shapes_dataset.h"
#include "crescendo/image/image.h"

namespace crescendo {
namespace {

TEST(TrainingImages, MixesSetsInOneFixedOrder) {
  const auto make = [] {
    std::vector<std::unique_ptr<Dataset>> sets;
    sets.push_back(std::make_unique<ShapesDataset>(5, 1, 16));
    sets.push_back(std::make_unique<ShapesDataset>(7, 2, 16));
    return TrainingImages(std::move(sets), 3);
  };
  const TrainingImages images = make();
  ASSERT_EQ(images.size(), 12);
  std::vector<int64_t> all(12);
  for (int64_t i = 0; i < 12; ++i) all[static_cast<size_t>(i)] = i;
  const Tensor batch = images.batch(all).images;
  EXPECT_TRUE(at::equal(batch, make().batch(0, 12).images));
  // Every picture of both sets stands in it once.
  for (const auto& [count, seed] : {std::pair<int64_t, uint64_t>{5, 1}, {7, 2}})
    for (int64_t i = 0; i < count; ++i) {
      const Tensor image = ShapesDataset(count, seed, 16).get(i).image;
      int64_t found = 0;
      for (int64_t j = 0; j < 12; ++j) found += at::equal(batch[j], image);
      EXPECT_EQ(found, 1);
    }
  // A part of a batch is the same pictures.
  const std::vector<int64_t> some = {11, 3};
  EXPECT_TRUE(at::equal(images.batch(some).images[0], batch[11]));
  EXPECT_TRUE(at::equal(images.batch(some).images[1], batch[3]));
}

// Labels go with their pictures, whatever the order.
TEST(TrainingImages, LabelsBelongToThePictures) {
  std::vector<std::unique_ptr<Dataset>> sets;
  sets.push_back(std::make_unique<ShapesDataset>(40, 1, 16));
  const TrainingImages images(std::move(sets), 3);
  const LabelledImages all = images.batch(0, 40);
  const ShapesDataset set(40, 1, 16);
  for (int64_t i = 0; i < 40; ++i) {
    const auto label = all.labels[i].item<int64_t>();  // of 40 pictures, each has a class of its own
    EXPECT_TRUE(at::equal(all.images[i], set.get(label).image)) << i;
  }
}

Tensor edge() {
  Tensor x = at::full({4, 3, 8, 8}, -0.5f);
  x.slice(3, 4).fill_(0.5f);
  return x;
}

TEST(Worn, BlursAndKeepsBrightness) {
  const Tensor x = edge(), y = worn(x, {.blur = 0.5}, 1, 0);
  EXPECT_NEAR(y.mean().item<double>(), x.mean().item<double>(), 1e-6);
  EXPECT_TRUE(at::allclose(y.slice(3, 0, 3), x.slice(3, 0, 3))) << "only the edge's own pixels change";
  const Tensor step = (y.select(3, 4) - y.select(3, 3)).amin({1, 2});  // (4)
  EXPECT_LE(step.max().item<double>(), 1);
  EXPECT_LT(step.min().item<double>(), 1);
  EXPECT_GT(step.min().item<double>(), 1 - 2 * 0.11) << "half a pixel moves 11 % to each side";
  EXPECT_GT((step.max() - step.min()).item<double>(), 0) << "each image has its own amount";
}

TEST(Worn, AddsNoiseOfTheAskedStrength) {
  const Tensor x = at::zeros({64, 3, 16, 16}), y = worn(x, {.noise = 0.04}, 1, 0);
  const Tensor strength = y.flatten(1).std(1);  // (64)
  EXPECT_LT(strength.max().item<double>(), 0.042);
  EXPECT_LT(strength.min().item<double>(), 0.01);
  EXPECT_NEAR(strength.mean().item<double>(), 0.02, 0.005);
  EXPECT_TRUE(at::equal(y, worn(x, {.noise = 0.04}, 1, 0)));
  EXPECT_FALSE(at::equal(y, worn(x, {.noise = 0.04}, 1, 1)));
  EXPECT_TRUE(at::equal(worn(edge(), {}, 1, 0), edge())) << "nothing asked for, nothing done";
}

TEST(ImageBatches, GoRoundInEpochsAndMirrorHalf) {
  std::vector<std::unique_ptr<Dataset>> sets;
  sets.push_back(std::make_unique<ShapesDataset>(64, 1, 16));
  const TrainingImages images(std::move(sets), 3);
  const Tensor all = from_bytes(images.batch(0, 32).images);
  ImageBatches batches(images, 32, 8, 5, {.flip = true});
  int64_t plain = 0, mirrored = 0;
  for (int step = 0; step < 4; ++step) {
    const Tensor batch = batches.next().images;
    for (int64_t i = 0; i < 8; ++i)
      for (int64_t k = 0; k < 32; ++k) {
        plain += at::equal(batch[i], all[k]);
        mirrored += at::equal(batch[i].flip({2}), all[k]);
      }
  }
  EXPECT_EQ(plain + mirrored, 32) << "each of the first 32 once an epoch";
  EXPECT_GT(plain, 6);
  EXPECT_GT(mirrored, 6);
}

}  // namespace
}  // namespace crescendo
