// A codebook: vectors <-> codes, and how it learns (van den Oord et al. 2017, appendix A.1; vectors of length 1 as in
// ViT-VQGAN and LlamaGen).
#pragma once

#include "crescendo/core/rng.h"
#include "crescendo/core/tensor.h"

namespace crescendo {

// Vectors (..., C) scaled to length 1.
Tensor unit_vectors(const Tensor& vectors);
// The code of the nearest codebook vector: vectors (M, C) and codebook (N, C), all of length 1 -> (M) int64.
Tensor nearest_codes(const Tensor& vectors, const Tensor& codebook);

// How evenly codes are used.
struct CodeUse {
  double share = 0;       // of the codes that occur
  double perplexity = 0;  // exp of the entropy in nats: N where all occur equally often
};
CodeUse code_use(const Tensor& codes, int64_t codebook_size);

struct CodebookLearning {
  double decay = 0.99;         // of the running averages, per batch
  double restart_below = 0.1;  // a code whose running count falls below this share of the mean count starts anew
};

// Running averages of the vectors that each code stands for. Codes that are hardly used start anew from vectors of the
// batch; all of them do at the first batch.
class CodebookAverage {
 public:
  CodebookAverage(Tensor codebook, CodebookLearning options);
  // Vectors (M, C) of length 1 and their codes (M). Changes the codebook in place. Returns how many codes started anew.
  int64_t update(const Tensor& vectors, const Tensor& codes, Rng& rng);

 private:
  Tensor codebook_;  // (N, C), shared with its owner
  CodebookLearning options_;
  Tensor counts_, sums_;  // (N), (N, C)
  bool begun_ = false;
};

}  // namespace crescendo
