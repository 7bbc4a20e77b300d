#include "crescendo/kernels/cpu/attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "crescendo/kernels/cpu/instruction_sets.h"
#include "crescendo/kernels/cpu/panels.h"
#include "crescendo/kernels/lanes.h"

namespace crescendo {

namespace {

// Queries at a time: whole tiles of a product, whose scores of some hundred keys stay in the first cache.
constexpr int64_t kQueries = 24;

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

// One head of one batch entry.
template <class T>
class HeadWork {
 public:
  explicit HeadWork(const Attention<T>& a)
      : a_(a),
        stride_(panels::whole_groups<T>(a.keys)),
        keys_(static_cast<size_t>(panels::packed_size<T>(a.keys, a.channels))),
        values_(static_cast<size_t>(panels::packed_size<T>(a.channels, a.keys))),
        scores_(static_cast<size_t>(kQueries * a.keys)),
        weights_(std::is_same_v<T, float> ? 0 : static_cast<size_t>(kQueries * stride_)),
        mixed_(static_cast<size_t>(kQueries * a.channels)) {}

  void operator()(int64_t b, int64_t h) {
    const auto of = [&](const HeadRows<T>& rows) { return rows.data + b * rows.batch_stride + h * a_.channels; };
    panels::pack(of(a_.k), a_.k.row_stride, 1, a_.keys, a_.channels, keys_.data());
    panels::pack(of(a_.v), 1, a_.v.row_stride, a_.channels, a_.keys, values_.data());
    const float* bias = a_.bias == nullptr ? nullptr : a_.bias + b * a_.bias_stride;
    for (int64_t first = 0; first < a_.queries; first += kQueries) {
      const int64_t count = std::min(kQueries, a_.queries - first);
      panels::multiply(panels::Product<T, float>{count, a_.channels, a_.keys, of(a_.q) + first * a_.q.row_stride,
                                                 a_.q.row_stride, keys_.data(), nullptr, 0, scores_.data(), a_.keys});
      float sums[kQueries];
      T* weights = this->weights();
      for (int64_t n = 0; n < count; ++n)
        sums[n] = exponentials(scores_.data() + n * a_.keys, a_.keys, a_.scale, bias, weights + n * stride_);
      panels::multiply(panels::Product<T, float>{count, stride_, a_.channels, weights, stride_, values_.data(), nullptr,
                                                 0, mixed_.data(), a_.channels});
      T* out = a_.out + ((b * a_.queries + first) * a_.heads + h) * a_.channels;
      for (int64_t n = 0; n < count; ++n, out += a_.heads * a_.channels)
        scaled(mixed_.data() + n * a_.channels, a_.channels, 1 / sums[n], out);
    }
  }

 private:
  T* weights() {
    if constexpr (std::is_same_v<T, float>)
      return scores_.data();
    else
      return weights_.data();
  }

  const Attention<T>& a_;
  int64_t stride_;  // of the weights: keys, filled up with zeros to whole groups
  std::vector<T> keys_, values_;
  std::vector<float> scores_;
  std::vector<T> weights_;
  std::vector<float> mixed_;
};

}  // namespace

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
