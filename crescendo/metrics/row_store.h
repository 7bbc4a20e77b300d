// Rows that are too many for memory -> a file of fp32, mapped when all are there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "crescendo/metrics/feature_matrix.h"

namespace crescendo {

class RowStore {
 public:
  // Begins the file, or goes on with it behind its first `kept` rows; what follows those is cut off.
  RowStore(std::filesystem::path file, int64_t dim, int64_t kept = 0);
  void add(const Tensor& rows);  // (B, dim), on any device
  int64_t count() const { return count_; }
  // Puts what was added so far into the file, so that a later run can keep it.
  void flush();
  // The rows (count, dim), read from the file as they are asked for. `name` is what messages call them.
  FeatureMatrix finish(std::string name);

 private:
  std::filesystem::path file_;
  int64_t dim_, count_;
  std::ofstream out_;
};

}  // namespace crescendo
