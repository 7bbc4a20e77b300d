// Products of many rows in fp32 on a CPU, by Strassen's algorithm in Winograd's form. Both factors are split into
// quarters; seven products of quarters replace eight. The additional sums are made while the factors are packed and
// while the results are in registers.
//
// Accuracy: errors are 1e-6 to 2e-6 of the product's norm, four to seven times a BLAS's. An element's error scales with
// the largest elements of the matrices, not only with those of its own row and column. Rows 2i and 2i + 1 are added, so
// the rounding of a row depends on its neighbour, and on no other row.
#pragma once

#include "crescendo/core/tensor.h"

namespace crescendo::strassen {

// Whether x (..., K) times weight (N, K)^T was measured to be faster here than in LibTorch: contiguous fp32, many rows,
// large K and N, a processor with AVX-512.
bool serves(const Tensor& x, const Tensor& weight);

// out (..., N) = x weight^T + added, a bias (N) or rows (..., N), or nothing where undefined. All contiguous, in fp32
// on a CPU, at least kFewestRows rows, K and N multiples of kSides. On all of LibTorch's threads, or the calling one in
// a parallel region.
void multiply(const Tensor& x, const Tensor& weight, const Tensor& added, Tensor& out);
constexpr int64_t kFewestRows = 256, kSides = 64;

}  // namespace crescendo::strassen
