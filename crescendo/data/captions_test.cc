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
}

//----------------------------------------------------------------------------

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

}  // namespace
}  // namespace crescendo
