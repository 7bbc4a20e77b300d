#include "crescendo/data/dataset.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/data/shapes_dataset.h"

namespace crescendo {
namespace {

namespace fs = std::filesystem;

class DatasetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("crescendo_dataset_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    make_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // A picture of one grey level.
  void put(const fs::path& relative, uint8_t grey, int64_t side = 8) {
    make_directories((folder_ / relative).parent_path());
    Image image(side, side);
    std::fill(image.rgb.begin(), image.rgb.end(), grey);
    write_png(folder_ / relative, image);
  }
  static std::string error_of(const std::function<void()>& f) {
    try {
      f();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  static int grey_of(const Sample& sample) { return sample.image[0][0][0].item<uint8_t>(); }

  fs::path folder_;
};

TEST_F(DatasetTest, ShapesBySpec) {
  const auto set = open_dataset("shapes:count=100,seed=7", 64);
  EXPECT_EQ(set->size(), 100);
  EXPECT_EQ(set->classes().size(), 80u);
  EXPECT_EQ(set->label(81), 1);
  EXPECT_EQ(set->caption(81), "red square");
  EXPECT_TRUE(at::equal(set->get(5).image, image_to_bytes(render(draw_single(7, 5)))));
  const std::vector<int64_t> indices = {3, 99};
  const auto batch = set->batch(indices);
  EXPECT_TRUE(at::equal(batch.images[1], set->get(99).image));
  EXPECT_EQ(batch.labels[1].item<int64_t>(), 19);
  EXPECT_EQ(open_dataset("shapes", 64)->size(), 32000);
  EXPECT_EQ(set->get(0).image.sizes(), (at::IntArrayRef{3, 64, 64}));
  EXPECT_EQ(open_dataset("shapes:count=1", 32)->get(0).image.size(1), 32);
  EXPECT_THROW(set->get(100), Error);
  EXPECT_THROW(set->get(-1), Error);
}

TEST_F(DatasetTest, WrongSpecsSayWhatIsWrong) {
  const auto error = [](const std::string& spec) { return error_of([&] { open_dataset(spec, 64); }); };
  EXPECT_NE(error("shapes:cuont=5").find("did you mean 'count'"), std::string::npos);
  EXPECT_NE(error("shapes:count=five").find("whole number"), std::string::npos);
  EXPECT_NE(error("shapes:count=5,count=6").find("twice"), std::string::npos);
  EXPECT_NE(error("shapes:count").find("key=value"), std::string::npos);
  EXPECT_NE(error("shapes:count=0").find("positive"), std::string::npos);
  EXPECT_NE(error("/no/such/place").find("/no/such/place"), std::string::npos);
  EXPECT_NE(error("").find("`data`"), std::string::npos);
  EXPECT_NE(error(folder_.string()), "");  // empty
}

TEST_F(DatasetTest, ImageFolderSortsClassesAndCrops) {
  put("b/2.png", 20);
  put("b/1.PNG", 10, 12);
  put("a/deep/x.png", 30);
  write_file_atomically(folder_ / "a" / "notes.txt", "not a picture");
  write_file_atomically(folder_ / "metadata.jsonl", "{}");
  const auto set = open_dataset(folder_.string(), 8);
  EXPECT_EQ(set->classes(), (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(set->size(), 3);
  EXPECT_EQ(grey_of(set->get(0)), 30);
  EXPECT_EQ(grey_of(set->get(1)), 10);
  EXPECT_EQ(set->get(1).image.size(2), 8);
  EXPECT_EQ(set->get(2).label, 1);
}

TEST_F(DatasetTest, ImageFolderFindsTrain) {
  put("train/n01/x.png", 1);
  put("val/n01/y.png", 2);
  const auto set = open_dataset(folder_.string(), 8);
  EXPECT_EQ(set->size(), 1);
  EXPECT_EQ(set->classes(), (std::vector<std::string>{"n01"}));
}

TEST_F(DatasetTest, BrokenPicturesAndEmptyClassesAreNamed) {
  put("a/good.png", 1);
  write_file_atomically(folder_ / "a" / "bad.jpg", "\xFF\xD8\xFF nothing");
  const auto set = open_dataset(folder_.string(), 8);
  EXPECT_NE(error_of([&] { set->get(0); }).find("bad.jpg"), std::string::npos);
  EXPECT_EQ(grey_of(set->get(1)), 1);
  const std::vector<int64_t> both = {0, 1};
  EXPECT_NE(error_of([&] { set->batch(both); }).find("bad.jpg"), std::string::npos);
  make_directories(folder_ / "hollow");
  EXPECT_NE(error_of([&] { open_dataset(folder_.string(), 8); }).find("hollow"), std::string::npos);
}

TEST_F(DatasetTest, CaptionsInThreeLayouts) {
  put("x.png", 5);
  put("y.png", 6);
  EXPECT_NE(error_of([&] { open_dataset(folder_.string(), 8); }).find("x.txt"), std::string::npos);
  write_file_atomically(folder_ / "x.txt", "  a red ring\n");
  write_file_atomically(folder_ / "y.txt", "two hearts");
  write_file_atomically(folder_ / "c.jsonl", R"({"image": "y.png", "caption": "why", "more": 1})"
                                             "\n\n"
                                             R"({"caption": "ex", "image": "x.png"})");
  write_file_atomically(folder_ / "c.json", R"([["x.png", "first", 512, 512], ["y.png", "second"]])");
  const auto pairs = open_dataset(folder_.string(), 8);
  EXPECT_EQ(pairs->caption(0), "a red ring");
  EXPECT_EQ(grey_of(pairs->get(1)), 6);
  const auto lines = open_dataset((folder_ / "c.jsonl").string(), 8);
  ASSERT_EQ(lines->size(), 2);
  EXPECT_EQ(lines->caption(0), "why");
  EXPECT_EQ(grey_of(lines->get(0)), 6);
  EXPECT_TRUE(lines->classes().empty());
  const auto list = open_dataset((folder_ / "c.json").string(), 8);
  EXPECT_EQ(list->caption(1), "second");
  write_file_atomically(folder_ / "bad.jsonl", "{\"image\": 3}\n");
  EXPECT_NE(error_of([&] { open_dataset((folder_ / "bad.jsonl").string(), 8); }).find("line 1"), std::string::npos);
}

TEST_F(DatasetTest, ShapesFolderIsTheSameSetOnDisk) {
  const fs::path out = folder_ / "new" / "shapes";
  EXPECT_EQ(write_shapes_folder(out, {170, 3, 64}), 170);
  EXPECT_EQ(read_image(out / "red square" / "000081.png"), render(draw_single(3, 81)));
  const std::string metadata = read_file(out / "metadata.jsonl");
  EXPECT_EQ(std::count(metadata.begin(), metadata.end(), '\n'), 170);
  const Json line = parse_json(metadata.substr(0, metadata.find('\n')), "metadata");
  EXPECT_EQ(line["file_name"], "red circle/000000.png");
  EXPECT_DOUBLE_EQ(line["scene"]["objects"][0]["cx"].get<double>(), draw_single(3, 0).objects[0].cx);
  const auto set = open_dataset(out.string(), 64);
  EXPECT_EQ(set->size(), 170);
  EXPECT_EQ(set->classes().size(), 80u);
  EXPECT_NE(error_of([&] { write_shapes_folder(out, {1, 0, 64}); }).find("empty folder"), std::string::npos);
  // Only the finished folder is left, none under a working name.
  EXPECT_EQ(std::distance(fs::directory_iterator(out.parent_path()), fs::directory_iterator()), 1);
}

TEST_F(DatasetTest, ScenesFolderReadsBackInTwoLayouts) {
  const fs::path out = folder_ / "scenes";
  EXPECT_EQ(write_scenes_folder(out, {12, 3, 64}, Split::kTrain), 12);
  const auto pairs = open_dataset(out.string(), 64);
  const auto lines = open_dataset((out / "metadata.jsonl").string(), 64);
  const auto drawn = open_dataset("scenes:count=12,seed=3", 64);
  for (int64_t i = 0; i < 12; ++i) {
    EXPECT_EQ(pairs->caption(i), drawn->caption(i));
    EXPECT_EQ(lines->caption(i), drawn->caption(i));
    EXPECT_TRUE(at::equal(pairs->get(i).image, drawn->get(i).image));
    EXPECT_TRUE(at::equal(lines->get(i).image, drawn->get(i).image));
  }
}

TEST_F(DatasetTest, StoppingEarlyKeepsWhatIsFinished) {
  const fs::path out = folder_ / "shapes";
  const int64_t done = write_shapes_folder(out, {1000, 0, 64}, [](int64_t) { return false; });
  EXPECT_LT(done, 1000);
  EXPECT_EQ(open_dataset(out.string(), 64)->size(), done);
  EXPECT_THROW(write_shapes_folder(folder_ / "other", {1000, 0, 64}, [](int64_t) -> bool { fail("disk"); }), Error);
  EXPECT_FALSE(fs::exists(folder_ / "other"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST(EpochOrder, IsAPermutationOfSeedAndEpoch) {
  const auto order = epoch_order(1000, 1, 2);
  EXPECT_EQ(order, epoch_order(1000, 1, 2));
  EXPECT_NE(order, epoch_order(1000, 1, 3));
  EXPECT_NE(order, epoch_order(1000, 2, 2));
  EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), 1000u);
}

TEST(ImageOrder, GoesThroughEpochAfterEpoch) {
  ImageOrder order(7, 3);
  for (const int64_t n : {0, 6, 7, 13, 8, 5, 20})  // a batch may go back over the end of an epoch
    EXPECT_EQ(order.index_of(n), epoch_order(7, 3, n / 7)[static_cast<size_t>(n % 7)]) << n;
}

}  // namespace
}  // namespace crescendo
