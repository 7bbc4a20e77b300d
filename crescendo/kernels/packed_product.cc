#include "crescendo/kernels/packed_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/kernels/instruction_sets.h"

namespace crescendo {

namespace panels {

namespace {

#define CRESCENDO_INLINE [[gnu::always_inline]] inline

// A vector of numbers that may lie anywhere.
template <int kLanes>
struct Vector {
  using Type [[gnu::vector_size(4 * kLanes), gnu::aligned(4), gnu::may_alias]] = float;
};

// What is asked for while a tile is computed, so that it lies in the second cache when its turn comes.
struct Ahead {
  const float* weights;
  int64_t steps;  // of kPanels * kWidth numbers each
};

// `kRows` rows of `kPanels` panels, summed in registers. `columns` of them are written.
template <int kLanes, int kRows, int kPanels>
CRESCENDO_INLINE void tile(const Product& p, int64_t row, int64_t column, int64_t columns, Ahead ahead) {
  using V = typename Vector<kLanes>::Type;
  constexpr int kVectors = kWidth / kLanes;  // of a panel
  const float* x = p.x + row * p.x_stride;
  const float* packed = p.packed + column * p.depth;
  V sum[kRows][kPanels * kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kPanels * kVectors; ++v) sum[r][v] = V{};
  for (int64_t k = 0; k < p.depth; ++k) {
    if (k < ahead.steps)
      for (int panel = 0; panel < kPanels; ++panel)
        __builtin_prefetch(ahead.weights + (k * kPanels + panel) * kWidth, 0, 2);
    V w[kPanels * kVectors];
    for (int v = 0; v < kPanels * kVectors; ++v)
      w[v] = *reinterpret_cast<const V*>(packed + v / kVectors * kWidth * p.depth + k * kWidth + v % kVectors * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const float number = x[r * p.x_stride + k];
      for (int v = 0; v < kPanels * kVectors; ++v) sum[r][v] += w[v] * number;
    }
  }
  float* out = p.out + row * p.out_stride + column;
  const float* added = p.added == nullptr ? nullptr : p.added + row * p.added_stride + column;
  for (int r = 0; r < kRows; ++r, out += p.out_stride, added += added == nullptr ? 0 : p.added_stride)
    for (int v = 0; v < kPanels * kVectors; ++v) {
      const int64_t left = columns - v * kLanes;
      if (left >= kLanes) {
        V result = sum[r][v];
        if (added != nullptr) result += *reinterpret_cast<const V*>(added + v * kLanes);
        *reinterpret_cast<V*>(out + v * kLanes) = result;
      } else {
        for (int64_t j = 0; j < left; ++j)
          out[v * kLanes + j] = sum[r][v][j] + (added == nullptr ? 0 : added[v * kLanes + j]);
      }
    }
}

// A tile of as many rows as are asked for, at most kMost.
template <int kLanes, int kMost, int kPanels>
CRESCENDO_INLINE void tile_of(int64_t rows, const Product& p, int64_t row, int64_t column, int64_t columns,
                              Ahead ahead) {
  if (rows == kMost) return tile<kLanes, kMost, kPanels>(p, row, column, columns, ahead);
  if constexpr (kMost > 1) tile_of<kLanes, kMost - 1, kPanels>(rows, p, row, column, columns, ahead);
}

// All rows of some columns, in tiles as even as can be: those of a row or two wait for their own sums. Weights that
// meet few rows come from far, and nothing else would be done while the first tile waits for them: each asks for its
// share of the next columns' instead.
template <int kLanes, int kMost, int kPanels>
CRESCENDO_INLINE void tiles_of_columns(const Product& p, int64_t column, int64_t columns) {
  const int64_t tiles = (p.rows + kMost - 1) / kMost, next = column + kPanels * kWidth,
                panels_left = next < p.outputs ? (p.outputs - next + kWidth - 1) / kWidth : 0,
                steps = std::min<int64_t>(kPanels, panels_left) * p.depth / kPanels;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t row = i * p.rows / tiles, end = (i + 1) * p.rows / tiles, first = i * steps / tiles;
    tile_of<kLanes, kMost, kPanels>(
        end - row, p, row, column, columns,
        {p.packed + next * p.depth + first * kPanels * kWidth, (i + 1) * steps / tiles - first});
  }
}

template <int kLanes, int kMost, int kPanels>
CRESCENDO_INLINE void tiles_of(const Product& p) {
  int64_t column = 0;
  for (; column + (kPanels - 1) * kWidth < p.outputs; column += kPanels * kWidth)
    tiles_of_columns<kLanes, kMost, kPanels>(p, column, std::min(p.outputs - column, kPanels * kWidth));
  if constexpr (kPanels > 1)
    if (column < p.outputs) tiles_of_columns<kLanes, kMost, 1>(p, column, p.outputs - column);
}

// Sixteen registers of eight numbers hold six rows of a panel and what they are multiplied with, thirty-two of sixteen
// hold twelve rows of two panels.
CRESCENDO_VECTORIZED void tiles_by_eights(const Product& p) { tiles_of<8, 6, 1>(p); }

CRESCENDO_VECTORIZED_512 void tiles_by_sixteens(const Product& p) { tiles_of<16, 12, 2>(p); }
const bool kHasSixteens = CRESCENDO_HAS_512;

// Rows of a tile, at most.
constexpr int64_t kTileRows = 12;
// Work that is worth another thread.
constexpr int64_t kProductsPerTask = 1 << 16;
// Rows that meet all weights before the next ones do: many enough to pay for reading them, and in the cache meanwhile.
constexpr int64_t kRowsAtOnce = 64;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

Product rows_of(Product p, int64_t first, int64_t count) {
  p.rows = count;
  p.x += first * p.x_stride;
  p.out += first * p.out_stride;
  if (p.added != nullptr) p.added += first * p.added_stride;
  return p;
}

// `first` begins a panel.
Product outputs_of(Product p, int64_t first, int64_t count) {
  p.outputs = count;
  p.packed += first * p.depth;
  p.out += first;
  if (p.added != nullptr) p.added += first;
  return p;
}

}  // namespace

void pack(const float* factor, int64_t output_stride, int64_t depth_stride, int64_t outputs, int64_t depth,
          float* packed) {
  for (int64_t first = 0; first < outputs; first += kWidth) {
    const int64_t columns = std::min(outputs - first, kWidth);
    for (int64_t k = 0; k < depth; ++k, packed += kWidth)
      for (int64_t j = 0; j < kWidth; ++j)
        packed[j] = j < columns ? factor[(first + j) * output_stride + k * depth_stride] : 0.0f;
  }
}

void multiply_by_sixteens(const Product& product) { tiles_by_sixteens(product); }

void multiply(const Product& whole) {
  for (int64_t first = 0; first < whole.rows; first += kRowsAtOnce) {
    const Product p = rows_of(whole, first, std::min(kRowsAtOnce, whole.rows - first));
    kHasSixteens ? tiles_by_sixteens(p) : tiles_by_eights(p);
  }
}

void multiply_in_parallel(const Product& p) {
  // Tasks are rows where there are enough of them, so that each reads the weights once, and columns otherwise.
  const int64_t threads = at::get_num_threads();
  const bool by_rows = p.rows >= 2 * kTileRows * threads;
  const int64_t unit = by_rows ? kTileRows : 2 * kWidth, extent = by_rows ? p.rows : p.outputs,
                work = unit * p.depth * (by_rows ? p.outputs : p.rows);
  at::parallel_for(0, ceil_div(extent, unit), std::max<int64_t>(1, kProductsPerTask / std::max<int64_t>(1, work)),
                   [&](int64_t begin, int64_t end) {
                     const int64_t first = begin * unit, count = std::min(end * unit, extent) - first;
                     multiply(by_rows ? rows_of(p, first, count) : outputs_of(p, first, count));
                   });
}

}  // namespace panels

