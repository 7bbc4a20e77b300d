#include "crescendo/model/config.h"

#include <algorithm>
#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/core/join.h"

namespace crescendo {

void ModelConfig::read_older(Json& config) {
  const auto it = config.find("kind");
  if (it == config.end()) return;
  const std::string kind = it->is_string() ? it->get<std::string>() : it->dump();
  const size_t dash = kind.find('-');
  check_usage(dash != std::string::npos, "model.kind must be far-class, far-text or mar-class, got '", kind, "'");
  config.erase(it);
  config.emplace("order", kind.substr(0, dash));
  config.emplace("conditioning", kind.substr(dash + 1));
}

std::vector<int64_t> ModelConfig::sides() const {
  if (!scales.empty()) return scales;
  std::vector<int64_t> out;
  for (int64_t side = patch; side < latent_height; side *= 2) out.push_back(side);
  out.push_back(latent_height);
  return out;
}

std::vector<int64_t> ModelConfig::step_tokens() const {
  if (order == Order::kRaster) return std::vector<int64_t>(static_cast<size_t>(tokens()), 1);
  std::vector<int64_t> out = sides();
  for (int64_t& side : out) side = (side / patch) * (side / patch);
  return out;
}

namespace {

// What a model of next scales may be, and what no other may say.
void check_scales(const ModelConfig& m) {
  if (m.order != Order::kNextScale) {
    check(m.scales.empty() && m.scale_std.empty() && !m.residual && !m.markov,
          "model: scales, residual, scale_std and markov belong to the order next-scale, and this model's is ",
          enum_name(m.order));
    return;
  }
  check(m.latent_height == m.latent_width, "model: the order next-scale needs a square latent, got ", m.latent_height,
        " x ", m.latent_width);
  const std::vector<int64_t> sides = m.sides();
  for (size_t k = 0; k < sides.size(); ++k) {
    check(sides[k] >= m.patch && sides[k] % m.patch == 0, "model: scales must be multiples of the patch, ", m.patch,
          ", got ", sides[k]);
    check(k == 0 || sides[k] > sides[k - 1], "model: scales must increase, got ", sides[k], " after ",
          k == 0 ? 0 : sides[k - 1]);
  }
  check(sides.back() == m.latent_height, "model: scales must end at the side of the latent, ", m.latent_height,
        ", got ", sides.back());
  check(m.scale_std.empty() || m.scale_std.size() == sides.size(), "model: scale_std needs a number for each of the ",
        sides.size(), " scales, got ", m.scale_std.size());
  for (const double c : m.scale_std) check(std::isfinite(c) && c > 0, "model: scale_std must be above 0, got ", c);
}

}  // namespace

void ModelConfig::validate() const {
  const auto positive = [](const char* name, int64_t value, int64_t most) {
    check(value >= 1 && value <= most, "model: ", name, " must be in 1..", most, ", got ", value);
  };
  positive("width", width, 1 << 16);
  positive("heads", heads, 1 << 10);
  positive("mlp_ratio", mlp_ratio, 64);
  positive("diffusion_width", diffusion_width, 1 << 16);
  positive("diffusion_blocks", diffusion_blocks, 1 << 10);
  positive("latent_channels", latent_channels, 1 << 12);
  positive("latent_height", latent_height, 1 << 12);
  positive("latent_width", latent_width, 1 << 12);
  positive("patch", patch, std::min(latent_height, latent_width));
  positive("levels", levels, std::min(latent_height, latent_width));
  check(visible_level >= 0 && visible_level <= levels, "model: visible_level must be in 0..", levels, ", got ",
        visible_level);
  check(order == Order::kFar || (visible_level == 0 && predicts == Target::kClean),
        "model: ", order == Order::kMar ? "MAR" : "the order " + enum_name(order),
        " has no frequency levels, so visible_level must be 0 and predicts clean, got ", visible_level, " and ",
        enum_name(predicts));
  check(encoder_blocks >= 0 && decoder_blocks >= 0 && encoder_blocks + decoder_blocks <= 1 << 10,
        "model: encoder_blocks and decoder_blocks must be in 0..1024, got ", encoder_blocks, " and ", decoder_blocks);
  check(head_dim >= 0 && head_dim <= 1 << 12, "model: head_dim must be in 0..4096, got ", head_dim);
  check(head_dim > 0 || width % heads == 0, "model: width ", width, " is not a multiple of heads ", heads);
  check(latent_height % patch == 0 && latent_width % patch == 0, "model: patch ", patch, " does not divide the latent ",
        latent_height, " x ", latent_width);
  check_scales(*this);
  check(!is_sequence() || !is_text(), "model: the order ", enum_name(order), " is conditioned on a class, not on text");
  if (is_text()) {
    positive("text_hidden", text_hidden, 1 << 16);
    positive("text_length", text_length, 1 << 16);
    check(buffer_size == 0, "model: a text model has no class rows, so buffer_size must be 0, got ", buffer_size);
  } else {
    positive("classes", classes, 1 << 24);
    positive("buffer_size", buffer_size, 1 << 12);
  }
}

ModelConfig model_preset(std::string_view name) {
  std::vector<std::string> names;
  for (const ModelPreset& p : kModelPresets) {
    names.emplace_back(p.name);
    if (p.name != name) continue;
    ModelConfig c;
    c.order = name.starts_with("mar") ? Order::kMar : Order::kFar;
    c.width = p.width;
    c.encoder_blocks = c.decoder_blocks = p.blocks;
    c.heads = p.heads;
    c.diffusion_blocks = p.diffusion_blocks;
    c.diffusion_width = p.diffusion_width;
    if (p.name == "far-t2i") {
      c.conditioning = Conditioning::kText;
      c.buffer_size = c.classes = 0;
      c.head_dim = 64;
      c.text_hidden = 1536;
      c.text_length = 300;
    }
    return c;
  }
  usage_error("no model preset '", name, "'; there are ", join(names));
}

}  // namespace crescendo
