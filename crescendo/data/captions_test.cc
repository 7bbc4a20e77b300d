#include "crescendo/data/captions.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/rng.h"

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

TEST(Captions, FreeOnesSayWhatIsThereInOtherWords) {
  for (int64_t i = 0; i < 120; ++i) {
    const CaptionedScene free = draw_captioned(1, i, {.free = 1.0});
    const CaptionedScene plain = draw_captioned(1, i);
    EXPECT_EQ(free.prompt.tag, plain.prompt.tag);
    EXPECT_FALSE(free.prompt.prompt.starts_with("a photo of")) << free.prompt.prompt;
    if (free.prompt.tag == "position") {
      for (const auto& clause : free.prompt.include) {
        ASSERT_TRUE(clause.colour);
        EXPECT_NE(free.prompt.prompt.find(*clause.colour + " " + clause.class_name), std::string::npos);
        EXPECT_FALSE(is_held_out(parse_enum<Colour>(*clause.colour, ""), parse_enum<Figure>(clause.class_name, "")));
      }
    } else {
      EXPECT_EQ("a photo of " + free.prompt.prompt, plain.prompt.prompt);
    }
    EXPECT_TRUE(geneval_judge(render(free.scene), free.prompt).correct) << free.prompt.prompt;
  }
  int free = 0;
  for (int64_t i = 0; i < 400; ++i)
    free += !draw_captioned(1, i, {.free = 0.25}).prompt.prompt.starts_with("a photo of");
  EXPECT_NEAR(free, 100, 30);
}

TEST(Captions, ObjectsAreApartAndInside) {
  for (int64_t i = 0; i < 600; ++i) {
    const Scene scene = draw_captioned(1, i).scene;
    EXPECT_LE(scene.objects.size(), 4u);
    for (size_t a = 0; a < scene.objects.size(); ++a) {
      const SceneObject& o = scene.objects[a];
      EXPECT_GE(std::min(o.cx, o.cy) - o.radius, 1);
      EXPECT_LE(std::max(o.cx, o.cy) + o.radius, 63);
      for (size_t b = 0; b < a; ++b) {
        const SceneObject& other = scene.objects[b];
        EXPECT_GE(std::hypot(o.cx - other.cx, o.cy - other.cy), o.radius + other.radius + 2);
      }
    }
  }
}

TEST(Captions, SplitsDoNotShareAPair) {
  int64_t held_out = 0;
  for (int64_t id = 0; id < kShapeClasses; ++id) held_out += is_held_out(class_colour(id), class_figure(id));
  EXPECT_EQ(held_out, 16);
  for (int64_t i = 0; i < 600; ++i) {
    for (const auto& o : draw_captioned(2, i).scene.objects) EXPECT_FALSE(is_held_out(o.colour, o.figure));
    for (const auto& o : draw_captioned(2, i, {Split::kHeldout}).scene.objects)
      EXPECT_TRUE(is_held_out(o.colour, o.figure));
  }
}

TEST(Captions, FiguresComeByTheirWeights) {
  // Shares of the first and of the second figure of a scene of two, against the sum over all pairs.
  CaptionOptions options;
  options.weights = {1, 1, 0, 4, 2, 1, 1, 0};
  std::array<double, kFigures> first{}, second{}, expected_first{}, expected_second{};
  constexpr int kScenes = 4000;
  for (int64_t i = 0; i < kScenes; ++i) {
    const auto objects = draw_captioned(4, 6 * i + 1, options).scene.objects;
    ASSERT_EQ(objects.size(), 2u);
    first[static_cast<size_t>(objects[0].figure)] += 1.0 / kScenes;
    second[static_cast<size_t>(objects[1].figure)] += 1.0 / kScenes;
  }
  for (size_t a = 0; a < kFigures; ++a) {
    const auto w = [&](size_t i) { return static_cast<double>(options.weights[i]); };
    expected_first[a] = w(a) / 10;
    for (size_t b = 0; b < kFigures; ++b)
      if (a != b) expected_second[b] += w(a) / 10 * w(b) / (10 - w(a));
  }
  for (size_t i = 0; i < kFigures; ++i) {
    const std::string name = enum_name(static_cast<Figure>(i));
    EXPECT_NEAR(first[i], expected_first[i], 0.03) << name;
    EXPECT_NEAR(second[i], expected_second[i], 0.03) << name;
  }
  // As a specification; equal weights are no weights.
  CaptionOptions stars;
  stars.weights = {1, 1, 1, 5, 1, 1, 1, 0};
  const auto set = open_dataset("scenes:count=60,seed=4,star=5,heart=0", 64);
  const auto equal = open_dataset("scenes:count=60,seed=4,star=1,cross=1", 64);
  for (int64_t i = 0; i < 60; ++i) {
    EXPECT_EQ(set->caption(i), draw_captioned(4, i, stars).prompt.prompt);
    EXPECT_EQ(equal->caption(i), draw_captioned(4, i).prompt.prompt);
  }
  for (const char* bad : {"scenes:star=-1", "scenes:star=1001", "scenes:star=0.5", "scenes:stars=2",
                          "scenes:circle=0,square=0,triangle=0,star=3,cross=0,ring=0,diamond=0,heart=0"})
    EXPECT_THROW(open_dataset(bad, 64), Error) << bad;
}

