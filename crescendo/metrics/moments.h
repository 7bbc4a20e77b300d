// Rows of features, as they come -> their mean and covariance, in double.
//
// Blocks of a fixed number of rows are reduced to (count, mean, scatter) and joined by Chan, Golub & LeVeque's update,
// so that large means cost no digits. The result depends on the order of the rows and not on how they were handed over.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "crescendo/core/tensor.h"

namespace crescendo {

struct MeanCovariance {
  int64_t count = 0;  // rows; 0 where a file does not tell
  Tensor mean;        // (D) fp64, on the CPU
  Tensor covariance;  // (D, D) fp64, divided by count - 1

  int64_t dim() const { return mean.size(0); }
};

class Moments {
 public:
  explicit Moments(int64_t dim);
  // (B, D) of any floating type, on any device. Rows that are not finite are an error.
  void add(const Tensor& rows);
  // As if the rows of `other` followed; shards are joined so. Its count must be known.
  void merge(const MeanCovariance& other);

  int64_t dim() const { return mean_.size(0); }
  int64_t count() const { return count_ + waiting_; }
  // At least two rows must have come.
  MeanCovariance result() const;

 private:
  void join(int64_t count, const Tensor& mean, const Tensor& scatter);
  void reduce_waiting();

  int64_t count_ = 0;    // rows in mean_ and scatter_
  int64_t waiting_ = 0;  // rows in block_ that are not yet reduced
  Tensor mean_;          // (D)
  Tensor scatter_;       // (D, D), sum of (x - mean)(x - mean)^T
  Tensor block_;         // (kBlock, D)
};

// Of all rows at once, (N, D).
MeanCovariance mean_covariance(const Tensor& rows);

}  // namespace crescendo
