#include "crescendo/metrics/nearest.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "crescendo/core/check.h"

namespace crescendo {

std::vector<std::vector<int64_t>> nearest_rows(const FeatureMatrix& of, int64_t count, const FeatureMatrix& among,
                                               int64_t k) {
  constexpr int64_t kBlock = 4096;
  check_usage(of.dim() == among.dim(), of.name(), " has dimension ", of.dim(), ", ", among.name(), " ", among.dim(),
              ": their distances mean nothing");
  count = std::min(count, of.count());
  k = std::min(k, among.count());
  const Tensor rows = of.rows(0, count, at::kDouble);
  Tensor best, numbers;  // (count, up to k)
  for (int64_t begin = 0; begin < among.count(); begin += kBlock) {
    const int64_t end = std::min(among.count(), begin + kBlock);
    Tensor distances = at::cdist(rows, among.rows(begin, end, at::kDouble), 2, /*compute_mode=*/2);  // (count, block)
    Tensor here = at::arange(begin, end, at::kLong).expand_as(distances);
    if (best.defined()) {
      distances = at::cat({best, distances}, 1);
      here = at::cat({numbers, here}, 1);
    }
    const auto [values, places] = distances.topk(std::min(k, distances.size(1)), 1, /*largest=*/false);
    best = values;
    numbers = here.gather(1, places);
  }
  std::vector<std::vector<int64_t>> out;
  for (int64_t i = 0; i < count; ++i) {
    const Tensor row = numbers[i].contiguous();
    out.emplace_back(row.data_ptr<int64_t>(), row.data_ptr<int64_t>() + row.numel());
  }
  return out;
}

}  // namespace crescendo
