#include "crescendo/text/qwen2.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/io/safetensors.h"

namespace crescendo {

namespace {

constexpr std::array kArchitectures{"Qwen2ForCausalLM",
                                    "Qwen2Model",
                                    "Qwen2VLForConditionalGeneration",
                                    "Qwen2VLModel",
                                    "Qwen2_5_VLForConditionalGeneration",
                                    "Qwen2_5_VLModel"};
constexpr std::array kModelTypes{"qwen2", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"};
constexpr const char* kEmbeddingName = "model.embed_tokens.weight";
constexpr int64_t kLargestSize = int64_t{1} << 31;  // guards products of sizes

template <class List>
void check_known(const List& known, const Json& name, const std::string& what) {
  check(name.is_string() && std::find(known.begin(), known.end(), name.get<std::string>()) != known.end(), what, " ",
        json_text(name).substr(0, 80), " is not supported; supported are ", json_text(Json(known)));
}

bool is_set(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && !it->is_null();
}

// The parts of a checkpoint that a text encoder has no use for: output heads, and what reads pictures or sound.
bool is_unused(const std::string& name) {
  constexpr std::array kParts{
      "visual.",       "vision_tower.", "vision_model.", "audio_tower.", "multi_modal_projector.",
      "mm_projector.", "lm_head.",      "score."};
  const bool other = std::any_of(kParts.begin(), kParts.end(), [&](const std::string& part) {
    return name.starts_with(part) || name.find("." + part) != std::string::npos;
  });
  return other || name.ends_with("rotary_emb.inv_freq");
}

// Rotary positions as they are: "mrope" turns text alone as the default does. What would turn them otherwise is named.
void check_rope(const Json& json, const std::string& where) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!is_set(json, key)) continue;
    const Json& rope = json[key];
    check(rope.is_object(), where, ": ", key, " must be an object, got ", json_text(rope).substr(0, 80));
    for (const char* type : {"rope_type", "type"})
      if (is_set(rope, type)) check_known(std::array{"default", "mrope"}, rope[type], where + ": " + key);
    const bool typed = is_set(rope, "rope_type") || is_set(rope, "type");
    check(typed || !is_set(rope, "factor") || rope["factor"] == Json(1) || rope["factor"] == Json(1.0), where, ": ",
          key, " with the factor ", json_text(rope.value("factor", Json())), " is not supported");
  }
}

// The tensors of a file under the published names ("model.layers.0..."), without those that a text encoder does not
// use. What stands before the embedding's name in the file stands before all of them: "", "model." or
// "model.language_model.".
TensorMap with_published_names(const TensorMap& source, const std::string& where) {
  constexpr std::string_view kEmbedding = "embed_tokens.weight";
  std::vector<std::string> prefixes;
  for (const auto& [name, tensor] : source)
    if (name.ends_with(kEmbedding) && !is_unused(name))
      prefixes.push_back(name.substr(0, name.size() - kEmbedding.size()));
  check(prefixes.size() <= 1, where, " holds more than one '", kEmbedding, "'");
  check(!prefixes.empty(), where, " lacks the tensor 'model.embed_tokens.weight'; is it a Qwen2 model?");
  const std::string& prefix = prefixes[0];
  TensorMap weights;
  for (const auto& [name, tensor] : source) {
    if (is_unused(name)) continue;
    const std::string published = name.starts_with(prefix) ? "model." + name.substr(prefix.size()) : name;
    check(weights.emplace(published, tensor).second, where, " holds both '", prefix, published.substr(6), "' and '",
          published, "'");
  }
  return weights;
}

// x * cos + rotate_half(x) * sin: channel i turns with channel i + d/2 (Su et al. 2021, in Hugging Face's channel
// order).
Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin) {  // (B, N, heads, d), (N, 1, d/2)
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1);
}

}  // namespace

