// Products of many rows in fp32 on a CPU, by Strassen's algorithm in Winograd's form: where both factors are halved
// along both sides, seven products of halves in place of eight, and sums of halves, which cost little where they are
// made while the factors are packed and while the results lie in registers.
//
// What it costs is rounding: results differ from exact ones by one or two millionths of the product's norm, four to
// seven times as much as a BLAS's, and by what the largest of the numbers that are added up round to, not only those
// that a result is made of. A row is added to its neighbour, 2i to 2i + 1, so by rounding it depends on that row, and
// on no other.
#pragma once

#include "crescendo/core/tensor.h"

namespace crescendo::strassen {

// Whether x (..., K) times weight (N, K)^T is had sooner so than from LibTorch, as far as that was measured: contiguous
// in fp32, many rows of large sides, on a processor with AVX-512.
bool serves(const Tensor& x, const Tensor& weight);

// out (..., N) = x weight^T + added, a bias (N) or rows (..., N), or nothing where undefined. All contiguous, in fp32
// on a CPU, at least kFewestRows rows, K and N multiples of kSides. On all of LibTorch's threads, or the calling one in
// a parallel region.
void multiply(const Tensor& x, const Tensor& weight, const Tensor& added, Tensor& out);
constexpr int64_t kFewestRows = 256, kSides = 64;

}  // namespace crescendo::strassen
