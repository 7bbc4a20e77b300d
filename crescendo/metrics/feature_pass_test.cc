#include "crescendo/metrics/feature_pass.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>

#include "crescendo/core/file.h"
#include "crescendo/metrics/nearest.h"
#include "crescendo/metrics/row_store.h"
#include "tests/support.h"

namespace crescendo {
namespace {

// Features that tell where a picture came from: its mean colour, three ways.
class Means : public FeatureExtractor {
 public:
  Tensor prepare(const Image& image) const override { return image_to_tensor(image); }
  Features operator()(const Tensor& x) const override {
    looked_at += x.size(0);
    const Tensor means = x.mean({2, 3});  // (B, 3)
    return {means, at::cat({means, -means}, 1), means * 2};
  }
  Json identity() const override { return {{"network", "means"}, {"version", version}}; }
  mutable std::atomic<int64_t> looked_at{0};
  int version = 1;
};

class Coloured : public PictureSource {
 public:
  explicit Coloured(int64_t count) : count_(count) {}
  int64_t size() const override { return count_; }
  Image get(int64_t i) const override {
    Image image(4, 4);
    for (size_t k = 0; k < image.rgb.size(); ++k) image.rgb[k] = static_cast<uint8_t>((i * (7 + 4 * (k % 3))) % 251);
    return image;
  }
  std::string name(int64_t i) const override { return concat("picture ", i); }
  uint64_t identity() const override { return static_cast<uint64_t>(count_); }

