#include "crescendo/data/coco_captions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "crescendo/core/file.h"
#include "crescendo/core/json.h"
#include "crescendo/core/utf8.h"
#include "tests/support.h"

namespace crescendo {
namespace {

class CocoCaptionsTest : public ::testing::Test {
 protected:
  // 40 images with 5 captions each; `backwards` turns both lists round.
  std::filesystem::path write(bool backwards = false) {
    Json images = Json::array(), annotations = Json::array();
    for (int i = 0; i < 40; ++i) {
      images.push_back({{"id", 1000 - i}, {"file_name", concat("COCO_val2014_", i, ".jpg")}});
      for (int k = 0; k < 5; ++k)
        annotations.push_back(
            {{"id", 7 * i + k}, {"image_id", 1000 - i}, {"caption", concat(" A cat\n", i, " of ", k, ". \n")}});
    }
    if (backwards) {
      std::reverse(images.begin(), images.end());
      std::reverse(annotations.begin(), annotations.end());
    }
    const auto path = folder_ / (backwards ? "b.json" : "a.json");
    write_json(path, {{"info", "x"}, {"images", images}, {"annotations", annotations}});
    return path;
  }
  test::TemporaryDirectory folder_;
};

TEST_F(CocoCaptionsTest, OneOfEachImageWhateverTheOrderInTheFile) {
  const CaptionList list = read_coco_captions(write(), 30, CaptionRule::kOnePerImage, 3);
  ASSERT_EQ(list.captions.size(), 30u);
  std::set<int64_t> images;
  for (const CocoCaption& c : list.captions) {
    images.insert(c.image_id);
    EXPECT_EQ(c.id % 7, 0);  // the lowest of its image
    EXPECT_EQ(c.text, concat("A cat ", 1000 - c.image_id, " of 0."));
    EXPECT_EQ(c.file_name, concat("COCO_val2014_", 1000 - c.image_id, ".jpg"));
  }
  EXPECT_EQ(images.size(), 30u);
  const CaptionList again = read_coco_captions(write(true), 30, CaptionRule::kOnePerImage, 3);
  EXPECT_EQ(again.protocol, list.protocol);
  EXPECT_TRUE(list.protocol.starts_with("one-per-image/seed3/30/")) << list.protocol;
  // Another seed is another list; a shorter list begins a longer one.
  EXPECT_NE(read_coco_captions(write(), 30, CaptionRule::kOnePerImage, 4).captions[0].id, list.captions[0].id);
  const CaptionList shorter = read_coco_captions(write(), 8, CaptionRule::kOnePerImage, 3);
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(shorter.captions[i].id, list.captions[i].id);
}

TEST_F(CocoCaptionsTest, AnyCaptionAndTheFile) {
  const CaptionList list = read_coco_captions(write(), 200, CaptionRule::kAnyCaption, 0);
  std::set<int64_t> images;
  for (const CocoCaption& c : list.captions) images.insert(c.image_id);
  EXPECT_EQ(images.size(), 40u);
  write_caption_list(folder_ / "list.jsonl", list);
  const std::string text = read_text_file(folder_ / "list.jsonl");
  const auto lines = text_lines(text);
  ASSERT_EQ(lines.size(), 200u);
  EXPECT_EQ(parse_json(lines[0], "line")["prompt"], list.captions[0].text);
  EXPECT_EQ(parse_json(lines[199], "line")["caption_id"], list.captions[199].id);
}

TEST_F(CocoCaptionsTest, RefusesOtherFiles) {
  EXPECT_CONTAINS(test::error_of([&] { read_coco_captions(write(), 41, CaptionRule::kOnePerImage, 0); }),
                  "has 40 images with captions, 41 were asked for");
  const auto refusal = [&](const std::string& json) {
    write_file_atomically(folder_ / "x.json", json);
    return test::error_of([&] { read_coco_captions(folder_ / "x.json", 1, CaptionRule::kAnyCaption, 0); });
  };
  EXPECT_CONTAINS(refusal("[]"), "is no file of COCO's captions");
  EXPECT_CONTAINS(refusal(R"({"images": [], "annotations": [{"id": 1, "image_id": 2, "caption": "x"}]})"),
                  "of image 2");
  EXPECT_CONTAINS(refusal(R"({"images": [{"id": 1}], "annotations": []})"), "'file_name'");
  EXPECT_CONTAINS(refusal(R"({"images": [], "annotations": [{"id": "1"}]})"), "whole number 'id'");
}

}  // namespace
}  // namespace crescendo
