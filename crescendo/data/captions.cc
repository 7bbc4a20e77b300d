#include "crescendo/data/captions.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"

namespace crescendo {

namespace {

constexpr std::array<std::string_view, 4> kRelations = {"left of", "right of", "above", "below"};
constexpr std::array<std::string_view, 5> kNumbers = {"zero", "one", "two", "three", "four"};
constexpr double kGap = 2;  // pixels between the circles around two objects, at a side of 64

// "a star", "an orange ring".
std::string with_article(const std::string& words) {
  return (std::string_view("aeiou").find(words[0]) != std::string_view::npos ? "an " : "a ") + words;
}
std::string plural(const std::string& word) { return word + (word.back() == 's' ? "es" : "s"); }

bool allowed(Colour colour, Figure figure, Split split) {
  return split == Split::kAll || is_held_out(colour, figure) == (split == Split::kHeldout);
}

Colour draw_colour(Rng& rng, Figure figure, Split split) {
  while (true) {
    const auto colour = static_cast<Colour>(rng.below(kColours));
    if (allowed(colour, figure, split)) return colour;
  }
}

using FigureWeights = std::array<int64_t, kFigures>;

// A ticket for each unit of weight; those of the `count` figures from `first` on, round the circle, are in the draw.
Figure draw_figure(Rng& rng, const FigureWeights& weights, int64_t first, int64_t count) {
  const auto weight = [&](int64_t i) { return weights[static_cast<size_t>((first + i) % kFigures)]; };
  int64_t tickets = 0, figure = 0;
  for (int64_t i = 0; i < count; ++i) tickets += weight(i);
  for (int64_t ticket = rng.below(tickets); ticket >= weight(figure); ++figure) ticket -= weight(figure);
  return static_cast<Figure>((first + figure) % kFigures);
}

constexpr std::string_view kPhoto = "a photo of ";

GenevalPrompt draw_prompt(Rng& rng, std::string_view tag, Split split, const FigureWeights& weights) {
  const Figure a = draw_figure(rng, weights, 0, kFigures);
  const Figure b = draw_figure(rng, weights, static_cast<int64_t>(a) + 1, kFigures - 1);
  const std::string name_a = enum_name(a), name_b = enum_name(b);
  const std::string photo(kPhoto);
  if (tag == "single_object") return {std::string(tag), {{name_a, 1, {}, {}}}, {}, photo + with_article(name_a)};
  if (tag == "two_object")
    return {std::string(tag),
            {{name_a, 1, {}, {}}, {name_b, 1, {}, {}}},
            {},
            photo + with_article(name_a) + " and " + with_article(name_b)};
  if (tag == "counting") {
    const int64_t count = 2 + rng.below(3);
    return {std::string(tag),
            {{name_a, count, {}, {}}},
            {{name_a, count + 1, {}, {}}},
            photo + std::string(kNumbers[static_cast<size_t>(count)]) + " " + plural(name_a)};
  }
  if (tag == "colors") {
    const std::string colour = enum_name(draw_colour(rng, a, split));
    return {std::string(tag), {{name_a, 1, colour, {}}}, {}, photo + with_article(colour + " " + name_a)};
  }
  if (tag == "position") {
    const std::string relation(kRelations[static_cast<size_t>(rng.below(4))]);
    return {std::string(tag),
            {{name_b, 1, {}, {}}, {name_a, 1, {}, {{relation, 0}}}},
            {},
            photo + with_article(name_a) + " " + relation + " " + with_article(name_b)};
  }
  check(tag == "color_attr", "draw_prompt: GenEval has no task '", tag, "'");
  const Colour colour_a = draw_colour(rng, a, split);
  Colour colour_b = draw_colour(rng, b, split);
  while (colour_b == colour_a) colour_b = draw_colour(rng, b, split);
  return {std::string(tag),
          {{name_a, 1, enum_name(colour_a), {}}, {name_b, 1, enum_name(colour_b), {}}},
          {},
          photo + with_article(enum_name(colour_a) + " " + name_a) + " and " +
              with_article(enum_name(colour_b) + " " + name_b)};
}

// The same in freer words.
void loosen(GenevalPrompt& prompt, Rng& rng, Split split) {
  if (prompt.tag == "position") {
    GenevalClause &target = prompt.include[0], &placed = prompt.include[1];
    const auto coloured = [&](GenevalClause& clause) {
      clause.colour = enum_name(draw_colour(rng, parse_enum<Figure>(clause.class_name, "a class"), split));
      return with_article(*clause.colour + " " + clause.class_name);
    };
    prompt.prompt = coloured(placed) + " " + placed.position->first + " ";
    prompt.prompt += coloured(target);
  } else {
    prompt.prompt.erase(0, kPhoto.size());
  }
}

// The box that a detector sees: the pixels that are covered by half or more.
GenevalObject box_of(const SceneObject& object, int64_t side) {
  const Coverage c = object_coverage(object, side, side);
  GenevalObject box{static_cast<double>(side), static_cast<double>(side), 0, 0, 1, ""};
  for (int64_t y = 0; y < c.height; ++y) {
    for (int64_t x = 0; x < c.width; ++x) {
      if (c.value[static_cast<size_t>(y * c.width + x)] < 0.5f) continue;
      box.x0 = std::min(box.x0, static_cast<double>(c.x0 + x));
      box.y0 = std::min(box.y0, static_cast<double>(c.y0 + y));
      box.x1 = std::max(box.x1, static_cast<double>(c.x0 + x + 1));
      box.y1 = std::max(box.y1, static_cast<double>(c.y0 + y + 1));
    }
  }
  return box;
}

// The relation holds clearly and no other does: not only at the threshold asked, but at a stricter and a laxer one.
bool clearly(const std::string& relation, const GenevalObject& a, const GenevalObject& b) {
  for (const double threshold : {0.05, 0.1, 0.15})
    if (relative_position(a, b, threshold) != std::vector<std::string>{relation}) return false;
  return true;
}

// Smallest and largest radius at a side of 64: what leaves room for `count` objects.
std::pair<double, double> radii(size_t count) {
  switch (count) {
    case 1:
      return {kMinRadius, kMaxRadius};
    case 2:
      return {9, 14};
    case 3:
      return {8, 12};
    default:
      return {8, 11};
  }
}

// Centres and sizes by rejection; starts over when an object finds no place.
void place(Rng& rng, std::vector<SceneObject>& objects, int64_t side) {
  const double unit = static_cast<double>(side) / static_cast<double>(kShapesSide);
  const auto [smallest, largest] = radii(objects.size());
  for (int attempt = 0; attempt < 1000; ++attempt) {
    size_t placed = 0;
    for (int tries = 0; placed < objects.size() && tries < 200; ++tries) {
      SceneObject& o = objects[placed];
      o.radius = rng.uniform(smallest, largest) * unit;
      const double margin = o.radius + unit;
      o.cx = rng.uniform(margin, static_cast<double>(side) - margin);
      o.cy = rng.uniform(margin, static_cast<double>(side) - margin);
      o.rotation = rng.uniform(-kMaxRotation, kMaxRotation);
      const bool free = std::all_of(
          objects.begin(), objects.begin() + static_cast<std::ptrdiff_t>(placed), [&](const SceneObject& other) {
            return std::hypot(o.cx - other.cx, o.cy - other.cy) >= o.radius + other.radius + kGap * unit;
          });
      placed += free;
    }
    if (placed == objects.size()) return;
  }
  fail("place: no room for ", objects.size(), " objects");
}

Scene draw_scene(Rng& rng, const GenevalPrompt& prompt, Split split, int64_t side) {
  check_usage(side >= 16 && side <= 4096, "Scenes: the side must be in 16..4096 pixels, got ", side);
  Scene scene;
  scene.side = side;
  scene.gradient = rng.uniform(0, kMaxGradient);
  scene.gradient_angle = rng.uniform(0, 360);
  std::vector<size_t> first_of_clause;
  for (const GenevalClause& clause : prompt.include) {
    first_of_clause.push_back(scene.objects.size());
    const auto figure = parse_enum<Figure>(clause.class_name, "'" + prompt.prompt + "': a class");
    for (int64_t i = 0; i < clause.count; ++i) {
      SceneObject object;
      object.figure = figure;
      object.colour = clause.colour ? parse_enum<Colour>(*clause.colour, "'" + prompt.prompt + "': a color")
                                    : draw_colour(rng, figure, split);
      scene.objects.push_back(object);
    }
  }
  check_usage(!scene.objects.empty() && scene.objects.size() <= 4, "'", prompt.prompt, "' asks for ",
              scene.objects.size(), " objects; scenes hold 1 to 4");
  for (int attempt = 0; attempt < 10000; ++attempt) {
    place(rng, scene.objects, side);
    bool right = true;
    for (size_t k = 0; k < prompt.include.size() && right; ++k) {
      if (!prompt.include[k].position) continue;
      const auto& [relation, target] = *prompt.include[k].position;
      for (int64_t i = 0; i < prompt.include[k].count && right; ++i)
        for (int64_t j = 0; j < prompt.include[static_cast<size_t>(target)].count && right; ++j)
          right = clearly(
              relation, box_of(scene.objects[first_of_clause[k] + static_cast<size_t>(i)], side),
              box_of(scene.objects[first_of_clause[static_cast<size_t>(target)] + static_cast<size_t>(j)], side));
    }
    if (right) return scene;
  }
  fail("'", prompt.prompt, "' cannot be drawn");
}

}  // namespace

bool is_held_out(Colour colour, Figure figure) {
  return (static_cast<int64_t>(colour) + 3 * static_cast<int64_t>(figure)) % 5 == 0;
}

CaptionedScene draw_captioned(uint64_t seed, int64_t index, const CaptionOptions& o) {
  check(index >= 0, "draw_captioned: the index must not be negative, got ", index);
  const uint64_t own_seed = derive_seed(seed, static_cast<uint64_t>(index));
  const auto form = static_cast<size_t>(index) % kGenevalTags.size();
  const bool single = o.single > 0 && Rng(own_seed, Draw::kScene, 5).uniform() < o.single;
  const std::string_view tag = !single ? kGenevalTags[form] : form % 2 ? "colors" : "single_object";
  Rng rng(own_seed, Draw::kScene, 1);
  CaptionedScene out;
  out.prompt = draw_prompt(rng, tag, o.split, o.weights);
  if (Rng wording(own_seed, Draw::kScene, 4); wording.uniform() < o.free) loosen(out.prompt, wording, o.split);
  out.scene = draw_scene(rng, out.prompt, o.split, o.side);
  return out;
}

Scene draw_for_prompt(const GenevalPrompt& prompt, uint64_t seed, Split split, int64_t side) {
  Rng rng(seed, Draw::kScene, 2);
  return draw_scene(rng, prompt, split, side);
}

std::vector<GenevalPrompt> shapes_prompts(uint64_t seed, int64_t per_tag, Split split) {
  check_usage(per_tag > 0, "the number of prompts a task must be positive, got ", per_tag);
  std::vector<GenevalPrompt> prompts;
  for (size_t t = 0; t < kGenevalTags.size(); ++t) {
    Rng rng(derive_seed(seed, t), Draw::kScene, 3);
    std::set<std::string> seen;
    // Some tasks have fewer prompts than asked for; a long row of repeats shows that all have come.
    for (int64_t repeats = 0; static_cast<int64_t>(seen.size()) < per_tag && repeats < 2000;) {
      GenevalPrompt prompt = draw_prompt(rng, kGenevalTags[t], split, CaptionOptions().weights);
      if (seen.insert(prompt.prompt).second) {
        prompts.push_back(std::move(prompt));
        repeats = 0;
      } else {
        ++repeats;
      }
    }
  }
  return prompts;
}

ScenesDataset::ScenesDataset(int64_t count, uint64_t seed, const CaptionOptions& options)
    : count_(count), seed_(seed), options_(options) {
  check_usage(count > 0, "scenes: count must be positive, got ", count);
  check_usage(options.free >= 0 && options.free <= 1, "scenes: free must be a share in 0..1, got ", options.free);
  check_usage(options.single >= 0 && options.single <= 1, "scenes: single must be a share in 0..1, got ",
              options.single);
  const auto& weights = options.weights;
  for (size_t i = 0; i < weights.size(); ++i)
    check_usage(weights[i] >= 0 && weights[i] <= 1000, "scenes: ", enum_name(static_cast<Figure>(i)),
                " must be a weight in 0..1000, got ", weights[i]);
  check_usage(std::count(weights.begin(), weights.end(), 0) <= kFigures - 2,
              "scenes: at least two shapes need a weight above 0, for scenes of two");
}

Sample ScenesDataset::get(int64_t index) const {
  check_index(index);
  return {image_to_bytes(render(draw_captioned(seed_, index, options_).scene)), 0};
}

int64_t ScenesDataset::label(int64_t index) const {
  check_index(index);
  return 0;
}

std::string ScenesDataset::caption(int64_t index) const {
  check_index(index);
  return draw_captioned(seed_, index, options_).prompt.prompt;
}

}  // namespace crescendo
