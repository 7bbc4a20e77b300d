#include "crescendo/data/picture_source.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "crescendo/core/file.h"
#include "crescendo/image/resize.h"
#include "crescendo/io/npz.h"
#include "tests/support.h"

namespace crescendo {
namespace {

class PictureSourceTest : public ::testing::Test {
 protected:
  static Image grey(uint8_t level, int64_t width = 6, int64_t height = 4) {
    Image image(width, height);
    std::fill(image.rgb.begin(), image.rgb.end(), level);
    return image;
  }
  void put(const std::string& file, const std::string& content) {
    make_directories((folder_ / file).parent_path());
    write_file_atomically(folder_ / file, content);
  }
  std::unique_ptr<PictureSource> open(const std::string& inside = "", const PictureOptions& options = {}) const {
    return open_pictures((folder_ / inside).string(), options);
  }
  test::TemporaryDirectory folder_;
};

TEST_F(PictureSourceTest, FoldersAreSortedAndFirstFoldersAreClasses) {
  put("in/dog/2.png", encode_png(grey(2)));
  put("in/cat/deep/1.png", encode_png(grey(1)));
  put("in/dog/0.png", encode_png(grey(3)));
  const auto pictures = open("in");
  ASSERT_EQ(pictures->size(), 3);
  EXPECT_EQ(pictures->get(0), grey(1));
  EXPECT_EQ(pictures->get(1), grey(3));
  EXPECT_EQ(pictures->classes(), (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(pictures->label(0), 0);
  EXPECT_EQ(pictures->label(2), 1);
  EXPECT_CONTAINS(pictures->name(1), "dog/0.png");
  EXPECT_FALSE(pictures->lossy());
  const uint64_t before = pictures->identity();
  put("in/loose.png", encode_png(grey(9)));  // one without a class: none has one
  EXPECT_FALSE(open("in")->has_labels());
  EXPECT_EQ(open("in")->label(0), -1);
  EXPECT_NE(open("in")->identity(), before);
}

TEST_F(PictureSourceTest, UnreadableOnesAreNamedTogetherOrLeftOut) {
  for (const char* name : {"0.png", "2.png", "4.png"}) put(name, encode_png(grey(7)));
  put("1.png", "no picture");
  put("3.png", encode_png(grey(7)).substr(0, 50));
  const std::string error = test::error_of([&] { open("", {.skip_bad = 1}); });
  EXPECT_CONTAINS(error, "2 of 5 images cannot be read");
  EXPECT_CONTAINS(error, "1.png");
  EXPECT_CONTAINS(error, "3.png");
  EXPECT_CONTAINS(error, "`skip_bad` 2");
  testing::internal::CaptureStderr();
  const auto rest = open("", {.skip_bad = 2});
  EXPECT_CONTAINS(testing::internal::GetCapturedStderr(), "left out");
  ASSERT_EQ(rest->size(), 3);
  EXPECT_CONTAINS(rest->name(1), "2.png");
}

TEST_F(PictureSourceTest, CropsToASideAndTakesTheFirst) {
  put("a.png", encode_png(grey(50, 40, 30)));
  put("b.png", encode_png(grey(60, 16, 16)));
  const auto all = open("", {.side = 8});
  EXPECT_EQ(all->get(0), centre_crop(grey(50, 40, 30), 8));
  const auto one = open("", {.count = 1});
  EXPECT_EQ(one->size(), 1);
  EXPECT_NE(one->identity(), open()->identity());
  EXPECT_NE(all->identity(), open()->identity());
  EXPECT_CONTAINS(test::error_of([&] { open("", {.count = 3}); }), "holds 2 pictures, 3 were asked for");
}

TEST_F(PictureSourceTest, ArraysStoredPackedAndBare) {
  const Tensor pixels = at::arange(2 * 3 * 5 * 3).to(at::kByte).view({2, 3, 5, 3});
  write_npz(folder_ / "a.npz", {{"arr_0", pixels}, {"arr_1", at::tensor({int64_t{7}, int64_t{2}})}});
  write_npy(folder_ / "a.npy", pixels);
  for (const char* name : {"a.npz", "a.npy"}) {
    const auto pictures = open(name);
    ASSERT_EQ(pictures->size(), 2);
    for (int repeat = 0; repeat < 2; ++repeat) {  // pages that were given back are read again
      const Image image = pictures->get(1);
      EXPECT_EQ(image.width, 5);
      EXPECT_EQ(image.height, 3);
      EXPECT_EQ(*image.pixel(0, 0), 45);
    }
    EXPECT_THROW(pictures->get(2), Error);
  }
  EXPECT_EQ(open("a.npz")->label(0), 7);
  EXPECT_FALSE(open("a.npy")->has_labels());
}

// Pages of memory would come back as zeros if they were given back like those of a file.
TEST_F(PictureSourceTest, AnArrayInFortranOrderIsACopy) {
  write_npy(folder_ / "c.npy", at::full({3, 60, 60, 2}, 9, at::kByte));
  std::string bytes = read_file(folder_ / "c.npy");
  const auto change = [&](const std::string& from, const std::string& to) {
    bytes.replace(bytes.find(from), from.size(), to);
  };
  change("'fortran_order': False", "'fortran_order': True ");
  change("(3, 60, 60, 2)", "(2, 60, 60, 3)");
  put("fortran.npy", bytes);
  const auto pictures = open("fortran.npy");
  pictures->get(1);
  EXPECT_EQ(pictures->get(1), grey(9, 60, 60));
}

TEST_F(PictureSourceTest, RefusesWhatHoldsNoPictures) {
  write_npz(folder_ / "stats.npz", {{"mu", at::zeros({4})}, {"sigma", at::zeros({4, 4})}});
  EXPECT_FALSE(holds_pictures((folder_ / "stats.npz").string()));
  EXPECT_CONTAINS(test::error_of([&] { open("stats.npz"); }), "no arr_0, but the statistics");
  write_npz(folder_ / "floats.npz", {{"arr_0", at::zeros({2, 4, 4, 3})}});
  EXPECT_CONTAINS(test::error_of([&] { open("floats.npz"); }), "(N, height, width, 3) of uint8, got (2, 4, 4, 3) of");
  write_npz(folder_ / "planes.npz", {{"arr_0", at::zeros({2, 3, 4, 4}, at::kByte)}});
  EXPECT_CONTAINS(test::error_of([&] { open("planes.npz"); }), "(2, 3, 4, 4)");
  write_npz(folder_ / "labels.npz",
            {{"arr_0", at::zeros({2, 4, 4, 3}, at::kByte)}, {"arr_1", at::zeros({3}, at::kLong)}});
  EXPECT_CONTAINS(test::error_of([&] { open("labels.npz"); }), "arr_1 must hold the class of each of the 2");
  put("text.txt", "x");
  EXPECT_CONTAINS(test::usage_error_of([&] { open("text.txt"); }), "read from a folder");
  EXPECT_CONTAINS(test::usage_error_of([&] { open("nowhere"); }), "no such file or folder");
  make_directories(folder_ / "empty");
  EXPECT_CONTAINS(test::error_of([&] { open("empty"); }), "holds no pictures");
}

TEST_F(PictureSourceTest, DrawsTheProgramsOwnSets) {
  const auto shapes = open_pictures("shapes:count=5,seed=2", {.side = 32, .count = 3});
  EXPECT_EQ(shapes->size(), 3);
  EXPECT_EQ(shapes->get(2).width, 32);
  EXPECT_EQ(shapes->label(2), 2);
}

}  // namespace
}  // namespace crescendo