 private:
  int64_t count_;
};

Tensor expected_features(const PictureSource& source) {
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < source.size(); ++i) rows.push_back(image_to_tensor(source.get(i)).mean({1, 2}));
  return at::stack(rows);
}

TEST(FeaturePass, GathersEveryPictureInOrder) {
  const test::TemporaryDirectory dir;
  const Coloured source(23);
  const Tensor expected = expected_features(source);
  const MeanCovariance moments = mean_covariance(expected);
  for (const int64_t batch : {1, 5, 23, 100}) {
    const Means network;
    const PictureFeatures got =
        feature_pass(feed_of(source, "x"), network,
                     {.batch = batch, .keep_features = true, .keep_logits = true, .folder = dir / concat(batch)}, "");
    EXPECT_TRUE(got.complete());
    EXPECT_LT(test::relative_l2(got.features.tensor(), expected), 1e-6);
    EXPECT_LT(test::relative_l2(got.logits.tensor().slice(1, 3, 6), -expected), 1e-6);
    EXPECT_LT(test::relative_l2(got.statistics.pool.covariance, moments.covariance), 1e-6);
    EXPECT_LT(test::relative_l2(got.statistics.spatial->mean, 2 * moments.mean), 1e-6);
    EXPECT_EQ(got.statistics.pool.count, 23);
    EXPECT_EQ(got.statistics.identity["network"], "means");
  }
}

// A feed that ends early is as a pass that is stopped.
TEST(FeaturePass, GoesOnWhereItStopped) {
  const test::TemporaryDirectory dir;
  const Coloured source(50);
  const Tensor expected = expected_features(source);
  const FeaturePassOptions options{.batch = 4, .keep_features = true, .keep_logits = true, .folder = dir / "work"};
  const Means network;
  int64_t until = 10;
  const auto run = [&] {
    PictureFeed feed = feed_of(source, "x");
    const auto all = feed.fetch;
    feed.ahead = false;
    feed.fetch = [&, all](int64_t first, int64_t count) {
      return first + count > until ? std::vector<Image>{} : all(first, count);
    };
    return feature_pass(feed, network, options, "");
  };
  testing::internal::CaptureStderr();
  const PictureFeatures part = run();
  EXPECT_EQ(part.done, 8);
  EXPECT_FALSE(part.complete());
  EXPECT_EQ(part.features.count(), 8);
  // A killed program may leave rows behind those that it vouched for.
  const std::string rows = read_file(options.folder / "features.f32");
  write_file_atomically(options.folder / "features.f32", rows + "torn");
  until = 30;
  EXPECT_EQ(run().done, 28);
  until = 50;
  const PictureFeatures whole = run();
  EXPECT_TRUE(whole.complete());
  EXPECT_EQ(network.looked_at, 50);
  EXPECT_LT(test::relative_l2(whole.features.tensor(), expected), 1e-6);
  EXPECT_LT(test::relative_l2(whole.statistics.pool.covariance, mean_covariance(expected).covariance), 1e-6);
  const PictureFeatures again = run();  // nothing is left to do
  EXPECT_EQ(network.looked_at, 50);
  EXPECT_LT(test::relative_l2(again.features.tensor(), expected), 1e-6);
  EXPECT_EQ(again.logits.dim(), 6);
  EXPECT_CONTAINS(testing::internal::GetCapturedStderr(), "going on after 28 of 50 pictures");

  Means other;
  other.version = 2;
  EXPECT_CONTAINS(test::usage_error_of([&] { feature_pass(feed_of(source, "x"), other, options, ""); }),
                  "of other pictures or of another network");
  EXPECT_CONTAINS(test::usage_error_of([&] { feature_pass(feed_of(Coloured(51), "x"), network, options, ""); }),
                  "of other pictures");
}

TEST(FeaturePass, NamesThePictureWhoseFeaturesAreNone) {
  class SpoiledAt : public Means {
   public:
    Features operator()(const Tensor& x) const override {
      Features f = Means::operator()(x);
      if (looked_at == 12) f.pool[2][1] = NAN;  // the third batch
      return f;
    }
  };
  const Coloured source(20);
  EXPECT_CONTAINS(test::error_of([&] { feature_pass(feed_of(source, "x"), SpoiledAt(), {.batch = 4}, ""); }),
                  "picture 10: its features are not finite");
  EXPECT_CONTAINS(test::error_of([&] { feature_pass(feed_of(Coloured(1), "x"), Means(), {}, ""); }),
                  "at least 2 pictures, got 1");
}

TEST(FeaturePass, ErrorsOfReadersArrive) {
  class Broken : public Coloured {
   public:
    Broken() : Coloured(40) {}
    Image get(int64_t i) const override {
      check(i != 17, "picture 17 is torn");
      return Coloured::get(i);
    }
  };
  const Broken source;
  EXPECT_CONTAINS(test::error_of([&] { feature_pass(feed_of(source, "x"), Means(), {.batch = 4}, ""); }), "17 is torn");
}

TEST(RowStore, RefusesAFileThatIsTooShort) {
  const test::TemporaryDirectory dir;
  RowStore store(dir / "rows", 2);
  store.add(at::ones({3, 2}));
  EXPECT_EQ(store.finish("rows").count(), 3);
  EXPECT_CONTAINS(test::error_of([&] { RowStore(dir / "rows", 2, 4); }), "4 rows of 2 features are 32");
  EXPECT_CONTAINS(test::error_of([&] { RowStore(dir / "nowhere" / "rows", 2); }), "cannot be written");
}

TEST(Nearest, EqualsAPlainSearchOverSeveralBlocks) {
  at::manual_seed(3);
  const Tensor a = at::randn({5, 6}), b = at::randn({9000, 6});
  const auto found = nearest_rows(FeatureMatrix(a, "a"), 4, FeatureMatrix(b, "b"), 3);
  ASSERT_EQ(found.size(), 4u);
  for (int64_t i = 0; i < 4; ++i) {
    const Tensor order = (b - a[i]).pow(2).sum(1).argsort();
    for (int64_t k = 0; k < 3; ++k)
      EXPECT_EQ(found[static_cast<size_t>(i)][static_cast<size_t>(k)], order[k].item<int64_t>());
  }
}

}  // namespace
}  // namespace crescendo
