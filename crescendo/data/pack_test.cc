#include "crescendo/data/pack.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "crescendo/core/file.h"
#include "crescendo/io/npz.h"
#include "tests/support.h"

namespace crescendo {
namespace {

class PackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 12; ++i) {
      const std::string file = concat("in/", i / 6 ? "b" : "a", "/", 10 + i, ".png");
      make_directories((folder_ / file).parent_path());
      write_png(folder_ / file, picture(i));
    }
    pictures_ = open_pictures((folder_ / "in").string());
  }
  static Image picture(int level) {
    Image image(5, 3);
    std::fill(image.rgb.begin(), image.rgb.end(), static_cast<uint8_t>(level));
    *image.pixel(4, 2) = 200;  // the last pixel's red: order of axes
    return image;
  }
  test::TemporaryDirectory folder_;
  std::unique_ptr<PictureSource> pictures_;
};

constexpr auto kGoOn = [](int64_t) { return true; };

TEST_F(PackTest, ShufflesPicturesWithTheirClasses) {
  ASSERT_TRUE(pack_pictures(*pictures_, folder_ / "s.npz", {.shuffle_seed = 1}, kGoOn));
  const TensorMap arrays = read_npz(folder_ / "s.npz");
  ASSERT_EQ(arrays.at("arr_0").sizes(), (std::vector<int64_t>{12, 3, 5, 3}));
  EXPECT_EQ(arrays.at("arr_0")[0][2][4][0].item<int>(), 200);
  std::vector<int64_t> levels;
  for (int64_t i = 0; i < 12; ++i) {
    levels.push_back(arrays.at("arr_0")[i][0][0][0].item<int64_t>());
    EXPECT_EQ(arrays.at("arr_1")[i].item<int64_t>(), levels.back() / 6);
  }
  EXPECT_FALSE(std::is_sorted(levels.begin(), levels.end()));
  std::sort(levels.begin(), levels.end());
  for (int64_t i = 0; i < 12; ++i) EXPECT_EQ(levels[static_cast<size_t>(i)], i);
  // ADM's reader takes the size from ZIP64 fields, which NumPy always writes.
  EXPECT_EQ(read_file(folder_ / "s.npz").substr(4, 1), "\x2d");
}

TEST_F(PackTest, ThereAndBack) {
  ASSERT_TRUE(pack_pictures(*pictures_, folder_ / "s.npz", {.shuffle_seed = std::nullopt}, kGoOn));
  const auto packed = open_pictures((folder_ / "s.npz").string());
  for (int i = 0; i < 12; ++i) EXPECT_EQ(packed->get(i), picture(i));
  ASSERT_TRUE(unpack_pictures(*packed, folder_ / "out", false, kGoOn));
  EXPECT_EQ(read_image(folder_ / "out" / "00011.png"), picture(11));
  ASSERT_TRUE(unpack_pictures(*packed, folder_ / "classes", true, kGoOn));
  EXPECT_EQ(read_image(folder_ / "classes" / "0001" / "00006.png"), picture(6));
  ASSERT_TRUE(pack_pictures(*pictures_, folder_ / "bare.npz", {.labels = false}, kGoOn));
  const auto bare = open_pictures((folder_ / "bare.npz").string());
  EXPECT_CONTAINS(test::usage_error_of([&] { unpack_pictures(*bare, folder_ / "x", true, kGoOn); }), "`by_class`");
}

TEST_F(PackTest, LeavesNothingWhereItStopsOrFails) {
  const auto stop = [](int64_t done) { return done < 3; };
  EXPECT_FALSE(pack_pictures(*pictures_, folder_ / "s.npz", {}, stop));
  EXPECT_FALSE(unpack_pictures(*pictures_, folder_ / "out", false, stop));
  write_png(folder_ / "in" / "b" / "99.png", Image(4, 4));
  const auto mixed = open_pictures((folder_ / "in").string());
  EXPECT_CONTAINS(test::error_of([&] { pack_pictures(*mixed, folder_ / "s.npz", {}, kGoOn); }), "pictures of one size");
  EXPECT_EQ(folder_.list(), std::vector<std::string>{"in"});
}

}  // namespace
}  // namespace crescendo
