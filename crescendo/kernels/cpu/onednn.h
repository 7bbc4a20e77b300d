// Matrix products by oneDNN, the library under LibTorch's own products in bf16: version 2 or 3, on a CPU.
//
// It picks the processor's best instructions when it runs: AMX, AVX512-BF16, VNNI, AVX-512 or AVX2. A factor that meets
// many others is laid out once as those want it. A build without the library links no_onednn.cc, which serves nothing.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <memory>
#include <string>

namespace crescendo::onednn {

// "oneDNN 2.6.3"; empty without it.
std::string version();

// By what it multiplies matrices of fp32, bf16 or int8 (kChar): "AMX", "AVX512-BF16", "VNNI", "AVX-512", "AVX2". Empty
// where it does so by no instructions made for it, and should be left alone.
const std::string& instructions(c10::ScalarType type);

// A weight (N, K) of one of those types as the library lays it out, zeros included.
struct LaidOut;
std::shared_ptr<const LaidOut> lay_out(c10::ScalarType type, int64_t outputs, int64_t depth, const void* weight);

// Number (i, j) of a matrix is the one at i * row_stride + j * column_stride.
struct Matrix {
  const void* numbers = nullptr;
  int64_t row_stride = 0, column_stride = 1;
};

// out (M, N) = x (M, K) weight (K, N) + added, on all of OpenMP's threads, or the calling one in a parallel region.
struct Product {
  c10::ScalarType type, out_type;  // fp32, fp32; bf16, fp32 or bf16; int8 (x: uint8), int32
  int64_t rows, depth, outputs;    // M, K, N
  Matrix x{}, weight{};
  const LaidOut* laid_out = nullptr;  // in place of `weight`
  const float* added = nullptr;       // a bias (N), or rows (M, N); not with int8
  bool added_by_rows = false;
  void* out = nullptr;
  int64_t out_stride = 0;
};
void multiply(const Product& product);

}  // namespace crescendo::onednn
