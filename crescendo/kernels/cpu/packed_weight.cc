#include "crescendo/kernels/cpu/packed_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/kernels/cpu/instruction_sets.h"
#include "crescendo/kernels/lanes.h"

namespace crescendo {

namespace {

// Which product serves, measured in docs/lab/products.md:
//
//   weight  instructions           product
//   fp32    any                    oneDNN in fp32
//   bf16    AMX, AVX512-BF16       oneDNN in bf16
//   bf16    others                 oneDNN in fp32, of converted numbers
//   int8    AMX, VNNI              oneDNN, rows of eight bits
//   int8    AVX-512, AVX2          oneDNN, rows of seven bits
//   int8    no oneDNN              LibTorch in fp32, of the same whole numbers
//   fp32, bf16 without oneDNN      none: LibTorch's own stay in place (PackedWeight::serves)
at::ScalarType type_of_product(const Tensor& weight, Products how) {
  if (how == Products::kInt8) return at::kChar;
  return onednn::instructions(weight.scalar_type()).empty() ? at::kFloat : weight.scalar_type();
}

// AMX multiplies faster than a weight that lies as it is can be read.
bool gains_by_copy(at::ScalarType type) { return onednn::instructions(type) == "AMX"; }

struct Rounded {
  float scale;
  int32_t sum;
};

// To -127 .. 127, by the largest of them.
template <class T>
CRESCENDO_ROW Rounded round_weights(const T* numbers, int64_t count, int8_t* out) {
  float most = 0;
  CRESCENDO_EACH_WITH(reduction(max : most))
  for (int64_t k = 0; k < count; ++k) {
    const float size = std::fabs(rows::load(numbers[k]));
    most = most < size ? size : most;
  }
  const float scale = std::max(most / 127, 1e-30f), factor = 1 / scale;
  int32_t sum = 0;
  CRESCENDO_EACH_WITH(reduction(+ : sum))
  for (int64_t k = 0; k < count; ++k) {
    const int32_t whole = std::clamp(rows::whole(rows::load(numbers[k]) * factor), -127, 127);
    out[k] = static_cast<int8_t>(whole);
    sum += whole;
  }
  return {scale, sum};
}
CRESCENDO_VECTORIZED Rounded round_output(const float* numbers, int64_t count, int8_t* out) {
  return round_weights(numbers, count, out);
}
CRESCENDO_VECTORIZED Rounded round_output(const c10::BFloat16* numbers, int64_t count, int8_t* out) {
  return round_weights(numbers, count, out);
}

template <class T>
void round_outputs(const Tensor& weight, Tensor& rounded, Tensor& scale, Tensor& sum) {
  const int64_t depth = weight.size(1);
  at::parallel_for(0, weight.size(0), 16, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const Rounded row = round_output(weight.data_ptr<T>() + n * depth, depth, rounded.data_ptr<int8_t>() + n * depth);
      scale.data_ptr<float>()[n] = row.scale;
      sum.data_ptr<int32_t>()[n] = row.sum;
    }
  });
}

// What sums of int8 stand for: of_row * of_output[j] * (sum[j] - zero * weights[j]) + added[j].
struct RowScales {
  float of_row;
  int32_t zero;
  const float* of_output;
  const int32_t* weights;
  const float* added;  // may be null
};

// The sums, whole numbers of 32 bits, may lie where `out` is written.
template <class Out>
CRESCENDO_ROW void scale_sums(const float* sums, int64_t count, const RowScales& s, Out* out) {
  const auto scaled = [&](int64_t j) {
    const int32_t sum = static_cast<int32_t>(rows::bits_of(sums[j])) - s.weights[j] * s.zero;
    return static_cast<float>(sum) * (s.of_output[j] * s.of_row);
  };
  if (s.added == nullptr) {
    CRESCENDO_EACH
    for (int64_t j = 0; j < count; ++j) rows::store(out[j], scaled(j));
  } else {
    CRESCENDO_EACH
    for (int64_t j = 0; j < count; ++j) rows::store(out[j], scaled(j) + s.added[j]);
  }
}
CRESCENDO_VECTORIZED void scale_row(const float* sums, int64_t count, const RowScales& s, float* out) {
  scale_sums(sums, count, s, out);
}
CRESCENDO_VECTORIZED void scale_row(const float* sums, int64_t count, const RowScales& s, c10::BFloat16* out) {
  scale_sums(sums, count, s, out);
}

