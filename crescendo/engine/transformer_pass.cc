#include "crescendo/engine/transformer_pass.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "crescendo/engine/row_partition.h"

namespace crescendo {

namespace {

// Up to this size a packed copy of the weights costs little memory, and every thread can read all of them.
constexpr int64_t kMaxPackedBytes = 128 << 20;

// Number of ranges of images, of `tokens` rows each: one a thread, where all threads get the same number or nearly so;
// else 1.
int64_t image_ranges(int64_t images, int64_t tokens, at::Device device) {
  constexpr int64_t kMostRows = 256;  // tokens whose intermediate results stay in the second-level cache
  const int64_t threads = at::get_num_threads();
  const bool even = images % threads == 0 || images >= 4 * threads;
  if (!device.is_cpu() || !even || at::in_parallel_region()) return 1;
  return partition_count(images, threads, std::max<int64_t>(1, kMostRows / std::max<int64_t>(1, tokens)));
}

// work(first, end) -> results of these images; of all of them, each range in a thread of its own.
template <class Work>
Tensor by_ranges(int64_t images, int64_t ranges, const Work& work) {
  if (ranges == 1) return work(0, images);
  std::vector<Tensor> results(static_cast<size_t>(ranges));
  for_each_range(images, ranges, [&](int64_t range, int64_t first, int64_t end) {
    results[static_cast<size_t>(range)] = work(first, end);
  });
  return at::cat(results);
}

Transformer prepared(const FarModel& model, Products how) {
  return std::visit([&](const auto& t) -> Transformer { return t.prepared(how); }, model.transformer());
}

}  // namespace

TransformerPass::TransformerPass(const FarModel& model, const Execution& execution)
    : plain_(execution.plain),
      small_(!plain_ && model.params().bytes() <= kMaxPackedBytes),
      transformer_(plain_ ? model.transformer()
                          : prepared(model, execution.int8 ? Products::kInt8
                                            : small_       ? Products::kPacked
                                                           : Products::kInPlace)),
      graphs_(plain_ ? GraphFactory() : execution.graphs) {}

Tensor TransformerPass::run(const Tensor& tokens, const Tensor& condition, const TokenMask& mask) {
  const auto inputs = [&]() -> std::vector<Tensor> { return {tokens, condition, mask.missing}; };
  const auto work = [this, visible = mask.visible, even = mask.even](const std::vector<Tensor>& in) {
    return std::get<Backbone>(transformer_).forward(in[0], in[1], {in[2], visible, even});
  };
  const auto z = graphs_.run({tokens.size(0), mask.any() ? mask.visible : -1}, tokens.device(), inputs, work);
  if (z) return *z;
  const int64_t images = tokens.size(0), ranges = small_ ? image_ranges(images, tokens.size(1), tokens.device()) : 1;
  return by_ranges(images, ranges, [&](int64_t first, int64_t end) {
    const auto own = [&](const Tensor& t) { return t.defined() ? t.slice(0, first, end) : t; };
    return work({own(tokens), own(condition), own(mask.missing)});
  });
}

Tensor TransformerPass::step(int64_t k, const Tensor& inputs, const Tensor& condition, const Tensor& cache) const {
  const auto& sequence = std::get<Sequence>(transformer_);
  const int64_t images = condition.size(0);
  const int64_t ranges = small_ ? image_ranges(images, sequence.step_rows(k), condition.device()) : 1;
  return by_ranges(images, ranges, [&](int64_t first, int64_t end) {
    return sequence.step(k, inputs.defined() ? inputs.slice(0, first, end) : inputs, condition.slice(0, first, end),
                         cache.slice(2, first, end));
  });
}

Tensor TransformerPass::run_shared(const Tensor& tokens, const Tensor& condition, const TokenMask& mask) {
  if (plain_) return run(tokens, condition, mask);
  // On the CPU: sorting a few rows takes a GPU milliseconds.
  const Tensor asked = condition.flatten(1).to(at::kCPU);
  const Tensor which = std::get<1>(at::unique_dim(asked, 0, /*sorted=*/true, /*return_inverse=*/true));  // (B)
  const int64_t distinct = which.max().item<int64_t>() + 1;
  const Tensor one_each =
      at::zeros({distinct}, which.options()).scatter_(0, which, at::arange(which.size(0), which.options()));
  const Tensor conditions = asked.index_select(0, one_each);
  if (!shared_ || shared_->masked != mask.any() || !at::equal(shared_->conditions, conditions)) {
    const Tensor images = one_each.to(condition.device());
    TokenMask own = mask;
    if (mask.any()) own.missing = mask.missing.index_select(0, images);
    shared_ =
        Shared{conditions, run(tokens.index_select(0, images), condition.index_select(0, images), own), mask.any()};
  }
  return shared_->z.index_select(0, which.to(condition.device()));
}

}  // namespace crescendo
