#include "crescendo/metrics/geneval_judge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "crescendo/core/check.h"
#include "crescendo/data/captions.h"

namespace crescendo {
namespace {

// The oracle: what is rendered for a caption is found by the detector and passed by the scorer, in all six forms.
TEST(Captions, RendererDetectorScorerAgree) {
  for (const Split split : {Split::kTrain, Split::kHeldout}) {
    std::vector<GenevalResult> results;
    for (int64_t i = 0; i < 1200; ++i) {
      const CaptionedScene drawn = draw_captioned(5, i, {split});
      const auto found = detect(render(drawn.scene));
      EXPECT_EQ(found.size(), drawn.scene.objects.size()) << drawn.prompt.prompt << " " << i;
      const GenevalObjects objects = geneval_filter(geneval_objects(found), drawn.prompt.tag);
      results.push_back({"", drawn.prompt, geneval_judge(objects, drawn.prompt), objects});
      EXPECT_TRUE(results.back().verdict.correct)
          << i << " " << drawn.prompt.prompt << ": " << results.back().verdict.reason;
    }
    const GenevalSummary summary = geneval_summarise(results);
    ASSERT_EQ(summary.tasks.size(), 6u);
    for (const auto& task : summary.tasks) EXPECT_EQ(task.correct, 200) << task.tag;
    EXPECT_DOUBLE_EQ(summary.overall, 1);
  }
}

TEST(Captions, CorruptedScenesFail) {
  std::map<std::string, int> failed, corrupted;
  for (int64_t i = 0; i < 300; ++i) {
    const CaptionedScene drawn = draw_captioned(6, i);
    const std::string& tag = drawn.prompt.tag;
    const auto corrupt = [&](const std::string& how, const std::function<void(Scene&)>& change) {
      Scene scene = drawn.scene;
      change(scene);
      const bool passed = geneval_judge(render(scene), drawn.prompt).correct;
      EXPECT_FALSE(passed) << how << ": " << drawn.prompt.prompt << " " << i;
      ++corrupted[tag];
      failed[tag] += !passed;
    };
    corrupt("empty", [](Scene& s) { s.objects.clear(); });
    corrupt("one missing", [](Scene& s) { s.objects.pop_back(); });
    corrupt("other figure", [](Scene& s) {  // one that the scene does not have
      const auto present = [&](Figure f) {
        return std::any_of(s.objects.begin(), s.objects.end(), [&](const SceneObject& o) { return o.figure == f; });
      };
      Figure other = Figure::kCircle;
      while (present(other)) other = static_cast<Figure>(static_cast<int>(other) + 1);
      s.objects[0].figure = other;
    });
    if (tag == "colors" || tag == "color_attr")
      corrupt("other colour", [](Scene& s) {
        s.objects[0].colour = static_cast<Colour>((static_cast<int>(s.objects[0].colour) + 1) % kColours);
      });
    if (tag == "color_attr")
      corrupt("colours swapped", [](Scene& s) { std::swap(s.objects[0].colour, s.objects[1].colour); });
    if (tag == "position")
      corrupt("places swapped", [](Scene& s) { std::swap(s.objects[0].figure, s.objects[1].figure); });
    if (tag == "counting" && drawn.scene.objects.size() < 4) {
      // Another object of the same kind, where there is room for it.
      for (double x = 10; x < 56; x += 4) {
        for (double y = 10; y < 56; y += 4) {
          bool free = true;
          for (const auto& o : drawn.scene.objects) free = free && std::hypot(o.cx - x, o.cy - y) > o.radius + 10;
          if (!free) continue;
          corrupt("one more", [&](Scene& s) {
            s.objects.push_back(s.objects[0]);
            s.objects.back().cx = x;
            s.objects.back().cy = y;
            s.objects.back().radius = 8;
          });
          x = y = 99;
        }
      }
    }
  }
  for (const auto& [tag, n] : corrupted) EXPECT_EQ(failed[tag], n) << tag;
  EXPECT_EQ(corrupted.size(), 6u);
}

TEST(Captions, OtherWordsAndGivenPromptsHold) {
  for (int64_t i = 0; i < 120; ++i) {
    const CaptionedScene free = draw_captioned(1, i, {.free = 1.0});
    EXPECT_TRUE(geneval_judge(render(free.scene), free.prompt).correct) << free.prompt.prompt;
  }
  for (const auto& p : shapes_prompts(4, 20))
    EXPECT_TRUE(geneval_judge(render(draw_for_prompt(p, 1)), p).correct) << p.prompt;
}

//----------------------------------------------------------------------------

GenevalObject box(double cx, double cy, double size, double score = 0.95, const std::string& colour = "red") {
  return {cx - size / 2, cy - size / 2, cx + size / 2, cy + size / 2, score, colour};
}

GenevalPrompt prompt_of(const std::string& json) { return geneval_from_json(parse_json(json, "test"), "test"); }

TEST(GenEval, RelationsByHand) {
  using V = std::vector<std::string>;
  const auto b = box(50, 50, 10);
  EXPECT_EQ(relative_position(box(20, 50, 10), b), V{"left of"});
  EXPECT_EQ(relative_position(box(80, 52, 10), b), V{"right of"});
  EXPECT_EQ(relative_position(box(50, 20, 10), b), V{"above"});
  EXPECT_EQ(relative_position(box(50, 80, 10), b), V{"below"});
  EXPECT_EQ(relative_position(box(20, 20, 10), b), (V{"left of", "above"}));  // 45 degrees
  EXPECT_EQ(relative_position(b, b), V{});
  EXPECT_EQ(relative_position(box(51.9, 50, 10), b), V{});  // within a tenth of the sizes
  // An offset of 3 less 2 is a third of its length: no relation, though not zero.
  EXPECT_EQ(relative_position(box(53, 50, 10), b), V{});
  EXPECT_EQ(relative_position(box(54.1, 50, 10), b), V{"right of"});
}

TEST(GenEval, VerdictsAndReasons) {
  const auto two = prompt_of(R"({"tag": "two_object", "prompt": "p",
      "include": [{"class": "cat", "count": 1}, {"class": "dog", "count": 1}]})");
  EXPECT_TRUE(geneval_judge({{"cat", {box(1, 1, 2)}}, {"dog", {box(9, 9, 2)}}}, two).correct);
  EXPECT_EQ(geneval_judge({{"cat", {box(1, 1, 2)}}}, two).reason, "expected dog>=1, found 0");

