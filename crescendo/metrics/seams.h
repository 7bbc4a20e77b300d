// Do the borders between tokens show? Steps from pixel to pixel across borders, against steps inside tokens.
//
// A token is a square of pixels, patch times the tokenizer's factor wide. Where a model draws neighbouring tokens apart
// from each other, steps across borders are larger. Real pictures know nothing of tokens, yet their ratio need not be
// 1: no border lies at a picture's edge, where outlines are rare. So the ratio stands beside that of real pictures.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "crescendo/metrics/scorer.h"

namespace crescendo {

struct Seams {
  double across = 0;  // mean absolute step of a channel across a token's border, levels of 0..255
  double inside = 0;  // the same between pixels of one token
  // Infinite where there are no steps but across borders, 1 where there are none at all.
  double ratio() const;
};

// Whether pictures of this side have borders, and pixels between them, at all.
bool has_seams(int64_t token_side, int64_t side);

// Over all pictures that come, both directions.
class SeamMeter {
 public:
  explicit SeamMeter(int64_t token_side) : token_side_(token_side) {}
  // Throws where has_seams() is false of the picture.
  void add(const Image& image);
  // At least one picture must have come.
  Seams result() const;

 private:
  int64_t token_side_;
  std::array<int64_t, 2> sum_{}, count_{};  // inside, across
};
Seams measure_seams(const std::vector<Image>& images, int64_t token_side);

// {"seams": {"token_side", "ratio", "across", "inside", "of_real", "over_real"}}.
class SeamScorer : public Scorer {
 public:
  // `real`: of pictures of the data.
  SeamScorer(int64_t token_side, const Seams& real) : token_side_(token_side), real_(real) {}
  Score score(const std::vector<Image>& images) const override;

 private:
  int64_t token_side_;
  Seams real_;
};

}  // namespace crescendo
