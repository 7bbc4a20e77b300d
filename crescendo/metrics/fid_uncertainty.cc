#include "crescendo/metrics/fid_uncertainty.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"

namespace crescendo {

namespace {

enum Stream : uint32_t { kBootstrap, kInfinity };  // of Draw::kOther

double distance_of(const FeatureMatrix& features, std::span<const int64_t> numbers, const FrechetReference& real) {
  constexpr size_t kRows = 4096;
  Moments moments(features.dim());
  for (size_t begin = 0; begin < numbers.size(); begin += kRows)
    moments.add(features.pick(numbers.subspan(begin, std::min(kRows, numbers.size() - begin))));
  return real.distance(moments.result()).value;
}

std::vector<int64_t> all_of(const FeatureMatrix& features) {
  std::vector<int64_t> numbers(static_cast<size_t>(features.count()));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

FidInterval fid_interval(const FeatureMatrix& generated, const FrechetReference& real,
                         const BootstrapOptions& options) {
  check_usage(options.resamples >= 2, "an interval needs at least 2 resamples, got ", options.resamples);
  check_usage(options.confidence > 0 && options.confidence < 1,
              "the confidence of an interval lies between 0 and 1, got ", options.confidence);
  std::vector<int64_t> numbers = all_of(generated);
  FidInterval out{.value = distance_of(generated, numbers, real)};
  for (int64_t i = 0; i < options.resamples; ++i) {
    Rng rng(options.seed, Draw::kOther, kBootstrap, static_cast<uint32_t>(i));
    for (int64_t& number : numbers) number = rng.below(generated.count());
    std::sort(numbers.begin(), numbers.end());  // a mapped file is read from front to back
    out.of_resamples.push_back(distance_of(generated, numbers, real));
  }
  const double mean = mean_of(out.of_resamples);
  double squares = 0;
  for (const double fid : out.of_resamples) squares += (fid - mean) * (fid - mean);
  out.deviation = std::sqrt(squares / static_cast<double>(options.resamples - 1));
  const double quantile =
      std::sqrt(2.0) * at::erfinv(at::scalar_tensor(options.confidence, at::kDouble)).item<double>();
  out.low = out.value - quantile * out.deviation;
  out.high = out.value + quantile * out.deviation;
  return out;
}

FidInfinity fid_infinity(const FeatureMatrix& generated, const FrechetReference& real,
                         const FidInfinityOptions& options) {
  check_usage(options.points >= 3, "a line with an error needs at least 3 points, got ", options.points);
  const int64_t all = generated.count(), first = std::min(options.smallest, all / 2);
  check_usage(first >= 2, generated.name(), ": the limit of FID needs sets of 2 pictures or more, got ", first, " of ",
              all);
  FidInfinity out;
  std::vector<double> x;  // 1 / N
  std::vector<int64_t> numbers = all_of(generated);
  for (int64_t i = 0; i < options.points; ++i) {
    const int64_t count = first + (all - first) * i / (options.points - 1);
    Rng(options.seed, Draw::kOther, kInfinity, static_cast<uint32_t>(i)).shuffle(std::span(numbers));
    std::vector<int64_t> taken(numbers.begin(), numbers.begin() + count);
    std::sort(taken.begin(), taken.end());
    out.counts.push_back(count);
    out.fids.push_back(distance_of(generated, taken, real));
    x.push_back(1 / static_cast<double>(count));
  }
  // Least squares.
  const double mean_x = mean_of(x), mean_y = mean_of(out.fids);
  double xx = 0, xy = 0, residues = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    xy += (x[i] - mean_x) * (out.fids[i] - mean_y);
  }
  out.slope = xy / xx;
  out.value = mean_y - out.slope * mean_x;
  for (size_t i = 0; i < x.size(); ++i) {
    const double residue = out.fids[i] - out.value - out.slope * x[i];
    residues += residue * residue;
  }
  const auto points = static_cast<double>(x.size());
  out.error = std::sqrt(residues / (points - 2) * (1 / points + mean_x * mean_x / xx));
  return out;
}

}  // namespace crescendo