Qwen2Config Qwen2Config::from_json(const Json& root, const std::string& where) {
  check(root.is_object(), where, " must be an object");
  check(is_set(root, "architectures") || is_set(root, "model_type"), where,
        " has no 'architectures' and no 'model_type'");
  if (is_set(root, "architectures")) {
    const Json& list = root["architectures"];
    check(list.is_array() && !list.empty(), where, ": 'architectures' must be a list, got ",
          json_text(list).substr(0, 80));
    check_known(kArchitectures, list[0], where + ": architecture");
  }
  if (is_set(root, "model_type")) check_known(kModelTypes, root["model_type"], where + ": model_type");
  // Newer files of models with a vision tower keep the text tower's sizes in an object of their own.
  const Json& json = is_set(root, "text_config") ? root["text_config"] : root;
  check(json.is_object(), where, ": 'text_config' must be an object");
  check(!is_set(root, "quantization_config"), where, ": quantized weights ('quantization_config') are not supported");

  Qwen2Config config;
  std::string missing;
  const auto read = [&](const Json& from, const char* key, auto& value) {
    if (!is_set(from, key)) {
      missing += concat(missing.empty() ? "" : ", ", key);
      return;
    }
    const Json& item = from[key];
    using T = std::decay_t<decltype(value)>;
    const bool fits = std::is_same_v<T, int64_t> ? item.is_number_integer() : item.is_number();
    check(fits, where, ": '", key, "' must be a ", std::is_same_v<T, int64_t> ? "whole number" : "number", ", got ",
          json_text(item).substr(0, 80));
    value = item.get<T>();
  };
  read(json, "hidden_size", config.hidden_size);
  read(json, "intermediate_size", config.intermediate_size);
  read(json, "num_hidden_layers", config.num_hidden_layers);
  read(json, "num_attention_heads", config.num_attention_heads);
  read(json, "num_key_value_heads", config.num_key_value_heads);
  read(json, "vocab_size", config.vocab_size);
  read(json, "rms_norm_eps", config.rms_norm_eps);
  const bool nested_rope = is_set(json, "rope_parameters") && json["rope_parameters"].is_object();
  read(nested_rope && !is_set(json, "rope_theta") ? json["rope_parameters"] : json, "rope_theta", config.rope_theta);
  if (!is_set(json, "hidden_act")) missing += concat(missing.empty() ? "" : ", ", "hidden_act");
  check(missing.empty(), where, " lacks: ", missing);
  check_known(std::array{"silu"}, json["hidden_act"], where + ": activation (hidden_act)");
  if (is_set(json, "head_dim"))
    read(json, "head_dim", config.head_dim);
  else
    config.head_dim = config.num_attention_heads > 0 ? config.hidden_size / config.num_attention_heads : 0;
  check_rope(json, where);
  if (&json != &root) check_rope(root, where);
  if (is_set(json, "use_sliding_window") && json["use_sliding_window"] == Json(true))
    read(json, "sliding_window", config.sliding_window);
  check(missing.empty(), where, " lacks: ", missing);
  config.validate(where);
  return config;
}

Json Qwen2Config::to_json() const {
  Json json{{"architectures", Json::array({"Qwen2ForCausalLM"})},
            {"model_type", "qwen2"},
            {"hidden_size", hidden_size},
            {"intermediate_size", intermediate_size},
            {"num_hidden_layers", num_hidden_layers},
            {"num_attention_heads", num_attention_heads},
            {"num_key_value_heads", num_key_value_heads},
            {"vocab_size", vocab_size},
            {"rms_norm_eps", rms_norm_eps},
            {"rope_theta", rope_theta},
            {"hidden_act", "silu"},
            {"initializer_range", 0.02},
            {"max_position_embeddings", 32768},
            {"tie_word_embeddings", true},
            {"use_sliding_window", sliding_window > 0}};
  if (sliding_window > 0) json["sliding_window"] = sliding_window;
  if (head_dim * num_attention_heads != hidden_size) json["head_dim"] = head_dim;
  return json;
}

void Qwen2Config::validate(const std::string& where) const {
  const auto check_size = [&](const char* name, int64_t value) {
    check(value >= 1 && value < kLargestSize, where, ": ", name, " must be in 1..", kLargestSize - 1, ", got ", value);
  };
  check_size("hidden_size", hidden_size);
  check_size("intermediate_size", intermediate_size);
  check_size("num_attention_heads", num_attention_heads);
  check_size("num_key_value_heads", num_key_value_heads);
  check_size("vocab_size", vocab_size);
  check(num_hidden_layers >= 1 && num_hidden_layers <= 10000, where, ": num_hidden_layers must be in 1..10000, got ",
        num_hidden_layers);
  check_size("head_dim", head_dim);
  check(head_dim % 2 == 0, where, ": the width of a head must be even, got ", head_dim);
  check(num_attention_heads % num_key_value_heads == 0, where, ": num_attention_heads (", num_attention_heads,
        ") must be a multiple of num_key_value_heads (", num_key_value_heads, ")");
  check(rms_norm_eps >= 0 && std::isfinite(rms_norm_eps), where, ": rms_norm_eps must not be negative, got ",
        rms_norm_eps);
  check(rope_theta > 0 && std::isfinite(rope_theta), where, ": rope_theta must be positive, got ", rope_theta);
  check(sliding_window >= 0, where, ": sliding_window must not be negative, got ", sliding_window);
}

