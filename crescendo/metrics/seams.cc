#include "crescendo/metrics/seams.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iomanip>
#include <limits>

#include "crescendo/core/check.h"

namespace crescendo {

double Seams::ratio() const {
  if (inside > 0) return across / inside;
  return across > 0 ? std::numeric_limits<double>::infinity() : 1;
}

bool has_seams(int64_t token_side, int64_t side) { return token_side >= 2 && token_side < side; }

void SeamMeter::add(const Image& image) {
  check(has_seams(token_side_, std::min(image.width, image.height)), "seams: tokens of ", token_side_,
        " pixels have no borders to tell from their inside in a picture of ", image.width, " x ", image.height);
  for (int64_t y = 0; y < image.height; ++y) {
    for (int64_t x = 0; x < image.width; ++x) {
      const uint8_t* p = image.pixel(x, y);
      const auto step_to = [&](int64_t u, int64_t v, bool border) {
        const uint8_t* q = image.pixel(u, v);
        sum_[border] += std::abs(p[0] - q[0]) + std::abs(p[1] - q[1]) + std::abs(p[2] - q[2]);
        count_[border] += 3;
      };
      if (x + 1 < image.width) step_to(x + 1, y, (x + 1) % token_side_ == 0);
      if (y + 1 < image.height) step_to(x, y + 1, (y + 1) % token_side_ == 0);
    }
  }
}

Seams SeamMeter::result() const {
  check(count_[0] > 0, "seams: no pictures");
  const auto mean = [&](size_t i) { return static_cast<double>(sum_[i]) / static_cast<double>(count_[i]); };
  return {mean(1), mean(0)};
}

Seams measure_seams(const std::vector<Image>& images, int64_t token_side) {
  SeamMeter meter(token_side);
  for (const Image& image : images) meter.add(image);
  return meter.result();
}

Score SeamScorer::score(const std::vector<Image>& images) const {
  const Seams s = measure_seams(images, token_side_);
  const double over_real = s.ratio() / real_.ratio();
  return {.what = concat(images.size(), " images"),
          .json = {{"seams",
                    {{"token_side", token_side_},
                     {"ratio", s.ratio()},
                     {"across", s.across},
                     {"inside", s.inside},
                     {"of_real", real_.ratio()},
                     {"over_real", over_real}}}},
          .line = concat("seams ", std::fixed, std::setprecision(2), over_real, " of real pictures'"),
          .table = measure_line("seams", s.ratio(), real_.ratio(), 2)};
}

}  // namespace crescendo
