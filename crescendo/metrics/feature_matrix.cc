#include "crescendo/metrics/feature_matrix.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/core/finite.h"
#include "crescendo/io/npz.h"

namespace crescendo {

FeatureMatrix::FeatureMatrix(Tensor rows, std::string name) : rows_(std::move(rows)), name_(std::move(name)) {
  check(rows_.dim() == 2 && rows_.size(1) > 0, name_, ": features must be (pictures, dimension), got ", rows_.sizes());
  const at::ScalarType dtype = rows_.scalar_type();
  check(dtype == at::kHalf || dtype == at::kFloat || dtype == at::kDouble, name_,
        ": features must be float16, float32 or float64, got ", dtype_name(dtype));
}

FeatureMatrix FeatureMatrix::open(const std::filesystem::path& npy) {
  return FeatureMatrix(read_npy(npy), npy.string());
}

Tensor FeatureMatrix::rows(int64_t begin, int64_t end, at::ScalarType dtype) const {
  const Tensor taken = rows_.slice(0, begin, end).to(dtype);
  check_finite(taken, "features", name_);
  return taken;
}

Tensor FeatureMatrix::pick(std::span<const int64_t> numbers, at::ScalarType dtype) const {
  const Tensor index = at::tensor(at::ArrayRef<int64_t>(numbers.data(), numbers.size()), at::kLong);
  const Tensor taken = rows_.index_select(0, index.to(rows_.device())).to(dtype);
  check_finite(taken, "features", name_);
  return taken;
}

FeatureMatrix FeatureMatrix::subset(std::span<const int64_t> numbers) const {
  return FeatureMatrix(pick(numbers, rows_.scalar_type()), name_);
}

void FeatureRows::add(const Tensor& rows) {
  check(rows.dim() == 2 && (!rows_.defined() || rows.size(1) == rows_.size(1)), "feature rows: must be (B, ",
        rows_.defined() ? rows_.size(1) : 0, "), got ", rows.sizes());
  const int64_t needed = count_ + rows.size(0);
  if (!rows_.defined() || needed > rows_.size(0)) {
    const int64_t capacity = std::max({needed, expected_, rows_.defined() ? 2 * count_ : 0});
    Tensor larger = at::empty({capacity, rows.size(1)}, dtype_);
    if (count_ > 0) larger.narrow(0, 0, count_).copy_(rows_.narrow(0, 0, count_));
    rows_ = std::move(larger);
  }
  rows_.narrow(0, count_, rows.size(0)).copy_(rows.detach());
  count_ = needed;
}

FeatureMatrix FeatureRows::finish(std::string name) {
  check(count_ > 0, name, ": no picture has been looked at");
  return FeatureMatrix(std::exchange(rows_, {}).narrow(0, 0, std::exchange(count_, 0)), std::move(name));
}

}  // namespace crescendo
