#include "crescendo/kernels/cpu/rounded_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/kernels/cpu/instruction_sets.h"
#include "crescendo/kernels/cpu/onednn.h"
#include "crescendo/kernels/lanes.h"

namespace crescendo {

namespace {

struct Rounding {
  float scale;
  int32_t zero;
};

template <class T>
CRESCENDO_ROW Rounding round_numbers(const T* x, int64_t count, float largest, uint8_t* bytes) {
  float low = 0, high = 0;
  CRESCENDO_EACH_WITH(reduction(min : low) reduction(max : high))
  for (int64_t i = 0; i < count; ++i) {
    const float number = rows::load(x[i]);
    low = number < low ? number : low;
    high = number > high ? number : high;
  }
  const float scale = std::max((high - low) / largest, 1e-30f), factor = 1 / scale;
  // Clamped to [0, largest]: NaN must become some byte, too.
  const auto most = static_cast<int32_t>(largest);
  const int32_t zero = std::clamp(rows::whole(-low * factor), 0, most);
  const auto middle = static_cast<float>(zero);
  CRESCENDO_EACH
  for (int64_t i = 0; i < count; ++i)
    bytes[i] = static_cast<uint8_t>(std::clamp(rows::whole(rows::load(x[i]) * factor + middle), 0, most));
  return {scale, zero};
}

CRESCENDO_VECTORIZED Rounding round_row(const float* x, int64_t count, float largest, uint8_t* bytes) {
  return round_numbers(x, count, largest, bytes);
}
CRESCENDO_VECTORIZED Rounding round_row(const c10::BFloat16* x, int64_t count, float largest, uint8_t* bytes) {
  return round_numbers(x, count, largest, bytes);
}

template <class T>
void round_all(const T* x, int64_t rows, int64_t depth, const RoundedRows& out) {
  const int64_t rows_a_task = std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, depth));
  uint8_t* bytes = out.bytes.data_ptr<uint8_t>();
  float* scale = out.scale.data_ptr<float>();
  int32_t* zero = out.zero.data_ptr<int32_t>();
  const auto largest = static_cast<float>(largest_byte());
  at::parallel_for(0, rows, rows_a_task, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Rounding rounding = round_row(x + r * depth, depth, largest, bytes + r * depth);
      scale[r] = rounding.scale;
      zero[r] = rounding.zero;
    }
  });
}

}  // namespace

int largest_byte() {
  const std::string& by = onednn::instructions(at::kChar);
  return by == "AVX2" || by == "AVX-512" ? 127 : 255;
}

RoundedRows rounded_rows(const Tensor& x) {
  const bool is_fp32 = x.scalar_type() == at::kFloat;
  check(x.is_cpu() && x.is_contiguous() && (is_fp32 || x.scalar_type() == at::kBFloat16) && x.dim() > 0,
        "rounded_rows: needs contiguous rows in fp32 or bf16 on a CPU");
  const int64_t depth = x.size(-1), rows = depth == 0 ? 0 : x.numel() / depth;
  RoundedRows out{at::empty({rows, depth}, at::kByte), at::empty({rows}, at::kFloat), at::empty({rows}, at::kInt)};
  is_fp32 ? round_all(x.data_ptr<float>(), rows, depth, out) : round_all(x.data_ptr<c10::BFloat16>(), rows, depth, out);
  return out;
}

}  // namespace crescendo