TEST(Captions, FunctionOfSeedAndIndex) {
  EXPECT_EQ(render(draw_captioned(3, 40).scene), render(draw_captioned(3, 40).scene));
  EXPECT_NE(render(draw_captioned(3, 40).scene), render(draw_captioned(3, 46).scene));
  const auto set = open_dataset("scenes:count=20,seed=3,split=heldout", 64);
  EXPECT_EQ(set->size(), 20);
  EXPECT_TRUE(set->classes().empty());
  EXPECT_EQ(set->caption(7), draw_captioned(3, 7, {Split::kHeldout}).prompt.prompt);
  EXPECT_TRUE(at::equal(set->get(7).image, image_to_bytes(render(draw_captioned(3, 7, {Split::kHeldout}).scene))));
  EXPECT_THROW(open_dataset("scenes:split=tset", 64), Error);
}

TEST(Captions, WordsAreGenEvals) {
  std::set<std::string> seen;
  for (const auto& p : shapes_prompts(0, 1000)) seen.insert(p.prompt);
  for (const char* expected : {"a photo of a heart", "a photo of a circle and a star", "a photo of two crosses",
                               "a photo of an orange ring", "a photo of a square left of a diamond"})
    EXPECT_TRUE(seen.contains(expected)) << expected;
  std::map<std::string, int> count;
  for (const auto& p : shapes_prompts(0, 50)) ++count[p.tag];
  EXPECT_EQ(count["single_object"], 8);
  EXPECT_EQ(count["counting"], 24);
  for (const char* tag : {"two_object", "colors", "position", "color_attr"}) EXPECT_EQ(count[tag], 50) << tag;
  // A scene for a prompt at hand.
  for (const auto& p : shapes_prompts(4, 20))
    EXPECT_TRUE(geneval_judge(render(draw_for_prompt(p, 1)), p).correct) << p.prompt;
}

//----------------------------------------------------------------------------

GenevalObject box(double cx, double cy, double size, double score = 0.95, const std::string& colour = "red") {
  return {cx - size / 2, cy - size / 2, cx + size / 2, cy + size / 2, score, colour};
}

GenevalPrompt prompt_of(const std::string& json) { return geneval_from_json(parse_json(json, "test"), "test"); }

TEST(GenEval, JsonRoundTrip) {
  for (int64_t i = 0; i < 60; ++i) {
    const Json json = geneval_to_json(draw_captioned(1, i).prompt);
    EXPECT_EQ(geneval_to_json(geneval_from_json(json, "x")), json);
  }
  EXPECT_THROW(prompt_of(R"({"tag": "colors", "prompt": "x", "include": [{"class": "cat"}]})"), Error);
  EXPECT_THROW(prompt_of(R"({"tag": "position", "prompt": "x", "include": [
      {"class": "cat", "count": 1, "position": ["left of", 0]}]})"),
               Error);  // refers to itself
  EXPECT_THROW(prompt_of(R"({"prompt": "x"})"), Error);
}

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
