// Which captions of COCO a text model is measured with: a list that anyone can make again, and its name.
//
// COCO FID-30K says how many pictures, and neither which captions nor how many of an image. Results differ by that, so
// the list is drawn by a rule and named by rule and content; a report carries the name.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "crescendo/core/enums.h"

namespace crescendo {

enum class CaptionRule {
  kOnePerImage,  // images drawn without repetition, each with its caption of the lowest id
  kAnyCaption,   // captions drawn without repetition from all: an image may come more than once
};
constexpr auto enum_table(CaptionRule) {
  return std::array{EnumName{CaptionRule::kOnePerImage, "one-per-image"},
                    EnumName{CaptionRule::kAnyCaption, "any-caption"}};
}

struct CocoCaption {
  int64_t id = 0;  // of the annotation
  int64_t image_id = 0;
  std::string file_name;  // of the image
  std::string text;       // without white space at its ends; line ends within are spaces
};

struct CaptionList {
  std::vector<CocoCaption> captions;  // in the order drawn
  std::string protocol;               // "one-per-image/seed0/30000/1f0c9a...": rule, seed, count, hash of ids and texts
};

// `file`: captions_val2014.json or another of COCO's caption files. The list depends on the file's captions, `count`,
// `rule` and `seed`, and not on the order within the file; a shorter list begins a longer one.
CaptionList read_coco_captions(const std::filesystem::path& file, int64_t count, CaptionRule rule, uint64_t seed);

// JSON lines {"prompt", "image_id", "caption_id", "file_name"}, one a caption.
void write_caption_list(const std::filesystem::path& file, const CaptionList& list);

}  // namespace crescendo
