#include "crescendo/model/sequence.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

std::vector<VitBlock> make_blocks(const Scope& scope, const ModelConfig& c) {
  std::vector<VitBlock> blocks;
  for (int64_t i = 0; i < c.encoder_blocks + c.decoder_blocks; ++i)
    blocks.emplace_back(scope / i, BlockConfig{c.width, c.heads, c.attention_width(), c.mlp_ratio});
  return blocks;
}

std::vector<int64_t> ends(const std::vector<int64_t>& counts) {
  std::vector<int64_t> out{0};
  for (const int64_t n : counts) out.push_back(out.back() + n);
  return out;
}

}  // namespace

Sequence::Sequence(const Scope& s, const ModelConfig& c)
    : Conditions(s, c),
      config_(c),
      tokens_(c.step_tokens()),
      first_(ends(tokens_)),
      start_(is_raster() ? Tensor() : s.add("start", {1, 1, c.width}, Init::kNormal002)),
      level_(is_raster() ? Tensor()
                         : s.add("level_embed", {static_cast<int64_t>(tokens_.size()), c.width}, Init::kNormal002)),
      position_(s.add("encoder_pos_embed_learned", {1, c.buffer_size + first_.back() - (is_raster() ? 1 : 0), c.width},
                      Init::kNormal002)),
      diffusion_position_(s.add("diffusion_pos_embed_learned", {1, first_.back(), c.width}, Init::kNormal002)),
      z_proj_(s / "z_proj", c.token_channels(), c.width),
      z_proj_ln_(s / "z_proj_ln", c.width, 1e-6),
      blocks_(make_blocks(s / "blocks", c)),
      norm_(s / "norm", c.width, 1e-6) {}

Sequence Sequence::prepared(Products how) const {
  Sequence copy = *this;
  copy.z_proj_.prepare(how == Products::kInt8 ? Products::kPacked : how);
  for (VitBlock& block : copy.blocks_) block.prepare(how);
  return copy;
}

Tensor Sequence::entering(int64_t k, const Tensor& inputs) const {
  if (is_raster()) return z_proj_(inputs);  // (B, n, D)
  const Tensor rows =
      k == 0 ? start_.expand({inputs.size(0), tokens_[0], config_.width}) : z_proj_(inputs);  // (B, L_k, D)
  return rows + level_[k];
}

Tensor Sequence::bias(const Tensor& like) const {
  // The number of the step at which a row enters; that of the buffer is 0. A raster's token enters after its own step.
  const int64_t buffer = config_.buffer_size, rows = position_.size(1);
  const Tensor when = at::zeros({rows}, at::kLong);
  auto* step = when.data_ptr<int64_t>();
  for (size_t k = 0; k < tokens_.size(); ++k)
    for (int64_t i = first_[k]; i < first_[k + 1] && buffer + i < rows; ++i)
      step[buffer + i] = static_cast<int64_t>(k) + 1;
  const Tensor key = when.unsqueeze(0), query = when.unsqueeze(1);  // (1, M), (M, 1)
  const Tensor seen = config_.markov ? key.eq(0).logical_or(key.eq(query)) : key.le(query);
  const Tensor hidden = seen.logical_not().to(like.device()).view({1, 1, rows, rows});
  return at::zeros({1, 1, rows, rows}, like.options().requires_grad(false))
      .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
}

Tensor Sequence::run(const Tensor& x, const BlockInput& in, const Tensor& cache) const {
  ResidualStream stream{z_proj_ln_(x), {}};
  BlockInput own = in;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (cache.defined()) own.cache = cache[static_cast<int64_t>(i)];
    blocks_[i](stream, own);
  }
  return norm_(stream);
}

Tensor Sequence::forward(const Tensor& inputs, const Tensor& condition, BackboneDropout dropout) const {
  const int64_t batch = condition.size(0), buffer = config_.buffer_size, all = first_.back();
  check(inputs.dim() == 3 && inputs.size(1) == all - tokens_[0] && inputs.size(2) == config_.token_channels(),
        "inputs must be (B, ", all - tokens_[0], ", ", config_.token_channels(), "), got ", inputs.sizes());
  std::vector<Tensor> rows{condition.expand({batch, buffer, config_.width})};
  if (is_raster()) {
    rows.push_back(entering(1, inputs));
  } else {
    for (size_t k = 0; k < tokens_.size(); ++k)
      rows.push_back(entering(static_cast<int64_t>(k),
                              k == 0 ? inputs : inputs.slice(1, first_[k] - tokens_[0], first_[k + 1] - tokens_[0])));
  }
  const Tensor x = at::cat(rows, 1) + position_;  // (B, M, D)
  const Tensor out =
      run(x, {{}, bias(x), {dropout.attention, dropout.generator}, {dropout.projection, dropout.generator}});
  return out.slice(1, out.size(1) - all) + diffusion_position_;  // (B, L, D)
}

int64_t Sequence::step_rows(int64_t k) const {
  if (k > 0) return tokens_[static_cast<size_t>(k)];
  return config_.buffer_size + (is_raster() ? 0 : tokens_[0]);
}

Tensor Sequence::cache(int64_t batch) const {
  const int64_t rows = config_.buffer_size + (config_.markov ? *std::max_element(tokens_.begin(), tokens_.end())
                                                             : position_.size(1) - config_.buffer_size);
  return at::zeros({static_cast<int64_t>(blocks_.size()), 2, batch, rows, config_.attention_width()},
                   position_.options().requires_grad(false));
}

Tensor Sequence::step(int64_t k, const Tensor& inputs, const Tensor& condition, const Tensor& cache) const {
  const int64_t batch = condition.size(0), buffer = config_.buffer_size;
  const int64_t first = first_[static_cast<size_t>(k)], end = first_[static_cast<size_t>(k + 1)];
  Tensor out;
  if (k == 0) {
    const Tensor x = condition.expand({batch, buffer, config_.width}) + position_.slice(1, 0, buffer);
    out = run(x, {}, cache.slice(3, 0, buffer)).slice(1, buffer - 1);  // raster: (B, 1, D)
  }
  if (k > 0 || !is_raster()) {
    // Where the step's rows stand in the sequence, and in the cache, which a markov model writes anew.
    const int64_t place = buffer + first - (is_raster() ? 1 : 0), rows = end - first;
    const int64_t behind = config_.markov ? buffer : place;
    const Tensor given = k == 0 ? condition : inputs;  // at k = 0 only their number counts
    out = run(entering(k, given) + position_.slice(1, place, place + rows), {}, cache.slice(3, 0, behind + rows));
  }
  return out + diffusion_position_.slice(1, first, end);  // (B, n, D)
}

}  // namespace crescendo
