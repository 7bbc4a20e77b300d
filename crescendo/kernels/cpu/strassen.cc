#include "crescendo/kernels/cpu/strassen.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/kernels/cpu/instruction_sets.h"
#include "crescendo/kernels/cpu/vectors.h"

namespace crescendo::strassen {

namespace {

using vectors::load;
using vectors::put;
using vectors::Vector;

// Twenty-four registers of sixteen numbers hold the sums of twelve pairs of rows, of one half or their sum, and of
// thirty-two columns.
constexpr int kLanes = 16, kVectors = 2, kColumns = kVectors * kLanes, kPairs = 12, kProducts = 7;
using Floats = Vector<float, kLanes>;

// out = x weight^T + added. Of x, A11 and A12 are the first and the second half of the even rows, A21 and A22 those of
// the odd ones; of weight^T, B11 and B21 have the first half of the outputs, B12 and B22 the second.
struct Product {
  int64_t rows, depth, outputs;
  const float *x, *weight, *added;  // the last may be null
  int64_t added_stride;             // 0 for a bias, the same for all rows
  float* out;

  int64_t pairs() const { return (rows + 1) / 2; }  // the last row of an odd number of them is its own neighbour
  int64_t half_depth() const { return depth / 2; }
  int64_t half_outputs() const { return outputs / 2; }
  const float* row(int64_t pair, int64_t lower) const { return x + std::min(2 * pair + lower, rows - 1) * depth; }
};

// Number j of row i and number i of row j change places: in blocks of one, of two, and so on.
template <int kSide, int kStep, int... kLane>
CRESCENDO_INLINE void exchange(Vector<float, kSide>& a, Vector<float, kSide>& b,
                               std::integer_sequence<int, kLane...> /*lanes*/) {
  const auto upper = __builtin_shufflevector(a, b, ((kLane & kStep) == 0 ? kLane : kSide + kLane - kStep)...);
  b = __builtin_shufflevector(a, b, ((kLane & kStep) == 0 ? kLane + kStep : kSide + kLane)...);
  a = upper;
}
template <int kSide, int kStep = 1>
CRESCENDO_INLINE void transpose(Vector<float, kSide> (&rows)[kSide]) {
  for (int i = 0; i < kSide; ++i)
    if ((i & kStep) == 0) exchange<kSide, kStep>(rows[i], rows[i + kStep], std::make_integer_sequence<int, kSide>());
  if constexpr (2 * kStep < kSide) transpose<kSide, 2 * kStep>(rows);
}

// The first factors of the products, in their order, of `pairs` pairs of rows: (kProducts, K / 2, kPairs). Four pairs
// are arranged at once, some of them twice.
CRESCENDO_VECTORIZED_512 void arrange_rows(const Product& p, int64_t first, int64_t pairs, float* arranged) {
  constexpr int kSide = 4;
  const int64_t depth = p.half_depth(), size = depth * kPairs;
  for (int64_t begin = 0; begin < pairs; begin += kSide) {
    const int64_t pair = std::min(begin, pairs - kSide);
    for (int64_t k = 0; k < depth; k += kSide) {
      Vector<float, kSide> a11[kSide], a12[kSide], a21[kSide], a22[kSide];
      for (int i = 0; i < kSide; ++i) {
        const float *upper = p.row(first + pair + i, 0) + k, *lower = p.row(first + pair + i, 1) + k;
        a11[i] = load<float, kSide>(upper);
        a12[i] = load<float, kSide>(upper + depth);
        a21[i] = load<float, kSide>(lower);
        a22[i] = load<float, kSide>(lower + depth);
      }
      for (auto* block : {&a11, &a12, &a21, &a22}) transpose<kSide>(*block);
      for (int i = 0; i < kSide; ++i) {
        const auto s1 = a21[i] + a22[i], s2 = s1 - a11[i], s3 = a11[i] - a21[i], s4 = a12[i] - s2;
        float* at = arranged + (k + i) * kPairs + pair;
        for (const auto& factor : {a11[i], a12[i], s2, s3, a22[i], s1, s4}) {
          put<float, kSide>(at, factor);
          at += size;
        }
      }
    }
  }
}

// The second factors, for kColumns columns of each half of the outputs: (kProducts, K / 2, kColumns).
CRESCENDO_VECTORIZED_512 void arrange_weights(const Product& p, int64_t column, float* arranged) {
  const int64_t depth = p.half_depth(), size = depth * kColumns;
  for (int64_t j = 0; j < kColumns; j += kLanes)
    for (int64_t k = 0; k < depth; k += kLanes) {
      Floats b11[kLanes], b12[kLanes], b21[kLanes], b22[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const float *left = p.weight + (column + j + i) * p.depth + k, *right = left + p.half_outputs() * p.depth;
        b11[i] = load<float, kLanes>(left);
        b21[i] = load<float, kLanes>(left + depth);
        b12[i] = load<float, kLanes>(right);
        b22[i] = load<float, kLanes>(right + depth);
      }
      for (auto* block : {&b11, &b12, &b21, &b22}) transpose<kLanes>(*block);
      for (int i = 0; i < kLanes; ++i) {
        const auto t1 = b12[i] - b11[i], t2 = b22[i] - t1, t3 = b22[i] - b12[i], minus_t4 = b21[i] - t2;
        float* at = arranged + (k + i) * kColumns + j;
        for (const auto& factor : {b11[i], b21[i], t2, t3, minus_t4, t1, b22[i]}) {
          put<float, kLanes>(at, factor);
          at += size;
        }
      }
    }
}

// The sums of a tile's rows of one half, in registers.
template <int kRows>
struct Sums {
  Floats of[kRows][kVectors];