const float* data_or_null(const Tensor& t) { return t.defined() ? t.data_ptr<float>() : nullptr; }

}  // namespace

bool PackedWeight::serves(const Tensor& weight, Products how) {
  if (!weight.is_cpu() || weight.dim() != 2 || weight.numel() == 0 ||
      (weight.scalar_type() != at::kFloat && weight.scalar_type() != at::kBFloat16))
    return false;
  return how == Products::kInt8 ? weight.size(1) <= kMostOfInt8 : !onednn::instructions(at::kFloat).empty();
}

PackedWeight::PackedWeight(const Tensor& weight, Products how) {
  check(serves(weight, how), "PackedWeight: needs a matrix in fp32 or bf16 on a CPU, and oneDNN; for int8 of at most ",
        kMostOfInt8, " columns");
  type_ = type_of_product(weight, how);
  outputs_ = weight.size(0);
  depth_ = weight.size(1);
  const Tensor given = weight.detach().contiguous();
  if (type_ != at::kChar) {
    plain_ = given.to(type_);
    if (how == Products::kInPlace && !gains_by_copy(type_)) return;
  } else {
    plain_ = at::empty(given.sizes(), at::kChar);
    scale_ = at::empty({outputs_}, at::kFloat);
    sum_ = at::empty({outputs_}, at::kInt);
    given.scalar_type() == at::kFloat ? round_outputs<float>(given, plain_, scale_, sum_)
                                      : round_outputs<c10::BFloat16>(given, plain_, scale_, sum_);
  }
  if (onednn::instructions(type_).empty()) {
    plain_ = plain_.to(at::kFloat);
  } else {
    laid_out_ = onednn::lay_out(type_, outputs_, depth_, plain_.data_ptr());
    plain_ = Tensor();
  }
}

void PackedWeight::check_sizes(at::IntArrayRef x, const Tensor& added, const Tensor& out) const {
  check(out.is_contiguous() && x.back() == depth_ && out.size(-1) == outputs_ &&
            c10::multiply_integers(x) * outputs_ == out.numel() * depth_,
        "PackedWeight: ", x, " times ", depth_, " x ", outputs_, " is not ", out.sizes());
  const bool of_rows = added.defined() && added.dim() > 1;
  check(!added.defined() || (added.is_contiguous() && added.numel() == (of_rows ? out.numel() : outputs_)),
        "PackedWeight: ", added.defined() ? added.sizes() : at::IntArrayRef(), " cannot be added to ", out.sizes());
}

namespace {

// By AVX2 oneDNN sums a row in an order that depends on how many rows there are, so packed weights meet as many at a
// time as are a few whole tiles of it, the last of them filled up: a row then comes out the same in any batch.
constexpr int64_t kRowsByAvx2 = 24;

void multiply_by_avx2(const onednn::Product& whole) {
  at::parallel_for(0, (whole.rows + kRowsByAvx2 - 1) / kRowsByAvx2, 1, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin * kRowsByAvx2; first < std::min(end * kRowsByAvx2, whole.rows); first += kRowsByAvx2) {
      const int64_t count = std::min(kRowsByAvx2, whole.rows - first), x_size = count * whole.depth,
                    out_size = count * whole.outputs;
      const float* x = static_cast<const float*>(whole.x.numbers) + first * whole.depth;
      float* out = static_cast<float*>(whole.out) + first * whole.outputs;
      onednn::Product p = whole;
      p.rows = kRowsByAvx2;
      p.x.numbers = x;
      p.out = out;
      if (p.added_by_rows) p.added += first * whole.outputs;
      if (count == kRowsByAvx2) {
        onednn::multiply(p);
        continue;
      }
      std::vector<float> filled(static_cast<size_t>(kRowsByAvx2 * whole.depth)),
          all(static_cast<size_t>(kRowsByAvx2 * whole.outputs)), added;
      std::copy_n(x, x_size, filled.begin());
      p.x.numbers = filled.data();
      p.out = all.data();
      if (p.added_by_rows) {
        added.resize(all.size());
        std::copy_n(p.added, out_size, added.begin());
        p.added = added.data();
      }
      onednn::multiply(p);
      std::copy_n(all.begin(), out_size, out);
    }
  });
}

}  // namespace

