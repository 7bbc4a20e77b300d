#include "crescendo/metrics/inception_score.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/metrics/numpy_random.h"

namespace crescendo {

namespace {

// exp of the mean over pictures of sum_k p log p - p log mean(p), of rows that `read(begin, end)` gives in double. The
// second sum is that of mean(p) log mean(p), so one pass is enough.
double score_of(int64_t begin, int64_t end, const std::function<Tensor(int64_t, int64_t)>& read) {
  constexpr int64_t kRows = 2048;
  Tensor mean;
  double negative_entropy = 0;
  for (int64_t at = begin; at < end; at += kRows) {
    const Tensor log_p = read(at, std::min(at + kRows, end)).log_softmax(1);
    const Tensor p = log_p.exp();
    negative_entropy += (p * log_p).sum().item<double>();
    mean = mean.defined() ? mean + p.sum(0) : p.sum(0);
  }
  const auto count = static_cast<double>(end - begin);
  mean /= count;
  return std::exp(negative_entropy / count - at::xlogy(mean, mean).sum().item<double>());
}

InceptionScore summary_of(std::vector<double> of_splits) {
  const auto count = static_cast<double>(of_splits.size());
  InceptionScore out{.of_splits = std::move(of_splits)};
  out.mean = std::accumulate(out.of_splits.begin(), out.of_splits.end(), 0.0) / count;
  double squares = 0;
  for (const double score : out.of_splits) squares += (score - out.mean) * (score - out.mean);
  out.deviation = std::sqrt(squares / count);
  return out;
}

}  // namespace

InceptionScore inception_score(const FeatureMatrix& logits, int64_t splits, std::optional<uint32_t> shuffle_seed) {
  const int64_t count = logits.count();
  check_usage(splits >= 1 && splits <= count, "the Inception Score of ", count, " pictures cannot have ", splits,
              " splits; give 1 to ", count);
  std::vector<int64_t> order;
  if (shuffle_seed) order = NumpyRandom(*shuffle_seed).permutation(count);
  const auto read = [&](int64_t begin, int64_t end) {
    if (order.empty()) return logits.rows(begin, end, at::kDouble);
    return logits.pick(std::span(order).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
                       at::kDouble);
  };
  std::vector<double> of_splits;
  for (int64_t i = 0; i < splits; ++i)
    of_splits.push_back(score_of(i * count / splits, (i + 1) * count / splits, read));
  return summary_of(std::move(of_splits));
}

InceptionScore inception_score_in_order(const FeatureMatrix& logits, int64_t part) {
  check_usage(part >= 1, "parts of the Inception Score need at least 1 picture, got ", part);
  std::vector<double> of_splits;
  for (int64_t begin = 0; begin < logits.count(); begin += part)
    of_splits.push_back(score_of(begin, std::min(begin + part, logits.count()),
                                 [&](int64_t from, int64_t to) { return logits.rows(from, to, at::kDouble); }));
  check(!of_splits.empty(), logits.name(), ": no logits, so no Inception Score");
  return summary_of(std::move(of_splits));
}

}  // namespace crescendo
