// Products whose second factor is packed before, on a CPU: in fp32, bf16 and int8.
//
// A BLAS packs its factors at every call, which is much of the work where rows are few. A factor that meets many others
// is packed once instead: into panels of sixteen outputs, in which what one step of a sum needs lies side by side, four
// bytes of every output: one number in fp32, two in bf16, four in int8. A row's result depends on that row alone, to
// the last bit, so it is the same in any batch and with any number of threads.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>
#include <vector>

namespace crescendo::panels {

constexpr int64_t kWidth = 16;  // outputs of a panel

// Elements of one output that are adjacent in memory.
template <class T>
constexpr int64_t kGroup = 4 / static_cast<int64_t>(sizeof(T));

// Outputs, and elements of one output, rounded up to whole panels and groups.
constexpr int64_t whole_panels(int64_t outputs) { return (outputs + kWidth - 1) / kWidth * kWidth; }
template <class T>
constexpr int64_t whole_groups(int64_t depth) {
  return (depth + kGroup<T> - 1) / kGroup<T> * kGroup<T>;
}

// Numbers that `outputs` packed columns of `depth` numbers take.
template <class T>
constexpr int64_t packed_size(int64_t outputs, int64_t depth) {
  return whole_panels(outputs) * whole_groups<T>(depth);
}

// Packs factor[j * output_stride + k * depth_stride] for outputs j and depth k. The last panel and the last group are
// filled up with zeros.
template <class T>
void pack(const T* factor, int64_t output_stride, int64_t depth_stride, int64_t outputs, int64_t depth, T* packed);

// The first factor's numbers: those without sign meet int8.
template <class T>
struct First {
  using Type = T;
};
template <>
struct First<int8_t> {
  using Type = uint8_t;
};

// What a sum of int8 stands for: of_row[r] * of_output[j] * (sum - zero[r] * weights[j]), with `zero` what zero became
// in that row of x, and `weights` the sum of that output's weights.
struct Scales {
  const float* of_row;
  const int32_t* zero;
  const float* of_output;  // for as many outputs as are packed
  const int32_t* weights;
};

// out[r * out_stride + j] = added[r * added_stride + j] + sum over k of x[r * x_stride + k] * packed factor [j, k].
template <class T, class Out>
struct Product {
  int64_t rows, depth, outputs;  // depth in whole groups
  const typename First<T>::Type* x;
  int64_t x_stride;
  const T* packed;
  const float* added;    // may be null
  int64_t added_stride;  // 0 for a bias, the same for all rows
  Out* out;
  int64_t out_stride;
  Scales scales{};  // of int8
};

// On the calling thread. T and Out: fp32; bf16 and either; int8 and either.
template <class T, class Out>
void multiply(const Product<T, Out>& product);
// On all of LibTorch's threads, or the calling one in a parallel region.
template <class T, class Out>
void multiply_in_parallel(const Product<T, Out>& product);

// The instructions that this machine can multiply by, the best, which multiply() takes, first. Their sums in fp32
// differ by rounding.
template <class T, class Out>
struct Way {
  const char* name;
  void (*multiply)(const Product<T, Out>&);
  int most;  // of int8: the largest x
};
template <class T, class Out>
std::vector<Way<T, Out>> ways();

// The largest x that multiply() takes with int8: 255, or 127 where the processor would lose a bit of larger ones.
int largest_of_bytes();

}  // namespace crescendo::panels
