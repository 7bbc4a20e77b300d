// x -> x_1 ... x_F: the spectral filters of FAR (paper, section 5.1).
//
// Both filters are separable and linear, so x_i = R_i x C_i^T with one small matrix per side and level. Level F is the
// identity, level 0 is all zeros (what is known before the first step).
//   (a) spatial, eq. 3: area averaging to ceil(H i / F), back to H by bicubic interpolation;
//   (b) fourier, eq. 4: keep centred frequencies with |u| <= (H/2) (i/F). The mask is square, hence separable. For even
//       H the Nyquist frequency -H/2 passes at level F alone, so the result is always real.
#pragma once

#include <array>

#include "crescendo/core/enums.h"
#include "crescendo/core/tensor.h"

namespace crescendo {

enum class FilterType { kSpatial, kFourier };
constexpr auto enum_table(FilterType) {
  return std::array{EnumName{FilterType::kSpatial, "spatial"}, EnumName{FilterType::kFourier, "fourier"}};
}

// The halves of filter (a) on one side, in double: averages of n cells, (small, n), and bicubic interpolation back,
// (n, small). The identity where small is n.
Tensor down_matrix(int64_t n, int64_t small);
Tensor up_matrix(int64_t n, int64_t small);
// Both sides of x (B, C, n, n) through a matrix (m, n): (B, C, m, m), in fp32 at least, under autocast too.
Tensor resized(const Tensor& x, const Tensor& matrix);

// The (n, n) matrix of one side, in double. Level in 0..levels.
Tensor lowpass_matrix(int64_t n, int64_t level, int64_t levels, FilterType type);

class Lowpass {
 public:
  // Needs 1 <= levels <= min(height, width). On the device of its input no call waits for a copy. Computes in
  // fp32 at least, whatever x is in and under autocast too.
  Lowpass(int64_t height, int64_t width, int64_t levels, FilterType type, at::Device device = at::kCPU);

  Tensor operator()(const Tensor& x, int64_t level) const;         // (B, C, H, W) -> the same
  Tensor operator()(const Tensor& x, const Tensor& levels) const;  // one level per image: (B) int64
  int64_t levels() const { return levels_; }

 private:
  int64_t height_, width_, levels_;
  Tensor rows_;     // (F + 1, H, H)
  Tensor columns_;  // (F + 1, W, W), transposed
};

}  // namespace crescendo
