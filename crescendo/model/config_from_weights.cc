#include "crescendo/model/config_from_weights.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

constexpr int64_t kTextHeadDim = 64;

// The shape called for by name; the number of dimensions is checked.
class Shapes {
 public:
  Shapes(const TensorMap& weights, const std::string& source) : weights_(weights), source_(source) {}

  bool has(const std::string& name) const { return weights_.contains(name); }
  at::IntArrayRef of(const std::string& name, int64_t dims) const {
    const auto it = weights_.find(name);
    check(it != weights_.end(), source_, " holds no FAR or MAR model: it has no tensor ", name);
    check(it->second.dim() == dims && it->second.numel() > 0, source_, ": ", name, " must have ", dims,
          " dimensions, got ", it->second.sizes());
    return it->second.sizes();
  }
  // One more than the highest N among the names "PREFIX.N.*", so that a gap shows as missing tensors.
  int64_t count(const std::string& prefix) const {
    int64_t count = 0;
    for (auto it = weights_.lower_bound(prefix + "."); it != weights_.end() && it->first.starts_with(prefix + ".");
         ++it) {
      int32_t index = 0;
      const char* begin = it->first.data() + prefix.size() + 1;
      const auto [end, error] = std::from_chars(begin, it->first.data() + it->first.size(), index);
      if (error == std::errc() && *end == '.') count = std::max<int64_t>(count, index + 1);
    }
    return count;
  }
  // a / b where it is a whole number.
  int64_t ratio(int64_t a, int64_t b, const char* what) const {
    check(b > 0 && a % b == 0, source_, ": ", what, " is ", a, ", no multiple of ", b);
    return a / b;
  }

 private:
  const TensorMap& weights_;
  const std::string& source_;
};

int64_t square_root(int64_t n) { return std::llround(std::sqrt(static_cast<double>(n))); }
bool is_square(int64_t n) { return square_root(n) * square_root(n) == n; }

int64_t preset_heads(const ModelConfig& c) {
  for (const ModelPreset& p : kModelPresets)
    if (p.width == c.width && p.blocks == c.encoder_blocks && p.blocks == c.decoder_blocks) return p.heads;
  return 0;
}

}  // namespace

std::string_view telling_name(WeightsKind kind) {
  switch (kind) {
    case WeightsKind::kModel:
      return "encoder_pos_embed_learned";
    case WeightsKind::kTokenizer:
      return "encoder.conv_in.weight";
    case WeightsKind::kTextEncoder:
    case WeightsKind::kOther:
      break;
  }
  fail("weights of kind ", static_cast<int>(kind), " have no tensor that tells them");
}

WeightsKind weights_kind(const TensorMap& weights) {
  for (const WeightsKind kind : {WeightsKind::kModel, WeightsKind::kTokenizer})
    if (weights.contains(std::string(telling_name(kind)))) return kind;
  if (weights.contains("model.embed_tokens.weight") || weights.contains("embed_tokens.weight"))
    return WeightsKind::kTextEncoder;
  return WeightsKind::kOther;
}

ModelConfig model_config_from(const TensorMap& weights, const std::string& source, int64_t heads,
                              int64_t latent_channels) {
  const Shapes shapes(weights, source);
  ModelConfig c;
  const bool text = shapes.has("context_embed.weight");
  c.conditioning = text ? Conditioning::kText : Conditioning::kClass;
  // Only FAR tells the head its level.
  c.order = text || shapes.has("diffloss.net.index_cond_embed.weight") ? Order::kFar : Order::kMar;
  c.width = shapes.of("mask_token", 3)[2];
  c.encoder_blocks = shapes.count("encoder_blocks");
  c.decoder_blocks = shapes.count("decoder_blocks");
  const std::string block = c.encoder_blocks > 0 ? "encoder_blocks.0." : "decoder_blocks.0.";
  c.mlp_ratio = shapes.ratio(shapes.of(block + (text ? "ff.net.0.proj.weight" : "mlp.fc1.weight"), 2)[0], c.width,
                             "the hidden width of a block");

  const int64_t tokens = shapes.of("diffusion_pos_embed_learned", 3)[1];
  c.buffer_size = shapes.of("encoder_pos_embed_learned", 3)[1] - tokens;
  const int64_t token_channels = shapes.of("z_proj.weight", 2)[1];
  check(is_square(tokens), source, ": ", tokens,
        " tokens are no square; the sides of the latent must stand in a config");
  const bool patched =
      latent_channels > 0 && token_channels % latent_channels == 0 && is_square(token_channels / latent_channels);
  c.patch = patched ? square_root(token_channels / latent_channels) : 1;
  c.latent_channels = token_channels / (c.patch * c.patch);
  c.latent_height = c.latent_width = square_root(tokens) * c.patch;
  c.levels = std::min(c.levels, c.latent_height);

  c.diffusion_width = shapes.of("diffloss.net.input_proj.weight", 2)[0];
  c.diffusion_blocks = shapes.count("diffloss.net.res_blocks");
  if (text) {
    c.text_hidden = shapes.of("context_embed.weight", 2)[1];
    c.text_length = shapes.of("fake_latent", 3)[1];
    c.classes = 0;
    const int64_t attention = shapes.of(block + "attn1.to_q.weight", 2)[0];
    c.head_dim = heads > 0 ? shapes.ratio(attention, heads, "the width of the attention") : kTextHeadDim;
    c.heads = shapes.ratio(attention, c.head_dim, "the width of the attention");
  } else {
    c.classes = shapes.of("class_emb.weight", 2)[0];
    c.heads = heads > 0 ? heads : preset_heads(c);
  }
  return c;
}

}  // namespace crescendo
