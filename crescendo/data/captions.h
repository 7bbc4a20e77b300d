// Scenes of one to four objects with captions in GenEval's six forms: (seed, index) -> scene, prompt.
//
// What the caption says holds in the picture, and nothing else is in it. Sixteen of the eighty pairs of colour and
// figure are held out: the training split never shows them, the heldout split shows nothing else.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "crescendo/core/enums.h"
#include "crescendo/data/dataset.h"
#include "crescendo/data/geneval.h"
#include "crescendo/data/shapes.h"

namespace crescendo {

enum class Split { kTrain, kHeldout, kAll };
constexpr auto enum_table(Split) {
  return std::array{EnumName{Split::kTrain, "train"}, EnumName{Split::kHeldout, "heldout"},
                    EnumName{Split::kAll, "all"}};
}

bool is_held_out(Colour colour, Figure figure);  // two colours of each figure

struct CaptionedScene {
  Scene scene;
  GenevalPrompt prompt;
};

struct CaptionOptions {
  Split split = Split::kTrain;
  int64_t side = kShapesSide;  // pixels
  // Share of captions that leave GenEval's wording: they do without "a photo of" and, where they tell a place, name
  // colours too ("a red ring above a blue star").
  double free = 0;
  // Share of images that are of one object whatever their form would be, for a model that has yet to learn to draw.
  double single = 0;
  // How often each figure comes, against the others: for those that a model finds hard. Whole numbers; 0 leaves it out.
  std::array<int64_t, kFigures> weights = {1, 1, 1, 1, 1, 1, 1, 1};
};

// The form is index mod 6, in the order of kGenevalTags.
CaptionedScene draw_captioned(uint64_t seed, int64_t index, const CaptionOptions& options = {});
// The same for a prompt at hand: one of the pictures that it describes.
Scene draw_for_prompt(const GenevalPrompt& prompt, uint64_t seed, Split split = Split::kAll,
                      int64_t side = kShapesSide);

// Prompts to score a model with: up to `per_tag` different ones of each form.
std::vector<GenevalPrompt> shapes_prompts(uint64_t seed, int64_t per_tag, Split split = Split::kAll);

class ScenesDataset : public Dataset {
 public:
  ScenesDataset(int64_t count, uint64_t seed, const CaptionOptions& options);
  int64_t size() const override { return count_; }
  const std::vector<std::string>& classes() const override { return no_classes_; }
  Sample get(int64_t index) const override;
  int64_t label(int64_t index) const override;
  std::string caption(int64_t index) const override;

 private:
  int64_t count_;
  uint64_t seed_;
  CaptionOptions options_;
  std::vector<std::string> no_classes_;
};

}  // namespace crescendo