  CRESCENDO_INLINE void clear() {
    for (auto& row : of)
      for (Floats& sum : row) sum = Floats{};
  }
  CRESCENDO_INLINE void add_product(int product, int64_t depth, const float* rows, const float* weights) {
    rows += product * depth * kPairs;
    weights += product * depth * kColumns;
    for (int64_t k = 0; k < depth; ++k, rows += kPairs, weights += kColumns) {
      const Floats w0 = load<float, kLanes>(weights), w1 = load<float, kLanes>(weights + kLanes);
      for (int r = 0; r < kRows; ++r) {
        of[r][0] += w0 * rows[r];
        of[r][1] += w1 * rows[r];
      }
    }
  }
  CRESCENDO_INLINE void keep(float* kept) const {
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) put<float, kLanes>(kept + r * kColumns + v * kLanes, of[r][v]);
  }
  CRESCENDO_INLINE void add(const float* kept) {
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) of[r][v] += load<float, kLanes>(kept + r * kColumns + v * kLanes);
  }
  // To the upper or the lower rows of the pairs from `first` on, and the left or the right half of the outputs.
  CRESCENDO_INLINE void write(const Product& p, int64_t first, int64_t lower, int64_t column, int64_t right) const {
    column += right * p.half_outputs();
    for (int r = 0; r < kRows; ++r) {
      const int64_t row = 2 * (first + r) + lower;
      if (row == p.rows) continue;
      for (int v = 0; v < kVectors; ++v) {
        const int64_t j = column + v * kLanes;
        Floats result = of[r][v];
        if (p.added != nullptr) result += load<float, kLanes>(p.added + row * p.added_stride + j);
        put<float, kLanes>(p.out + row * p.outputs + j, result);
      }
    }
  }
};

// The results of kRows pairs of rows and of kColumns columns of each half. The products P0 to P6 make
//   C11 = P0 + P1                C12 = P0 + P2 + P5 + P6
//   C21 = P0 + P2 + P3 + P4      C22 = P0 + P2 + P3 + P5
template <int kRows>
CRESCENDO_INLINE void tile_of(const Product& p, int64_t first, int64_t column, const float* rows,
                              const float* weights) {
  const int64_t depth = p.half_depth();
  alignas(64) float p0[kRows * kColumns], p02[kRows * kColumns], p023[kRows * kColumns];
  Sums<kRows> sums;
  sums.clear();
  sums.add_product(0, depth, rows, weights);
  sums.keep(p0);
  sums.add_product(1, depth, rows, weights);
  sums.write(p, first, 0, column, 0);
  sums.clear();
  sums.add(p0);
  sums.add_product(2, depth, rows, weights);
  sums.keep(p02);
  sums.add_product(3, depth, rows, weights);
  sums.keep(p023);
  sums.add_product(4, depth, rows, weights);
  sums.write(p, first, 1, column, 0);
  sums.clear();
  sums.add_product(5, depth, rows, weights);
  Sums<kRows> lower = sums;
  lower.add(p023);
  lower.write(p, first, 1, column, 1);
  sums.add(p02);
  sums.add_product(6, depth, rows, weights);
  sums.write(p, first, 0, column, 1);
}

