#include "crescendo/tokenizer/codebook.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {
constexpr int64_t kRowsAtOnce = 4096;  // similarities of these rows with all codes are in memory at a time
}

Tensor unit_vectors(const Tensor& vectors) {
  return vectors / at::linalg_vector_norm(vectors, 2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
}

Tensor nearest_codes(const Tensor& vectors, const Tensor& codebook) {
  const at::NoGradGuard no_grad;
  check(vectors.dim() == 2 && codebook.dim() == 2 && vectors.size(1) == codebook.size(1), "codebook: vectors ",
        vectors.sizes(), " do not fit codes ", codebook.sizes());
  const Tensor by_column = codebook.t();
  std::vector<Tensor> codes;
  // Among vectors of length 1 the nearest is the one with the largest product.
  for (int64_t first = 0; first < vectors.size(0); first += kRowsAtOnce)
    codes.push_back(at::matmul(vectors.slice(0, first, first + kRowsAtOnce), by_column).argmax(1));
  return codes.empty() ? at::empty({0}, vectors.options().dtype(at::kLong)) : at::cat(codes);
}

CodeUse code_use(const Tensor& codes, int64_t codebook_size) {
  const Tensor counts = at::bincount(codes.flatten().to(at::kCPU), {}, codebook_size).to(at::kDouble);
  const Tensor p = counts / counts.sum().clamp_min(1);
  const double entropy = -(p * p.clamp_min(1e-300).log()).sum().item<double>();
  return {static_cast<double>((counts > 0).sum().item<int64_t>()) / static_cast<double>(codebook_size),
          std::exp(entropy)};
}

CodebookAverage::CodebookAverage(Tensor codebook, CodebookLearning options)
    : codebook_(std::move(codebook)),
      options_(options),
      counts_(at::zeros({codebook_.size(0)}, codebook_.options())),
      sums_(at::zeros_like(codebook_)) {}

int64_t CodebookAverage::update(const Tensor& vectors, const Tensor& codes, Rng& rng) {
  const at::NoGradGuard no_grad;
  check(vectors.size(0) > 0 && vectors.size(0) == codes.size(0), "codebook: ", vectors.size(0), " vectors and ",
        codes.size(0), " codes");
  const int64_t size = codebook_.size(0);
  counts_.mul_(options_.decay).add_(at::bincount(codes, {}, size).to(counts_.scalar_type()), 1 - options_.decay);
  sums_.mul_(options_.decay).add_(at::zeros_like(sums_).index_add_(0, codes, vectors), 1 - options_.decay);

  const double mean = counts_.sum().item<double>() / static_cast<double>(size);
  const Tensor unused =
      begun_ ? (counts_ < options_.restart_below * mean).nonzero().flatten() : at::arange(size, codes.options());
  begun_ = true;
  if (const int64_t n = unused.size(0); n > 0) {
    std::vector<int64_t> rows(static_cast<size_t>(n));
    for (int64_t& row : rows) row = static_cast<int64_t>(rng.uniform() * static_cast<double>(vectors.size(0)));
    const Tensor fresh = vectors.index_select(0, at::tensor(rows).clamp_max(vectors.size(0) - 1).to(vectors.device()));
    counts_.index_fill_(0, unused, mean);
    sums_.index_copy_(0, unused, fresh * mean);
  }
  // A code that nothing has come to for long keeps its vector: what is left of its sum is rounding.
  const Tensor known = (counts_ > 1e-6 * mean).unsqueeze(1);
  codebook_.copy_(at::where(known, unit_vectors(sums_), codebook_));
  return unused.size(0);
}

}  // namespace crescendo