TensorMap random_qwen2_weights(const Qwen2Config& config, uint64_t seed) {
  config.validate("Qwen2 config");
  return Qwen2(config, Params::random(seed, Streams::kByOrder)).weights();
}

void write_qwen2(const std::filesystem::path& folder, const Qwen2Config& config, const TensorMap& weights) {
  TensorMap stored;
  for (const auto& [name, tensor] : Qwen2(config, weights, "write_qwen2: the weights").weights())
    stored.emplace(name, tensor.detach().cpu().contiguous());
  make_directories(folder);
  Json json = config.to_json();
  const at::ScalarType type = stored.at("model.norm.weight").scalar_type();
  json["torch_dtype"] = type == at::kBFloat16 ? "bfloat16" : type == at::kHalf ? "float16" : "float32";
  write_safetensors(folder / "model.safetensors", stored, {{"format", "pt"}});
  write_json(folder / "config.json", json);
}

Qwen2::Projection::Projection(const Scope& scope, int64_t in, int64_t out, bool with_bias)
    : weight(scope.add("weight", {out, in}, Init::kNormal002)),
      bias(with_bias ? scope.add("bias", {out}, Init::kZeros) : Tensor()) {}

// Without `at::linear`: its bias, added while the product is made, costs more than it saves.
Tensor Qwen2::Projection::operator()(const Tensor& x) const {
  const Tensor y = at::mm(x, weight.to(x.scalar_type()).t());
  return bias.defined() ? y + bias.to(x.scalar_type()) : y;
}

Qwen2::Layer::Layer(const Scope& s, const Qwen2Config& c)
    : q(s / "self_attn.q_proj", c.hidden_size, c.num_attention_heads * c.head_dim, /*with_bias=*/true),
      k(s / "self_attn.k_proj", c.hidden_size, c.num_key_value_heads * c.head_dim, true),
      v(s / "self_attn.v_proj", c.hidden_size, c.num_key_value_heads * c.head_dim, true),
      out(s / "self_attn.o_proj", c.num_attention_heads * c.head_dim, c.hidden_size, false),
      gate(s / "mlp.gate_proj", c.hidden_size, c.intermediate_size, false),
      up(s / "mlp.up_proj", c.hidden_size, c.intermediate_size, false),
      down(s / "mlp.down_proj", c.intermediate_size, c.hidden_size, false),
      attention_norm(s / "input_layernorm", c.hidden_size, c.rms_norm_eps),
      mlp_norm(s / "post_attention_layernorm", c.hidden_size, c.rms_norm_eps) {}

std::vector<Qwen2::Layer> Qwen2::make_layers(const Scope& scope, const Qwen2Config& config) {
  std::vector<Layer> layers;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) layers.emplace_back(scope / i, config);
  return layers;
}

Qwen2::Qwen2(const Qwen2Config& config, Params params)
    : config_(config),
      params_(std::move(params)),
      embedding_(Scope(params_).add(kEmbeddingName, {config.vocab_size, config.hidden_size}, Init::kNormal002)),
      layers_(make_layers(Scope(params_) / "model.layers", config)),
      norm_(Scope(params_) / "model.norm", config.hidden_size, config.rms_norm_eps) {
  params_.finish();
}

Qwen2::Qwen2(const Qwen2Config& config, const TensorMap& weights, const std::string& where)
    : Qwen2(config, Params::from(with_published_names(weights, where), where)) {}

Qwen2 Qwen2::load(const std::filesystem::path& folder) {
  const auto config_path = folder / "config.json";
  const Qwen2Config config = Qwen2Config::from_json(read_json(config_path), config_path.string());
  return Qwen2(config, read_safetensors(folder).tensors, folder.string());
}

void Qwen2::to(at::Device device, at::ScalarType dtype) {
  check_usage(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf || dtype == at::kDouble,
              "Qwen2 computes in floating point only");
  check_usage(!device.is_cpu() || dtype != at::kHalf, "Qwen2: fp16 cannot be computed on the CPU; use fp32 or bf16");
  for (const auto& [name, tensor] : params_.items())
    tensor.set_data(tensor.to(device, name == kEmbeddingName ? tensor.scalar_type() : dtype));
  dtype_ = dtype;
}

