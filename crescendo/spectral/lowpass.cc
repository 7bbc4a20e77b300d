#include "crescendo/spectral/lowpass.h"

#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

// Cubic convolution kernel (Keys 1981) with a = -0.75, as PyTorch's and OpenCV's bicubic.
double cubic(double x) {
  constexpr double a = -0.75;
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

Tensor spatial_matrix(int64_t n, int64_t level, int64_t levels) {
  const int64_t small = (n * level + levels - 1) / levels;  // s_i = ceil(n i / F)
  return at::matmul(up_matrix(n, small), down_matrix(n, small));
}

// Row i, column j: (1/n) sum of exp(2 pi i u (i - j) / n) over the kept u; the imaginary parts cancel because u and -u
// are kept together.
Tensor fourier_matrix(int64_t n, int64_t level, int64_t levels) {
  std::vector<double> response(static_cast<size_t>(n), 0.0);  // circulant: depends on (i - j) mod n
  for (int64_t u = -(n / 2); u < n - n / 2; ++u) {
    if (2 * std::abs(u) * levels > n * level) continue;
    for (int64_t d = 0; d < n; ++d)
      response[static_cast<size_t>(d)] +=
          std::cos(2 * std::numbers::pi * static_cast<double>(u * d % n) / static_cast<double>(n)) /
          static_cast<double>(n);
  }
  Tensor m = at::empty({n, n}, at::kDouble);
  auto a = m.accessor<double, 2>();
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) a[i][j] = response[static_cast<size_t>((i - j + n) % n)];
  return m;
}

// rows x columns of (B, C, H, W), in fp32 at least.
Tensor filtered(const Tensor& rows, const Tensor& x, const Tensor& columns) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto options = x.options().dtype(at::promote_types(x.scalar_type(), at::kFloat));
  return at::matmul(at::matmul(rows.to(options), x.to(options)), columns.to(options));
}

}  // namespace

Tensor down_matrix(int64_t n, int64_t small) {
  check(small >= 1 && small <= n, "down_matrix: small must be in 1..", n, ", got ", small);
  Tensor down = at::zeros({small, n}, at::kDouble);
  auto d = down.accessor<double, 2>();
  for (int64_t i = 0; i < small; ++i) {  // adaptive average: cells floor(i n / s) .. ceil((i + 1) n / s)
    const int64_t begin = i * n / small, end = ((i + 1) * n + small - 1) / small;
    for (int64_t j = begin; j < end; ++j) d[i][j] = 1.0 / static_cast<double>(end - begin);
  }
  return down;
}

Tensor up_matrix(int64_t n, int64_t small) {
  check(small >= 1 && small <= n, "up_matrix: small must be in 1..", n, ", got ", small);
  Tensor up = at::zeros({n, small}, at::kDouble);
  auto u = up.accessor<double, 2>();
  for (int64_t i = 0; i < n; ++i) {  // half-pixel centres, edge clamp
    const double centre = (static_cast<double>(i) + 0.5) * static_cast<double>(small) / static_cast<double>(n) - 0.5;
    const auto base = static_cast<int64_t>(std::floor(centre));
    for (int64_t j = base - 1; j <= base + 2; ++j)
      u[i][std::clamp<int64_t>(j, 0, small - 1)] += cubic(centre - static_cast<double>(j));
  }
  return up;
}

Tensor resized(const Tensor& x, const Tensor& matrix) { return filtered(matrix, x, matrix.t()); }

Tensor lowpass_matrix(int64_t n, int64_t level, int64_t levels, FilterType type) {
  check(n >= 1 && levels >= 1 && levels <= n, "lowpass: the number of levels must be in 1..", n, ", got ", levels);
  check(level >= 0 && level <= levels, "lowpass: level must be in 0..", levels, ", got ", level);
  if (level == 0) return at::zeros({n, n}, at::kDouble);
  if (level == levels) return at::eye(n, at::kDouble);
  switch (type) {
    case FilterType::kSpatial:
      return spatial_matrix(n, level, levels);
    case FilterType::kFourier:
      return fourier_matrix(n, level, levels);
  }
  fail("lowpass: no filter of type ", static_cast<int>(type));
}

Lowpass::Lowpass(int64_t height, int64_t width, int64_t levels, FilterType type, at::Device device)
    : height_(height), width_(width), levels_(levels) {
  std::vector<Tensor> rows, columns;
  for (int64_t i = 0; i <= levels; ++i) {
    rows.push_back(lowpass_matrix(height, i, levels, type));
    columns.push_back(lowpass_matrix(width, i, levels, type).t());
  }
  rows_ = at::stack(rows).to(device, at::kFloat);
  columns_ = at::stack(columns).to(device, at::kFloat);
}

Tensor Lowpass::operator()(const Tensor& x, int64_t level) const {
  check(level >= 0 && level <= levels_, "lowpass: level must be in 0..", levels_, ", got ", level);
  if (level == levels_) return x;
  if (level == 0) return at::zeros_like(x);
  return filtered(rows_[level], x, columns_[level]);
}

Tensor Lowpass::operator()(const Tensor& x, const Tensor& levels) const {
  check(x.dim() == 4 && x.size(2) == height_ && x.size(3) == width_, "lowpass: expected (B, C, ", height_, ", ", width_,
        "), got ", x.sizes());
  const Tensor index = levels.to(rows_.device());
  const Tensor r = rows_.index_select(0, index).unsqueeze(1);     // (B, 1, H, H)
  const Tensor c = columns_.index_select(0, index).unsqueeze(1);  // (B, 1, W, W)
  return filtered(r, x, c);
}

}  // namespace crescendo
