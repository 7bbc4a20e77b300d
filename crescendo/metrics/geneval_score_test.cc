#include "crescendo/metrics/geneval_score.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/support.h"

namespace crescendo {
namespace {

std::vector<Image> drawn(const std::vector<GenevalPrompt>& prompts) {
  std::vector<Image> images;
  for (size_t i = 0; i < prompts.size(); ++i) images.push_back(render(draw_for_prompt(prompts[i], i)));
  return images;
}

TEST(GenevalScore, EveryTaskCountsAsManyPictures) {
  const auto prompts = prompts_to_score(3, 12, 2, Split::kAll);
  std::map<std::string, std::set<std::string>> different;
  std::map<std::string, int> pictures;
  for (const auto& p : prompts) {
    different[p.tag].insert(p.prompt);
    ++pictures[p.tag];
  }
  ASSERT_EQ(pictures.size(), kGenevalTags.size());
  for (const auto& [tag, count] : pictures) EXPECT_EQ(count, 24) << tag;
  EXPECT_EQ(different["single_object"].size(), 8u);  // there are eight shapes
  EXPECT_EQ(different["position"].size(), 12u);
  EXPECT_EQ(prompts[0].prompt, prompts[1].prompt);  // the pictures of a prompt stand side by side
  EXPECT_NE(prompts[1].prompt, prompts[2].prompt);
}

TEST(GenevalScore, PicturesOfTheDataAreRightAndShuffledOnesAreWrongAsOftenAsTheirPromptsDiffer) {
  const auto prompts = prompts_to_score(3, 20, 1, Split::kAll);
  const GenevalScore score = score_geneval(drawn(prompts), prompts, 5);
  EXPECT_EQ(score.asked.images, 120);
  EXPECT_DOUBLE_EQ(score.asked.overall, 1.0);
  // A single object is right by chance where the shape is the same: one in eight. Colour and shape: one in eighty.
  const Json json = score.to_json();
  EXPECT_NEAR(json["tasks"]["single_object"]["chance"].get<double>(), 1.0 / 8, 0.06);
  EXPECT_LT(json["tasks"]["colors"]["chance"].get<double>(), 0.1);
  EXPECT_EQ(json["tasks"]["counting"]["images"], 20);
  EXPECT_GT(json["tasks"]["counting"]["low"].get<double>(), 0.8);
  EXPECT_NEAR(json["chance"].get<double>(), score.shuffled.overall, 1e-12);
}

TEST(GenevalScorer, ReportsForMachinesLogsAndReaders) {
  const auto prompts = prompts_to_score(3, 4, 2, Split::kAll);
  const Score report = GenevalScorer(prompts, 5).score(drawn(prompts));
  EXPECT_EQ(report.what, "48 images of 24 prompts");
  EXPECT_EQ(report.json, score_geneval(drawn(prompts), prompts, 5).to_json());
  EXPECT_TRUE(report.line.starts_with("right 100 % (by chance ")) << report.line;
  EXPECT_CONTAINS(report.line, ", counting 100 %");
  EXPECT_CONTAINS(report.table, "\nmean of tasks  100.0 %, by chance ");
  ASSERT_EQ(report.pictures.size(), prompts.size());
  EXPECT_EQ(report.pictures[7]["prompt"], prompts[7].prompt);
}

TEST(GenevalScore, JudgesEachPictureByItsOwnPrompt) {
  const auto prompts = prompts_to_score(3, 8, 1, Split::kAll);
  std::vector<Image> images = drawn(prompts);
  std::swap(images[8], images[9]);  // two prompts of two objects
  const GenevalScore score = score_geneval(images, prompts, 5);
  ASSERT_EQ(prompts[8].tag, "two_object");
  for (size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(score.results[i].verdict.correct, i != 8 && i != 9) << prompts[i].prompt;
}

}  // namespace
}  // namespace crescendo
