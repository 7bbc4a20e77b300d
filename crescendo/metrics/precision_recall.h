// Do the generated pictures lie where real ones do, and are all real ones reached? Improved precision and recall
// (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020), all from balls around features.
//
// The ball of a feature reaches to its k-th neighbour in its own set, itself not counted, border included.
//   precision  share of generated features inside any real ball
//   recall     share of real features inside any generated ball
//   density    mean over generated features of the number of real balls around each, over k
//   coverage   share of real balls that hold a generated feature
// Distances are taken block by block: memory does not grow with N1 N2.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "crescendo/core/enums.h"
#include "crescendo/metrics/feature_matrix.h"

namespace crescendo {

enum class NeighbourDistance {
  kFp32,     // squared Euclidean distance in fp32, of centred features
  kAdmFp16,  // as ADM's evaluator: features, products and sums rounded to fp16; a block that overflows in fp32
};
constexpr auto enum_table(NeighbourDistance) {
  return std::array{EnumName{NeighbourDistance::kFp32, "fp32"}, EnumName{NeighbourDistance::kAdmFp16, "adm-fp16"}};
}

struct PrecisionRecallOptions {
  int64_t k = 3;
  NeighbourDistance distance = NeighbourDistance::kFp32;
  at::Device device = at::kCPU;  // where distances are computed
  int64_t block = 4096;          // features of either set at once, 4 block^2 bytes of distances
};

struct PrecisionRecall {
  int64_t real = 0, generated = 0;  // features
  int64_t precise = 0;              // generated ones inside a real ball
  int64_t recalled = 0;             // real ones inside a generated ball
  int64_t covered = 0;              // real balls that hold a generated one
  double precision = 0, recall = 0, density = 0, coverage = 0;
  double f_score() const { return precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0; }
};

// Each set needs more than k features.
PrecisionRecall precision_recall(const FeatureMatrix& real, const FeatureMatrix& generated,
                                 const PrecisionRecallOptions& options = {});

struct ClassPrecisionRecall {
  int64_t class_id = 0;
  PrecisionRecall score{};
};
// Of each class by itself, by ascending id. A class that has k features or fewer on a side is left out.
std::vector<ClassPrecisionRecall> precision_recall_by_class(const FeatureMatrix& real,
                                                            std::span<const int64_t> real_labels,
                                                            const FeatureMatrix& generated,
                                                            std::span<const int64_t> generated_labels,
                                                            const PrecisionRecallOptions& options = {});

}  // namespace crescendo