  const auto counting = prompt_of(R"({"tag": "counting", "prompt": "p",
      "include": [{"class": "cat", "count": 2}], "exclude": [{"class": "cat", "count": 3}]})");
  const GenevalObjects three = {{"cat", {box(1, 1, 2, 0.99), box(5, 5, 2, 0.95), box(9, 9, 2, 0.91)}}};
  EXPECT_EQ(geneval_judge(three, counting).reason, "expected cat<3, found 3");
  GenevalObjects unsure = three;
  unsure["cat"][2].score = 0.85;  // not sure enough to be counted
  EXPECT_TRUE(geneval_judge(geneval_filter(unsure, "counting"), counting).correct);
  EXPECT_FALSE(geneval_judge(geneval_filter(unsure, "two_object"), counting).correct);

  // Only the surest object is asked for its colour.
  const auto colour = prompt_of(R"({"tag": "colors", "prompt": "p",
      "include": [{"class": "cat", "count": 1, "color": "red"}]})");
  const GenevalObjects cats = {{"cat", {box(1, 1, 2, 0.5, "red"), box(5, 5, 2, 0.9, "blue")}}};
  EXPECT_EQ(geneval_judge(geneval_filter(cats, "colors"), colour).reason,
            "expected red cat>=1, found 0 red; and 1 blue");

  const auto position = prompt_of(R"({"tag": "position", "prompt": "p", "include": [{"class": "dog", "count": 1},
      {"class": "cat", "count": 1, "position": ["left of", 0]}]})");
  const GenevalObjects pair = {{"dog", {box(50, 50, 10)}}, {"cat", {box(20, 50, 10)}}};
  EXPECT_TRUE(geneval_judge(pair, position).correct);
  EXPECT_EQ(geneval_judge({{"cat", pair.at("cat")}}, position).reason,
            "expected dog>=1, found 0\nno target for cat to be left of");
  EXPECT_EQ(geneval_judge({{"dog", {box(50, 50, 10)}}, {"cat", {box(80, 50, 10)}}}, position).reason,
            "expected cat left of target, found right of target");

  GenevalObjects many;
  for (int i = 0; i < 20; ++i) many["cat"].push_back(box(i, i, 1));
  EXPECT_EQ(geneval_filter(many, "colors").at("cat").size(), 16u);
}

TEST(GenEval, SummaryAveragesTasks) {
  const auto result = [](const std::string& tag, const std::string& prompt, bool correct) {
    return GenevalResult{"f", {tag, {}, {}, prompt}, {correct, ""}, {}};
  };
  const std::vector<GenevalResult> results = {result("colors", "a", true),    result("colors", "a", false),
                                              result("position", "b", false), result("position", "b", false),
                                              result("position", "c", true),  result("position", "c", true)};
  const GenevalSummary summary = geneval_summarise(results);
  EXPECT_DOUBLE_EQ(summary.overall, 0.5);
  EXPECT_EQ(summary.prompts, 3);
  EXPECT_EQ(summary.correct_prompts, 2);
  const std::string text = geneval_summary_text(summary);
  EXPECT_NE(text.find("% correct images: 50.00%"), std::string::npos) << text;
  EXPECT_NE(text.find("colors           = 50.00% (1 / 2)"), std::string::npos) << text;
  EXPECT_NE(text.find("Overall score (avg. over tasks): 0.50000"), std::string::npos) << text;
}

}  // namespace
}  // namespace crescendo
