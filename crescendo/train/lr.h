// The learning rate as a function of progress.
#pragma once

#include <array>

#include "crescendo/core/enums.h"
#include "crescendo/core/fields.h"

namespace crescendo {

enum class LrShape { kConstant, kCosine, kLinear };
constexpr auto enum_table(LrShape) {
  return std::array{EnumName{LrShape::kConstant, "constant"}, EnumName{LrShape::kCosine, "cosine"},
                    EnumName{LrShape::kLinear, "linear"}};
}

struct LrOptions {
  LrShape shape = LrShape::kConstant;
  int64_t warmup_images = 100 * 1281167LL;
  double end = 0.0;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("shape", s.shape, "after the warm-up: constant, or falling to `end` by a cosine or a line");
    v("warmup_images", s.warmup_images, "images over which the rate rises from 0");
    v("end", s.end, "rate at the last image, as a share of the peak");
  }
};

// Rate for the step that begins after `images` of `total`.
double learning_rate(const LrOptions& options, double peak, int64_t images, int64_t total);

}  // namespace crescendo