// As even as can be, tiles of 256 rows and more are of kPairs pairs or one fewer.
CRESCENDO_VECTORIZED_512 void tile(const Product& p, int64_t first, int64_t pairs, int64_t column, const float* rows,
                                   const float* weights) {
  if (pairs == kPairs)
    tile_of<kPairs>(p, first, column, rows, weights);
  else
    tile_of<kPairs - 1>(p, first, column, rows, weights);
}

// `count` pieces as even as can be.
struct Pieces {
  int64_t extent, count;
  int64_t begin(int64_t i) const { return i * extent / count; }
  int64_t size(int64_t i) const { return begin(i + 1) - begin(i); }
};
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Pairs that are arranged at once: enough to pay for arranging the weights, few enough to lie in the third cache.
constexpr int64_t kPairsAtOnce = 512;

void multiply_block(const Product& p) {
  const int64_t depth = p.half_depth(), groups = p.half_outputs() / kColumns, tile_size = kProducts * depth * kPairs;
  const Pieces tiles{p.pairs(), ceil_div(p.pairs(), kPairs)},
      parts{tiles.count, std::min(ceil_div(at::get_num_threads(), groups), tiles.count)};
  const Tensor arranged = at::empty({tiles.count * tile_size}, at::kFloat);
  float* rows = arranged.data_ptr<float>();
  at::parallel_for(0, tiles.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) arrange_rows(p, tiles.begin(i), tiles.size(i), rows + i * tile_size);
  });
  // A task is a group of columns and all tiles, or a part of them where threads are many.
  at::parallel_for(0, groups * parts.count, 1, [&](int64_t begin, int64_t end) {
    const Tensor of_group = at::empty({kProducts * depth * kColumns}, at::kFloat);
    float* weights = of_group.data_ptr<float>();
    for (int64_t task = begin, at_hand = -1; task < end; ++task) {
      const int64_t group = task / parts.count, part = task % parts.count;
      if (std::exchange(at_hand, group) != group) arrange_weights(p, group * kColumns, weights);
      for (int64_t i = parts.begin(part); i < parts.begin(part + 1); ++i)
        tile(p, tiles.begin(i), tiles.size(i), group * kColumns, rows + i * tile_size, weights);
    }
  });
}

}  // namespace

void multiply(const Tensor& x, const Tensor& weight, const Tensor& added, Tensor& out) {
  check(weight.dim() == 2 && weight.numel() > 0, "strassen: needs a matrix, got ", weight.sizes());
  const int64_t depth = weight.size(1), outputs = weight.size(0), rows = x.numel() / depth;
  const bool of_rows = added.defined() && added.dim() > 1;
  check(x.size(-1) == depth && out.size(-1) == outputs && out.numel() == rows * outputs &&
            (!added.defined() || added.numel() == (of_rows ? out.numel() : outputs)),
        "strassen: ", x.sizes(), " times ", weight.sizes(), " is not ", out.sizes());
  check(rows >= kFewestRows && depth % kSides == 0 && outputs % kSides == 0, "strassen: needs ", kFewestRows,
        " rows and sides of a multiple of ", kSides, ", got ", rows, " rows of ", depth, " x ", outputs);
  for (const Tensor& t : {x, weight, added, out})
    check(!t.defined() || (t.is_cpu() && t.is_contiguous() && t.scalar_type() == at::kFloat),
          "strassen: needs contiguous fp32 on a CPU");
  const int64_t pairs = ceil_div(rows, 2);
  const Pieces blocks{pairs, ceil_div(pairs, kPairsAtOnce)};
  for (int64_t i = 0; i < blocks.count; ++i) {
    const int64_t first = 2 * blocks.begin(i);
    const float* of_block = added.defined() ? added.data_ptr<float>() + (of_rows ? first * outputs : 0) : nullptr;
    multiply_block({std::min(2 * blocks.size(i), rows - first), depth, outputs, x.data_ptr<float>() + first * depth,
                    weight.data_ptr<float>(), of_block, of_rows ? outputs : 0,
                    out.data_ptr<float>() + first * outputs});
  }
}

bool serves(const Tensor& x, const Tensor& weight) {
  constexpr int64_t kLeastSide = 512;
  const auto fits = [](const Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kFloat && t.is_contiguous(); };
  if (!CRESCENDO_HAS_512 || !fits(x) || !fits(weight) || weight.dim() != 2) return false;
  const int64_t depth = weight.size(1), outputs = weight.size(0);
  return std::min(depth, outputs) >= kLeastSide && depth % kSides == 0 && outputs % kSides == 0 &&
         x.size(-1) == depth && x.numel() / depth >= kFewestRows;
}

}  // namespace crescendo::strassen
