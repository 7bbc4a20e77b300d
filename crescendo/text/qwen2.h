// Qwen2 as a text encoder: token ids (B, N) -> states after the final norm (B, N, hidden).
//
// The decoder-only transformer of Qwen2 (Yang et al. 2024, arXiv:2407.10671) without its output head: pre-norm blocks
// of causal grouped-query attention with rotary positions, and SwiGLU. Read from a Hugging Face directory of any size;
// a vision tower beside it (Qwen2-VL) is left out, as text alone gives its rotary positions nothing to do.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <string>
#include <vector>

#include "crescendo/core/json.h"
#include "crescendo/nn/layers.h"

namespace crescendo {

// config.json, under Hugging Face's names.
struct Qwen2Config {
  int64_t hidden_size = 1536;
  int64_t intermediate_size = 8960;
  int64_t num_hidden_layers = 28;
  int64_t num_attention_heads = 12;
  int64_t num_key_value_heads = 2;
  int64_t head_dim = 128;
  int64_t vocab_size = 151936;
  double rms_norm_eps = 1e-6;
  double rope_theta = 1e6;
  int64_t sliding_window = 0;  // longest text that full attention is right for; 0: any

  // Names every key that is missing, and what is there but not known. `where` stands in errors.
  static Qwen2Config from_json(const Json& json, const std::string& where);
  Json to_json() const;
  void validate(const std::string& where) const;
};

// Drawn for training: N(0, 0.02) for matrices, one for norms, zero for biases.
TensorMap random_qwen2_weights(const Qwen2Config& config, uint64_t seed);
// config.json and model.safetensors, as Hugging Face's Qwen2ForCausalLM with tied embeddings reads them.
void write_qwen2(const std::filesystem::path& folder, const Qwen2Config& config, const TensorMap& weights);

class Qwen2 {
 public:
  // Weights under the published names ("model.layers.0..."); they may also begin without "model.", or with
  // "model.language_model.". An output head and a vision tower are dropped. Throws where any other is unknown, missing,
  // misshapen or not finite.
  Qwen2(const Qwen2Config& config, const TensorMap& weights, const std::string& where = "Qwen2");
  // The weights stay mapped from their files, in the type stored there, until `to` moves them.
  static Qwen2 load(const std::filesystem::path& folder);

  // Moves the weights and sets the type that is computed in. Before, weights are computed in fp32: those stored in
  // another type are converted at each use, which saves memory and costs time. Token embeddings keep their stored type
  // always, as only the rows looked up need converting.
  void to(at::Device device, at::ScalarType dtype);

  // Position n sees the positions up to n whose mask is not 0; an undefined mask means all. Padded positions get states
  // too (of their own token, seeing what comes before). Differentiable where weights require gradients.
  Tensor forward(const Tensor& input_ids, const Tensor& attention_mask) const;  // (B, N), (B, N) -> (B, N, hidden)

  const Qwen2Config& config() const { return config_; }
  at::Device device() const { return embedding_.device(); }
  at::ScalarType dtype() const { return dtype_; }
  Params& params() { return params_; }
  TensorMap weights() const { return params_.map(); }

 private:
  // x W^T + b in the type of x, whatever type W and b are stored in.
  struct Projection {
    Projection(const Scope& scope, int64_t in, int64_t out, bool with_bias);
    Tensor operator()(const Tensor& x) const;  // (M, in) -> (M, out)
    Tensor weight, bias;
  };
  struct Layer {
    Layer(const Scope& scope, const Qwen2Config& config);
    Projection q, k, v, out, gate, up, down;
    RmsNorm attention_norm, mlp_norm;
  };
  friend TensorMap random_qwen2_weights(const Qwen2Config& config, uint64_t seed);
  Qwen2(const Qwen2Config& config, Params params);
  static std::vector<Layer> make_layers(const Scope& scope, const Qwen2Config& config);
  Tensor attend(const Layer& layer, const Tensor& x, const Tensor& cos, const Tensor& sin, const Tensor& bias) const;

  Qwen2Config config_;
  Params params_;
  Tensor embedding_;  // (vocabulary, hidden)
  std::vector<Layer> layers_;
  RmsNorm norm_;
  at::ScalarType dtype_ = at::kFloat;
};

}  // namespace crescendo
