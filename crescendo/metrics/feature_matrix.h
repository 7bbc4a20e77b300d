// Features of a whole set of pictures, (N, D), in memory or in a mapped .npy file: a row is a picture.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "crescendo/core/tensor.h"

namespace crescendo {

class FeatureMatrix {
 public:
  FeatureMatrix() = default;  // holds nothing
  // (N, D) of fp16, fp32 or fp64. `name` is what messages call it.
  explicit FeatureMatrix(Tensor rows, std::string name = "the features");
  // An .npy file; rows are read when they are asked for.
  static FeatureMatrix open(const std::filesystem::path& npy);

  bool defined() const { return rows_.defined(); }
  int64_t count() const { return rows_.size(0); }
  int64_t dim() const { return rows_.size(1); }
  const std::string& name() const { return name_; }
  const Tensor& tensor() const { return rows_; }  // as stored; write_npy() takes it

  // Rows begin..end-1 in `dtype`; a view where they are stored so. Values that are not finite are an error.
  Tensor rows(int64_t begin, int64_t end, at::ScalarType dtype = at::kFloat) const;
  // The rows of the given numbers, in their order.
  Tensor pick(std::span<const int64_t> numbers, at::ScalarType dtype = at::kFloat) const;
  FeatureMatrix subset(std::span<const int64_t> numbers) const;

 private:
  Tensor rows_;
  std::string name_;
};

// Gathers rows as they come. Memory is taken for `expected` rows at once, and grows where more come.
class FeatureRows {
 public:
  explicit FeatureRows(int64_t expected, at::ScalarType dtype = at::kFloat) : expected_(expected), dtype_(dtype) {}
  void add(const Tensor& rows);  // (B, D), on any device
  int64_t count() const { return count_; }
  // Leaves nothing behind.
  FeatureMatrix finish(std::string name = "the features");

 private:
  int64_t expected_, count_ = 0;
  at::ScalarType dtype_;
  Tensor rows_;  // (capacity, D)
};

}  // namespace crescendo
