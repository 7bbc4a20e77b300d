#include "crescendo/kernels/cpu/attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "crescendo/kernels/cpu/instruction_sets.h"
#include "crescendo/kernels/cpu/onednn.h"
#include "crescendo/kernels/lanes.h"

namespace crescendo {

namespace {

// Scores at a time: they stay in the second cache.
constexpr int64_t kScores = 1 << 17;

// scores = scale * scores + bias; returns the largest.
template <class Bias>
CRESCENDO_ROW float scale_scores(float* scores, int64_t keys, float scale, Bias bias) {
  float largest = -std::numeric_limits<float>::infinity();
  CRESCENDO_EACH_WITH(reduction(max : largest))
  for (int64_t m = 0; m < keys; ++m) {
    scores[m] = scores[m] * scale + bias(m);
    largest = largest < scores[m] ? scores[m] : largest;
  }
  return largest;
}

// weights = exp(scale * scores + bias - their maximum), not divided by their sum, which is returned. They may take the
// scores' place, which are used up.
template <class T>
CRESCENDO_ROW float exponentials_of(float* scores, int64_t keys, float scale, const float* bias, T* weights) {
  const float largest = bias == nullptr ? scale_scores(scores, keys, scale, [](int64_t) { return 0.0f; })
                                        : scale_scores(scores, keys, scale, [bias](int64_t m) { return bias[m]; });
  float sum = 0;
  CRESCENDO_EACH_WITH(reduction(+ : sum))
  for (int64_t i = 0; i < keys; ++i) {
    const float weight = rows::exponential(scores[i] - largest);
    rows::store(weights[i], weight);
    sum += weight;
  }
  return sum;
}
CRESCENDO_VECTORIZED float exponentials(float* scores, int64_t keys, float scale, const float* bias, float* weights) {
  return exponentials_of(scores, keys, scale, bias, weights);
}
CRESCENDO_VECTORIZED float exponentials(float* scores, int64_t keys, float scale, const float* bias,
                                        c10::BFloat16* weights) {
  return exponentials_of(scores, keys, scale, bias, weights);
}

CRESCENDO_VECTORIZED void scaled(const float* in, int64_t count, float factor, float* out) {
  CRESCENDO_EACH
  for (int64_t i = 0; i < count; ++i) out[i] = in[i] * factor;
}
CRESCENDO_VECTORIZED void scaled(const float* in, int64_t count, float factor, c10::BFloat16* out) {
  CRESCENDO_EACH
  for (int64_t i = 0; i < count; ++i) rows::store(out[i], in[i] * factor);
}

// One head of one batch entry at a time.
template <class T>
class HeadWork {
 public:
  explicit HeadWork(const Attention<T>& a)
      : a_(a),
        at_once_(std::clamp<int64_t>(kScores / a.keys, 1, std::max<int64_t>(1, a.queries))),
        scores_(static_cast<size_t>(at_once_ * a.keys)),
        weights_(std::is_same_v<T, float> ? 0 : scores_.size()),
        mixed_(static_cast<size_t>(at_once_ * a.channels)) {}

  void operator()(int64_t b, int64_t h) {
    const auto of = [&](const HeadRows<T>& rows) { return rows.data + b * rows.batch_stride + h * a_.channels; };
    const float* bias = a_.bias == nullptr ? nullptr : a_.bias + b * a_.bias_stride;
    for (int64_t first = 0; first < a_.queries; first += at_once_) {
      const int64_t count = std::min(at_once_, a_.queries - first);
      multiply(count, a_.channels, a_.keys, {of(a_.q) + first * a_.q.row_stride, a_.q.row_stride, 1},
               {of(a_.k), 1, a_.k.row_stride}, scores_);
      sums_.resize(static_cast<size_t>(count));
      T* weights = this->weights();
      for (int64_t n = 0; n < count; ++n)
        sums_[static_cast<size_t>(n)] =
            exponentials(scores_.data() + n * a_.keys, a_.keys, a_.scale, bias, weights + n * a_.keys);
      multiply(count, a_.keys, a_.channels, {weights, a_.keys, 1}, {of(a_.v), a_.v.row_stride, 1}, mixed_);
      T* out = a_.out + ((b * a_.queries + first) * a_.heads + h) * a_.channels;
      for (int64_t n = 0; n < count; ++n, out += a_.heads * a_.channels)
        scaled(mixed_.data() + n * a_.channels, a_.channels, 1 / sums_[static_cast<size_t>(n)], out);
    }
  }

 private:
  static void multiply(int64_t rows, int64_t depth, int64_t outputs, onednn::Matrix x, onednn::Matrix weight,
                       std::vector<float>& out) {
    onednn::multiply({.type = kType,
                      .out_type = c10::ScalarType::Float,
                      .rows = rows,
                      .depth = depth,
                      .outputs = outputs,
                      .x = x,
                      .weight = weight,
                      .out = out.data(),
                      .out_stride = outputs});
  }
  T* weights() {
    if constexpr (std::is_same_v<T, float>)
      return scores_.data();
    else
      return weights_.data();
  }

  static constexpr c10::ScalarType kType = c10::CppTypeToScalarType<T>::value;
  const Attention<T>& a_;
  int64_t at_once_;  // queries
  std::vector<float> scores_;
  std::vector<T> weights_;
  std::vector<float> mixed_, sums_;
};

}  // namespace

bool attends(c10::ScalarType type) { return !onednn::instructions(type).empty(); }

template <class T>
void attend(const Attention<T>& a) {
  at::parallel_for(0, a.batch * a.heads, 1, [&](int64_t begin, int64_t end) {
    HeadWork<T> work(a);
    for (int64_t i = begin; i < end; ++i) work(i / a.heads, i % a.heads);
  });
}

template void attend(const Attention<float>&);
template void attend(const Attention<c10::BFloat16>&);

}  // namespace crescendo
