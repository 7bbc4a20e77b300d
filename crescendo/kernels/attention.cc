#include "crescendo/kernels/attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "crescendo/kernels/instruction_sets.h"
#include "crescendo/kernels/lanes.h"
#include "crescendo/kernels/packed_product.h"

namespace crescendo {

namespace {

// Queries at a time: whole tiles of a product, whose scores of some hundred keys stay in the first cache.
constexpr int64_t kQueries = 24;

// scores = exp(scale * scores + bias - their maximum), not divided by their sum, which is returned.
CRESCENDO_VECTORIZED float exponentials(float* scores, int64_t keys, float scale, const float* bias) {
  for (int64_t m = 0; m < keys; ++m) scores[m] = scores[m] * scale + (bias == nullptr ? 0.0f : bias[m]);
  // By lanes of their own, as a compiler keeps the order of comparisons.
  constexpr int64_t kLanes = 16;
  float lane[kLanes];
  std::fill_n(lane, kLanes, scores[0]);
  int64_t m = 0;
  for (; m + kLanes <= keys; m += kLanes)
    for (int64_t i = 0; i < kLanes; ++i) lane[i] = lane[i] < scores[m + i] ? scores[m + i] : lane[i];
  for (; m < keys; ++m) lane[0] = std::max(lane[0], scores[m]);
  const float largest = *std::max_element(lane, lane + kLanes);
  float sum = 0;
  CRESCENDO_SUM_OVER(sum)
  for (int64_t i = 0; i < keys; ++i) {
    scores[i] = rows::exponential(scores[i] - largest);
    sum += scores[i];
  }
  return sum;
}

// One head of one batch entry.
class HeadWork {
 public:
  explicit HeadWork(const Attention& a)
      : a_(a),
        keys_(static_cast<size_t>(panels::packed_size(a.keys, a.channels))),
        values_(static_cast<size_t>(panels::packed_size(a.channels, a.keys))),
        scores_(static_cast<size_t>(kQueries * a.keys)) {}

  void operator()(int64_t b, int64_t h) {
    const auto of = [&](const HeadRows& rows) { return rows.data + b * rows.batch_stride + h * a_.channels; };
    panels::pack(of(a_.k), a_.k.row_stride, 1, a_.keys, a_.channels, keys_.data());
    panels::pack(of(a_.v), 1, a_.v.row_stride, a_.channels, a_.keys, values_.data());
    const int64_t out_stride = a_.heads * a_.channels;
    const float* bias = a_.bias == nullptr ? nullptr : a_.bias + b * a_.bias_stride;
    for (int64_t first = 0; first < a_.queries; first += kQueries) {
      const int64_t count = std::min(kQueries, a_.queries - first);
      panels::multiply({count, a_.channels, a_.keys, of(a_.q) + first * a_.q.row_stride, a_.q.row_stride, keys_.data(),
                        nullptr, 0, scores_.data(), a_.keys});
      float sums[kQueries];
      for (int64_t n = 0; n < count; ++n) sums[n] = exponentials(scores_.data() + n * a_.keys, a_.keys, a_.scale, bias);
      float* out = a_.out + (b * a_.queries + first) * out_stride + h * a_.channels;
      panels::multiply(
          {count, a_.keys, a_.channels, scores_.data(), a_.keys, values_.data(), nullptr, 0, out, out_stride});
      for (int64_t n = 0; n < count; ++n)
        for (int64_t c = 0; c < a_.channels; ++c) out[n * out_stride + c] /= sums[n];
    }
  }

 private:
  const Attention& a_;
  std::vector<float> keys_, values_, scores_;
};

}  // namespace

void attend(const Attention& a) {
  at::parallel_for(0, a.batch * a.heads, 1, [&](int64_t begin, int64_t end) {
    HeadWork work(a);
    for (int64_t i = begin; i < end; ++i) work(i / a.heads, i % a.heads);
  });
}

}  // namespace crescendo
