#include "crescendo/kernels/cpu/panels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <type_traits>

#include "crescendo/core/device.h"
#include "crescendo/kernels/cpu/instruction_sets.h"
#include "crescendo/kernels/cpu/vectors.h"

namespace crescendo::panels {

namespace {

using c10::BFloat16;
using vectors::load;
using vectors::put;
using vectors::Vector;

using Word [[gnu::aligned(1), gnu::may_alias]] = uint32_t;

// How a group of a row's numbers, times those of kLanes outputs, is added to kLanes sums.

template <int kLanesOf>
struct Fp32 {
  static constexpr int kLanes = kLanesOf;
  using Sum = Vector<float, kLanes>;
  CRESCENDO_INLINE static Sum add(Sum sum, Vector<uint32_t, kLanes> w, uint32_t x) {
    return sum + reinterpret_cast<Sum>(w) * __builtin_bit_cast(float, x);
  }
};

// A bf16 is the upper half of an fp32.
template <int kLanesOf>
struct Bf16ByHalves {
  static constexpr int kLanes = kLanesOf;
  using Sum = Vector<float, kLanes>;
  CRESCENDO_INLINE static Sum add(Sum sum, Vector<uint32_t, kLanes> w, uint32_t x) {
    sum += reinterpret_cast<Sum>(w << 16) * __builtin_bit_cast(float, x << 16);
    return sum + reinterpret_cast<Sum>(w & 0xffff0000u) * __builtin_bit_cast(float, x & 0xffff0000u);
  }
};

template <int kLanesOf>
struct Int8ByBytes {
  static constexpr int kLanes = kLanesOf;
  using Sum = Vector<int32_t, kLanes>;
  CRESCENDO_INLINE static Sum add(Sum sum, Vector<uint32_t, kLanes> w, uint32_t x) {
    for (int byte = 0; byte < 4; ++byte)
      sum += (reinterpret_cast<Sum>(w << (24 - 8 * byte)) >> 24) * static_cast<int32_t>(x >> (8 * byte) & 0xffu);
    return sum;
  }
};

// A whole group by one instruction. Assembly, as the compiler's own names for these have changed their types.
#if defined(CRESCENDO_X86_SETS)
constexpr int kDotLanes = 16, kDotRows = 12, kDotPanels = 2, kMostOfDots = 255;
#define CRESCENDO_BF16_DOT(sum, w, x) asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x))
#define CRESCENDO_INT8_DOT(sum, w, x) asm("vpdpbusd %1, %2, %0" : "+v"(sum) : "v"(w), "v"(x))
#define CRESCENDO_DOTS
#elif defined(CRESCENDO_ARM_SETS)
// x has a sign, too, so seven bits of it are left.
constexpr int kDotLanes = 4, kDotRows = 6, kDotPanels = 1, kMostOfDots = 127;
#define CRESCENDO_BF16_DOT(sum, w, x) asm("bfdot %0.4s, %1.8h, %2.8h" : "+w"(sum) : "w"(w), "w"(x))
#define CRESCENDO_INT8_DOT(sum, w, x) asm("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(w), "w"(x))
#define CRESCENDO_DOTS
#endif

#ifdef CRESCENDO_DOTS
// Products of bf16 accumulate in fp32, those of int8 in int32.
template <class SumOf>
struct Dots {
  static constexpr int kLanes = kDotLanes;
  using Sum = Vector<SumOf, kLanes>;
  CRESCENDO_INLINE static Sum add(Sum sum, Vector<uint32_t, kLanes> w, uint32_t x) {
    // Spelt out, as from a function of its own GCC 12 keeps the sums in memory, at a twentieth of the speed.
    const Vector<uint32_t, kLanes> all = Vector<uint32_t, kLanes>{} + x;
    if constexpr (std::is_same_v<SumOf, float>)
      CRESCENDO_BF16_DOT(sum, w, all);
    else
      CRESCENDO_INT8_DOT(sum, w, all);
    return sum;
  }
};
#endif

#ifdef CRESCENDO_X86_SETS
// Sums of two products have 16 bits, so x may have seven.
struct Int8Pairs {
  static constexpr int kLanes = 8;
  using Sum = Vector<int32_t, kLanes>;
  CRESCENDO_INLINE static Sum add(Sum sum, Vector<uint32_t, kLanes> w, uint32_t x) {
    const Vector<uint32_t, kLanes> all = Vector<uint32_t, kLanes>{} + x, ones = Vector<uint32_t, kLanes>{} + 0x10001u;
    Vector<uint32_t, kLanes> pairs;
    asm("vpmaddubsw %1, %2, %0" : "=x"(pairs) : "x"(w), "x"(all));
    asm("vpmaddwd %1, %0, %0" : "+x"(pairs) : "x"(ones));
    return sum + reinterpret_cast<Sum>(pairs);
  }
};
#endif

template <int kLanes>
CRESCENDO_INLINE void store(float* out, Vector<float, kLanes> v) {
  put<float, kLanes>(out, v);
}
// Rounded to even, as LibTorch's are.
template <int kLanes>
CRESCENDO_INLINE void store(BFloat16* out, Vector<float, kLanes> v) {
  const auto bits = reinterpret_cast<Vector<uint32_t, kLanes>>(v);
  const Vector<uint32_t, kLanes> rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, nan = rounded * 0 + 0x7fc0u,
                                 of_all = (bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded;
  put<uint16_t, kLanes>(reinterpret_cast<uint16_t*>(out), __builtin_convertvector(of_all, Vector<uint16_t, kLanes>));
}

// Results up to which they stay in the second cache, beside the weights, from one product to the next.
constexpr int64_t kNearBytes = 128 << 10, kLineBytes = 64;

// What is asked for while a tile is computed, so that it lies near when its turn comes.
template <class T>
struct Ahead {
  const T* weights;  // of later tiles
  int64_t groups;    // of kPanels * kWidth outputs each
  bool out;          // whether also the memory that this tile's sums go to
};

// `kRows` rows of `kPanels` panels, summed in registers. `columns` of them are written.
template <class Adds, int kRows, int kPanels, class T, class Out>
CRESCENDO_INLINE void tile(const Product<T, Out>& p, int64_t row, int64_t column, int64_t columns, Ahead<T> ahead) {
  constexpr int kLanes = Adds::kLanes, kVectors = kWidth / kLanes;  // of a panel
  using Words = Vector<uint32_t, kLanes>;
  using Floats = Vector<float, kLanes>;
  const int64_t groups = p.depth / kGroup<T>;
  const auto* x = reinterpret_cast<const char*>(p.x + row * p.x_stride);
  const auto x_bytes = p.x_stride * static_cast<int64_t>(sizeof(T));
  const auto* packed = reinterpret_cast<const Word*>(p.packed + column * p.depth);
  typename Adds::Sum sum[kRows][kPanels * kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kPanels * kVectors; ++v) sum[r][v] = typename Adds::Sum{};
  if (ahead.out)
    for (int r = 0; r < kRows; ++r)
      for (int64_t j = 0; j < columns; j += kLineBytes / static_cast<int64_t>(sizeof(Out)))
        __builtin_prefetch(p.out + (row + r) * p.out_stride + column + j, 1, 3);
  for (int64_t k = 0; k < groups; ++k) {
    if (k < ahead.groups)
      for (int panel = 0; panel < kPanels; ++panel)
        __builtin_prefetch(ahead.weights + (k * kPanels + panel) * kWidth * kGroup<T>, 0, 2);
    Words w[kPanels * kVectors];
    for (int v = 0; v < kPanels * kVectors; ++v)
      w[v] = load<uint32_t, kLanes>(packed + v / kVectors * kWidth * groups + k * kWidth + v % kVectors * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const uint32_t group = *reinterpret_cast<const Word*>(x + r * x_bytes + k * 4);
      for (int v = 0; v < kPanels * kVectors; ++v) sum[r][v] = Adds::add(sum[r][v], w[v], group);
    }
  }
  Out* out = p.out + row * p.out_stride + column;
  const float* added = p.added == nullptr ? nullptr : p.added + row * p.added_stride + column;
  for (int r = 0; r < kRows; ++r, out += p.out_stride, added += added == nullptr ? 0 : p.added_stride)
    for (int v = 0; v < kPanels * kVectors; ++v) {
      Floats result;
      if constexpr (std::is_same_v<T, int8_t>) {
        const int64_t first = column + v * kLanes;
        const auto of_zero = load<int32_t, kLanes>(p.scales.weights + first) * p.scales.zero[row + r];
        result = __builtin_convertvector(sum[r][v] - of_zero, Floats) *
                 (load<float, kLanes>(p.scales.of_output + first) * p.scales.of_row[row + r]);
      } else {
        result = sum[r][v];
      }
      const int64_t left = columns - v * kLanes;
      if (left >= kLanes) {
        if (added != nullptr) result += load<float, kLanes>(added + v * kLanes);
        store<kLanes>(out + v * kLanes, result);
      } else {
        for (int64_t j = 0; j < left; ++j)
          out[v * kLanes + j] = result[j] + (added == nullptr ? 0 : added[v * kLanes + j]);
      }
    }
}

// A tile of as many rows as are asked for, at most kMost.
template <class Adds, int kMost, int kPanels, class T, class Out>
CRESCENDO_INLINE void tile_of(int64_t rows, const Product<T, Out>& p, int64_t row, int64_t column, int64_t columns,
                              Ahead<T> ahead) {
  if (rows == kMost) return tile<Adds, kMost, kPanels>(p, row, column, columns, ahead);
  if constexpr (kMost > 1) tile_of<Adds, kMost - 1, kPanels>(rows, p, row, column, columns, ahead);
}

// All rows of some columns, in tiles of nearly equal height: tiles of one or two rows are bound by the latency of their
// sums. With few rows the weights come from memory, so each tile prefetches its share of the next columns' weights.
template <class Adds, int kMost, int kPanels, class T, class Out>
CRESCENDO_INLINE void tiles_of_columns(const Product<T, Out>& p, int64_t column, int64_t columns) {
  const int64_t tiles = (p.rows + kMost - 1) / kMost, next = column + kPanels * kWidth,
                panels_left = next < p.outputs ? (p.outputs - next + kWidth - 1) / kWidth : 0,
                groups = std::min<int64_t>(kPanels, panels_left) * p.depth / kGroup<T> / kPanels;
  const bool out_is_far = p.rows * p.outputs * static_cast<int64_t>(sizeof(Out)) > kNearBytes;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t row = i * p.rows / tiles, end = (i + 1) * p.rows / tiles, first = i * groups / tiles;
    tile_of<Adds, kMost, kPanels>(end - row, p, row, column, columns,
                                  Ahead<T>{p.packed + next * p.depth + first * kPanels * kWidth * kGroup<T>,
                                           (i + 1) * groups / tiles - first, out_is_far});
  }
}

template <class Adds, int kMost, int kPanels, class T, class Out>
CRESCENDO_INLINE void tiles_of(const Product<T, Out>& p) {
  int64_t column = 0;
  for (; column + (kPanels - 1) * kWidth < p.outputs; column += kPanels * kWidth)
    tiles_of_columns<Adds, kMost, kPanels>(p, column, std::min(p.outputs - column, kPanels * kWidth));
  if constexpr (kPanels > 1)
    if (column < p.outputs) tiles_of_columns<Adds, kMost, 1>(p, column, p.outputs - column);
}

// Sixteen registers of eight numbers hold six rows of a panel and what they are multiplied with, thirty-two of sixteen
// hold twelve rows of two panels. Functions of one name cannot be compiled for several instruction sets when they are
// templates, hence a line each.
#define CRESCENDO_TILES(name, attributes, adds, rows, panels, T, Out) \
  attributes void name(const Product<T, Out>& p) { tiles_of<adds, rows, panels>(p); }

CRESCENDO_TILES(fp32_by_eights, CRESCENDO_VECTORIZED, Fp32<8>, 6, 1, float, float)
CRESCENDO_TILES(fp32_by_sixteens, CRESCENDO_VECTORIZED_512, Fp32<16>, 12, 2, float, float)
CRESCENDO_TILES(bf16_by_halves, CRESCENDO_VECTORIZED, Bf16ByHalves<8>, 4, 1, BFloat16, float)
CRESCENDO_TILES(bf16_by_halves_to_bf16, CRESCENDO_VECTORIZED, Bf16ByHalves<8>, 4, 1, BFloat16, BFloat16)
CRESCENDO_TILES(int8_by_bytes, CRESCENDO_VECTORIZED, Int8ByBytes<8>, 4, 1, int8_t, float)
CRESCENDO_TILES(int8_by_bytes_to_bf16, CRESCENDO_VECTORIZED, Int8ByBytes<8>, 4, 1, int8_t, BFloat16)
#ifdef CRESCENDO_DOTS
CRESCENDO_TILES(bf16_by_dots, CRESCENDO_FOR_BF16, Dots<float>, kDotRows, kDotPanels, BFloat16, float)
CRESCENDO_TILES(bf16_by_dots_to_bf16, CRESCENDO_FOR_BF16, Dots<float>, kDotRows, kDotPanels, BFloat16, BFloat16)
CRESCENDO_TILES(int8_by_dots, CRESCENDO_FOR_INT8, Dots<int32_t>, kDotRows, kDotPanels, int8_t, float)
CRESCENDO_TILES(int8_by_dots_to_bf16, CRESCENDO_FOR_INT8, Dots<int32_t>, kDotRows, kDotPanels, int8_t, BFloat16)
#endif
#ifdef CRESCENDO_X86_SETS
CRESCENDO_TILES(int8_by_pairs, CRESCENDO_FOR_AVX2, Int8Pairs, 4, 1, int8_t, float)
CRESCENDO_TILES(int8_by_pairs_to_bf16, CRESCENDO_FOR_AVX2, Int8Pairs, 4, 1, int8_t, BFloat16)
#endif

// Those of T and Out among all that are named.
template <class T, class Out>
struct Ways : std::vector<Way<T, Out>> {
  void add(const char* name, bool available, void (*multiply)(const Product<T, Out>&), int most = 255) {
    if (available) this->push_back({name, multiply, most});
  }
  template <class OtherOut>
  void add(const char*, bool, void (*)(const Product<T, OtherOut>&), int = 0) {}
};

void add_ways(Ways<float, float>& ways) {
  ways.add("sixteens", CRESCENDO_HAS_512, fp32_by_sixteens);
  ways.add("eights", true, fp32_by_eights);
}

template <class Out>
void add_ways(Ways<BFloat16, Out>& ways) {
#ifdef CRESCENDO_DOTS
  ways.add("dots", cpu_has_bf16(), bf16_by_dots);
  ways.add("dots", cpu_has_bf16(), bf16_by_dots_to_bf16);
#endif
  ways.add("halves", true, bf16_by_halves);
  ways.add("halves", true, bf16_by_halves_to_bf16);
}

template <class Out>
void add_ways(Ways<int8_t, Out>& ways) {
#ifdef CRESCENDO_DOTS
  ways.add("dots", cpu_has_int8(), int8_by_dots, kMostOfDots);
  ways.add("dots", cpu_has_int8(), int8_by_dots_to_bf16, kMostOfDots);
#endif
#ifdef CRESCENDO_X86_SETS
  ways.add("pairs", CRESCENDO_HAS_AVX2, int8_by_pairs, 127);
  ways.add("pairs", CRESCENDO_HAS_AVX2, int8_by_pairs_to_bf16, 127);
#endif
  ways.add("bytes", true, int8_by_bytes);
  ways.add("bytes", true, int8_by_bytes_to_bf16);
}

// Rows of a tile, at most.
constexpr int64_t kTileRows = 12;
// Work that is worth another thread.
constexpr int64_t kProductsPerTask = 1 << 16;
// Rows that meet all weights before the next ones do: many enough to pay for reading them, and in the cache meanwhile.
constexpr int64_t kRowsAtOnce = 64;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T, class Out>
Product<T, Out> rows_of(Product<T, Out> p, int64_t first, int64_t count) {
  p.rows = count;
  p.x += first * p.x_stride;
  p.out += first * p.out_stride;
  if (p.added != nullptr) p.added += first * p.added_stride;
  if (p.scales.of_row != nullptr) {
    p.scales.of_row += first;
    p.scales.zero += first;
  }
  return p;
}

// `first` begins a panel.
template <class T, class Out>
Product<T, Out> outputs_of(Product<T, Out> p, int64_t first, int64_t count) {
  p.outputs = count;
  p.packed += first * p.depth;
  p.out += first;
  if (p.added != nullptr) p.added += first;
  if (p.scales.of_row != nullptr) {
    p.scales.of_output += first;
    p.scales.weights += first;
  }
  return p;
}

}  // namespace

template <class T>
void pack(const T* factor, int64_t output_stride, int64_t depth_stride, int64_t outputs, int64_t depth, T* packed) {
  for (int64_t first = 0; first < outputs; first += kWidth) {
    const int64_t columns = std::min(outputs - first, kWidth);
    for (int64_t k = 0; k < depth; k += kGroup<T>)
      for (int64_t j = 0; j < kWidth; ++j)
        for (int64_t i = k; i < k + kGroup<T>; ++i)
          *packed++ = j < columns && i < depth ? factor[(first + j) * output_stride + i * depth_stride] : T{};
  }
}

template <class T, class Out>
std::vector<Way<T, Out>> ways() {
  Ways<T, Out> all;
  add_ways(all);
  return all;
}

template <class T, class Out>
void multiply(const Product<T, Out>& whole) {
  static const Way<T, Out> best = ways<T, Out>().front();
  for (int64_t first = 0; first < whole.rows; first += kRowsAtOnce)
    best.multiply(rows_of(whole, first, std::min(kRowsAtOnce, whole.rows - first)));
}

template <class T, class Out>
void multiply_in_parallel(const Product<T, Out>& p) {
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

template void pack(const float*, int64_t, int64_t, int64_t, int64_t, float*);
template void pack(const BFloat16*, int64_t, int64_t, int64_t, int64_t, BFloat16*);
template void pack(const int8_t*, int64_t, int64_t, int64_t, int64_t, int8_t*);

template std::vector<Way<float, float>> ways();
template std::vector<Way<BFloat16, float>> ways();
template std::vector<Way<BFloat16, BFloat16>> ways();
template std::vector<Way<int8_t, float>> ways();
template std::vector<Way<int8_t, BFloat16>> ways();

#define CRESCENDO_PRODUCT(T, Out)                 \
  template void multiply(const Product<T, Out>&); \
  template void multiply_in_parallel(const Product<T, Out>&);

CRESCENDO_PRODUCT(float, float)
CRESCENDO_PRODUCT(BFloat16, float)
CRESCENDO_PRODUCT(BFloat16, BFloat16)
CRESCENDO_PRODUCT(int8_t, float)
CRESCENDO_PRODUCT(int8_t, BFloat16)

int largest_of_bytes() {
  static const int most = ways<int8_t, float>().front().most;
  return most;
}

}  // namespace crescendo::panels