bool PackedWeight::serves(const Tensor& weight) {
  return weight.is_cpu() && weight.dim() == 2 && weight.scalar_type() == at::kFloat;
}

PackedWeight::PackedWeight(const Tensor& weight) {
  check(serves(weight), "PackedWeight: needs a matrix in fp32 on a CPU");
  outputs_ = weight.size(0);
  depth_ = weight.size(1);
  packed_ = at::empty({panels::packed_size(outputs_, depth_)}, weight.options().requires_grad(false));
  panels::pack(weight.data_ptr<float>(), weight.stride(0), weight.stride(1), outputs_, depth_,
               packed_.data_ptr<float>());
}

void PackedWeight::multiply(const Tensor& x, const Tensor& added, Tensor& out) const {
  check(x.is_contiguous() && out.is_contiguous() && x.size(-1) == depth_ && out.size(-1) == outputs_ &&
            x.numel() * outputs_ == out.numel() * depth_,
        "PackedWeight: ", x.sizes(), " times ", depth_, " x ", outputs_, " is not ", out.sizes());
  const bool of_rows = added.defined() && added.dim() > 1;
  check(!added.defined() || (added.is_contiguous() && added.numel() == (of_rows ? out.numel() : outputs_)),
        "PackedWeight: ", added.defined() ? added.sizes() : at::IntArrayRef(), " cannot be added to ", out.sizes());
  panels::multiply_in_parallel({x.numel() / depth_, depth_, outputs_, x.data_ptr<float>(), depth_,
                                packed_.data_ptr<float>(), added.defined() ? added.data_ptr<float>() : nullptr,
                                of_rows ? outputs_ : 0, out.data_ptr<float>(), outputs_});
}

}  // namespace crescendo