void PackedWeight::run(const Tensor& x, const Tensor& added, Tensor& out) const {
  const onednn::Product product{.type = type_,
                                .out_type = type_ == at::kChar ? at::kInt : out.scalar_type(),
                                .rows = out.numel() / outputs_,
                                .depth = depth_,
                                .outputs = outputs_,
                                .x = {x.data_ptr(), depth_, 1},
                                .weight = {laid_out_ ? nullptr : plain_.data_ptr(), 1, depth_},
                                .laid_out = laid_out_.get(),
                                .added = data_or_null(added),
                                .added_by_rows = added.defined() && added.dim() > 1,
                                .out = out.data_ptr(),
                                .out_stride = outputs_};
  if (laid_out_ && type_ == at::kFloat && onednn::instructions(type_) == "AVX2")
    multiply_by_avx2(product);
  else
    onednn::multiply(product);
}

void PackedWeight::multiply(const Tensor& x, const Tensor& added, Tensor& out) const {
  check(x.is_contiguous(), "PackedWeight: needs contiguous rows");
  check_sizes(x.sizes(), added, out);
  if (type_ == at::kChar) return multiply(rounded_rows(x), added, out);
  if (type_ == x.scalar_type()) return run(x, added, out);
  Tensor in_fp32 = at::empty(out.sizes(), at::kFloat);
  run(x.to(at::kFloat), added, in_fp32);
  out.copy_(in_fp32);
}

void PackedWeight::multiply(const RoundedRows& x, const Tensor& added, Tensor& out) const {
  check(type_ == at::kChar, "PackedWeight: rounded rows need a weight in int8");
  check_sizes(x.bytes.sizes(), added, out);
  const bool to_fp32 = out.scalar_type() == at::kFloat, by_rows = added.defined() && added.dim() > 1;
  const int64_t count = x.bytes.size(0);
  Tensor sums = to_fp32 ? out : at::empty(out.sizes(), at::kFloat);
  if (laid_out_)
    run(x.bytes, {}, sums);
  else
    sums.copy_(at::mm(x.bytes.to(at::kFloat), plain_.t()).to(at::kInt).view(at::kFloat).view(sums.sizes()));
  const float* of_sums = sums.data_ptr<float>();
  const int64_t rows_a_task = std::max<int64_t>(1, (1 << 14) / outputs_);
  at::parallel_for(0, count, rows_a_task, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const RowScales scales{x.scale.data_ptr<float>()[r], x.zero.data_ptr<int32_t>()[r], scale_.data_ptr<float>(),
                             sum_.data_ptr<int32_t>(),
                             added.defined() ? added.data_ptr<float>() + (by_rows ? r * outputs_ : 0) : nullptr};
      const int64_t first = r * outputs_;
      if (to_fp32)
        scale_row(of_sums + first, outputs_, scales, out.data_ptr<float>() + first);
      else
        scale_row(of_sums + first, outputs_, scales, out.data_ptr<c10::BFloat16>() + first);
    }
  });
}

}  // namespace crescendo