// The query's heads of a group share a key's: one product over all their queries, and no copies of the keys.
Tensor Qwen2::attend(const Layer& layer, const Tensor& x, const Tensor& cos, const Tensor& sin,
                     const Tensor& bias) const {
  const int64_t batch = x.size(0), length = x.size(1), d = config_.head_dim;
  const int64_t heads = config_.num_attention_heads, shared = config_.num_key_value_heads;
  const Tensor rows = x.reshape({batch * length, config_.hidden_size});  // (B N, hidden)
  const auto heads_of = [&](const Projection& project, int64_t count) {
    return project(rows).view({batch, length, count, d});
  };
  const Tensor q = rotate(heads_of(layer.q, heads), cos, sin) / std::sqrt(static_cast<double>(d));  // (B, N, heads, d)
  const Tensor k = rotate(heads_of(layer.k, shared), cos, sin);                                     // (B, N, shared, d)
  const Tensor v = heads_of(layer.v, shared);                                                       // (B, N, shared, d)
  const Tensor grouped = q.transpose(1, 2).reshape({batch, shared, heads / shared * length, d});
  Tensor scores = at::matmul(grouped, k.permute({0, 2, 3, 1}));  // (B, shared, group N, N)
  scores = scores.view({batch, heads, length, length}) + bias;   // (B, heads, N, N)
  const Tensor p = at::softmax(scores, -1, dtype_ == at::kDouble ? at::kDouble : at::kFloat).to(dtype_);
  const Tensor mixed = at::matmul(p.view({batch, shared, heads / shared * length, length}), v.transpose(1, 2));
  return merge_heads(mixed.view({batch, heads, length, d})).view({batch * length, heads * d});
}

Tensor Qwen2::forward(const Tensor& input_ids, const Tensor& attention_mask) const {
  check(input_ids.dim() == 2 && at::isIntegralType(input_ids.scalar_type(), /*includeBool=*/false),
        "Qwen2: input_ids must be integers of shape (B, N), got ", input_ids.scalar_type(), " of shape ",
        input_ids.sizes());
  const int64_t batch = input_ids.size(0), length = input_ids.size(1);
  check(!attention_mask.defined() || attention_mask.sizes() == input_ids.sizes(),
        "Qwen2: attention_mask must have the shape of input_ids, ", input_ids.sizes(), ", got ",
        attention_mask.sizes());
  check(config_.sliding_window == 0 || length <= config_.sliding_window, "Qwen2: ", length,
        " tokens are longer than the sliding window of ", config_.sliding_window, ", which is not supported");
  const Tensor ids = input_ids.to(device(), at::kLong);
  const auto wide = dtype_ == at::kDouble ? at::kDouble : at::kFloat;
  const auto options = at::TensorOptions(device()).dtype(wide);
  if (ids.numel() == 0) return at::zeros({batch, length, config_.hidden_size}, options.dtype(dtype_));
  const int64_t lowest = ids.min().item<int64_t>(), highest = ids.max().item<int64_t>();
  check(lowest >= 0 && highest < config_.vocab_size, "Qwen2: token ids must be in 0..", config_.vocab_size - 1,
        ", got ", lowest < 0 ? lowest : highest);

  // Angles of rotary positions, in fp32 at least.
  const int64_t half = config_.head_dim / 2;
  const Tensor frequency = at::pow(config_.rope_theta, at::arange(half, options) / half).reciprocal();  // (d/2)
  const Tensor angles = at::outer(at::arange(length, options), frequency).unsqueeze(1);                 // (N, 1, d/2)
  const Tensor cos = angles.cos().to(dtype_), sin = angles.sin().to(dtype_);
  // The lowest value instead of -inf: a row that sees no key gets a mean, not NaN.
  Tensor hidden = at::ones({length, length}, options.dtype(at::kBool)).triu(1);  // (N, N), true: not seen
  if (attention_mask.defined())
    hidden = hidden.logical_or(attention_mask.to(device()).eq(0).view({batch, 1, 1, length}));  // (B, 1, N, N)
  const double lowest_score = dtype_ == at::kBFloat16 ? -3.3895313892515355e38
                              : dtype_ == at::kHalf   ? -65504.0
                                                      : std::numeric_limits<float>::lowest();
  const Tensor bias = at::zeros(hidden.sizes(), options.dtype(dtype_)).masked_fill(hidden, lowest_score);

  Tensor x = embedding_.index_select(0, ids.view(-1)).to(dtype_);
  x = x.view({batch * length, config_.hidden_size});  // (B N, hidden)
  for (const Layer& layer : layers_) {
    const Tensor h = layer.attention_norm(x).view({batch, length, -1});
    x = x + layer.out(attend(layer, h, cos, sin, bias));
    const Tensor m = layer.mlp_norm(x);
    x = x + layer.down(at::silu(layer.gate(m)) * layer.up(m));  // (B N, intermediate) -> (B N, hidden)
  }
  return norm_(x).view({batch, length, config_.hidden_size});
}

}  // namespace crescendo
