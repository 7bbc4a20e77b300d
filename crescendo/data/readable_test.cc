#include "crescendo/data/readable.h"

#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "crescendo/data/shapes_dataset.h"
#include "tests/support.h"

namespace crescendo {
namespace {

class ReadableTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"a/0.png", "b/0.png", "b/2.png"}) put(name, encode_png(Image(4, 4)));
  }
  void put(const std::string& file, const std::string& content) {
    make_directories((folder_ / file).parent_path());
    write_file_atomically(folder_ / file, content);
  }
  std::unique_ptr<Dataset> read(int64_t skip_bad, const KnownReadable& known = {}) const {
    return without_unreadable(open_dataset(folder_.path().string(), 4), skip_bad, known);
  }
  test::TemporaryDirectory folder_;
};

TEST_F(ReadableTest, NamesAllAtOnceAndGoesOnWithoutAsManyAsAllowed) {
  EXPECT_EQ(read(0)->size(), 3);
  put("a/1.png", "");
  put("b/1.jpg", encode_png(Image(4, 4)).substr(0, 40));
  const std::string error = test::error_of([&] { read(1); });
  EXPECT_CONTAINS(error, "2 of 5 images cannot be read");
  EXPECT_CONTAINS(error, "1.png: the file is empty");
  EXPECT_CONTAINS(error, "1.jpg");
  EXPECT_CONTAINS(error, "`skip_bad` 2");
  testing::internal::CaptureStderr();
  const auto set = read(2);
  EXPECT_CONTAINS(testing::internal::GetCapturedStderr(), "2 of 5 images cannot be read and are left out: ");
  ASSERT_EQ(set->size(), 3);
  EXPECT_EQ(set->name(2), (folder_.path() / "b" / "2.png").string());
  EXPECT_EQ(set->label(1), 1);
  EXPECT_EQ(set->get(1).label, 1);
  EXPECT_EQ(set->caption(0), "a");
}

TEST_F(ReadableTest, ListsTwentyAndKeepsClasses) {
  for (int i = 10; i < 40; ++i) put("a/" + std::to_string(i) + ".png", "x");
  const std::string error = test::error_of([&] { read(0); });
  EXPECT_CONTAINS(error, "; and 10 more");
  put("a/0.png", "x");
  testing::internal::CaptureStderr();
  EXPECT_CONTAINS(test::error_of([&] { read(100); }), "class 'a' has no image that can be read");
  testing::internal::GetCapturedStderr();
}

TEST_F(ReadableTest, WhatIsKnownIsNotReadAgain) {
  put("b/1.png", "not a picture");
  EXPECT_EQ(read(0, [](const PictureIdentity&) { return true; })->size(), 4);
  EXPECT_EQ(without_unreadable(std::make_unique<ShapesDataset>(3, 1, 64), 0)->size(), 3);
}

}  // namespace
}  // namespace crescendo
