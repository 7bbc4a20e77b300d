#include "crescendo/text/qwen2.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/rng.h"
#include "crescendo/io/safetensors.h"
#include "tests/support.h"

namespace crescendo {
namespace {

// A folder that is gone at the end of the test.
struct TemporaryFolder {
  TemporaryFolder() : path(std::filesystem::temp_directory_path() / concat("crescendo_qwen2_", ::getpid())) {
    std::filesystem::remove_all(path);
    make_directories(path);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

Qwen2Config tiny_config() {
  Qwen2Config c;
  c.hidden_size = 12;
  c.intermediate_size = 20;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 6;
  c.num_key_value_heads = 2;
  c.head_dim = 4;
  c.vocab_size = 31;
  c.rope_theta = 100.0;
  c.rms_norm_eps = 1e-5;
  return c;
}

// Biases and norms too must differ from their neutral values, or tests would not see them.
TensorMap tiny_weights(const Qwen2Config& config, double scale = 0.4) {
  TensorMap weights = random_qwen2_weights(config, 7);
  uint64_t index = 0;
  for (auto& [name, tensor] : weights) {
    Rng rng(99, Draw::kOther, static_cast<uint32_t>(index++));
    std::vector<float> noise(static_cast<size_t>(tensor.numel()));
    rng.fill_normal(noise);
    tensor.add_(at::from_blob(noise.data(), tensor.sizes(), at::kFloat).mul(scale));
  }
  return weights;
}

Tensor tiny_ids(const Qwen2Config& config, int64_t batch, int64_t length) {
  return at::arange(batch * length, at::kLong).mul(17).add(3).remainder(config.vocab_size).view({batch, length});
}

double relative_error(const Tensor& got, const Tensor& expected) {
  const Tensor e = expected.to(at::kDouble);
  return ((got.to(at::kDouble) - e).norm() / e.norm()).item<double>();
}

template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

// The equations written out number by number, in double precision: the reference that the tower is held against.
using Vector = std::vector<double>;
std::vector<Vector> slow_forward(const Qwen2Config& c, const TensorMap& weights, const std::vector<int64_t>& ids,
                                 const std::vector<bool>& seen) {
  const auto at_ = [&](const std::string& name, int64_t i, int64_t j = -1) {
    const Tensor& t = weights.at(name);
    return static_cast<double>(t.data_ptr<float>()[j < 0 ? i : i * t.size(1) + j]);
  };
  const auto linear = [&](const Vector& x, const std::string& name, bool bias) {
    Vector y(static_cast<size_t>(weights.at(name + ".weight").size(0)));
    for (size_t i = 0; i < y.size(); ++i) {
      if (bias) y[i] = at_(name + ".bias", static_cast<int64_t>(i));
      for (size_t j = 0; j < x.size(); ++j)
        y[i] += x[j] * at_(name + ".weight", static_cast<int64_t>(i), static_cast<int64_t>(j));
    }
    return y;
  };
  const auto norm = [&](const Vector& x, const std::string& name) {
    double square = 0;
    for (const double v : x) square += v * v / static_cast<double>(x.size());
    Vector y(x.size());
    for (size_t i = 0; i < x.size(); ++i)
      y[i] = x[i] / std::sqrt(square + c.rms_norm_eps) * at_(name + ".weight", static_cast<int64_t>(i));
    return y;
  };
  const auto d = static_cast<size_t>(c.head_dim), heads = static_cast<size_t>(c.num_attention_heads);
  const size_t group = heads / static_cast<size_t>(c.num_key_value_heads);
  const auto rotate = [&](Vector x, size_t position) {
    for (size_t head = 0; head < x.size() / d; ++head)
      for (size_t i = 0; i < d / 2; ++i) {
        const double angle = static_cast<double>(position) / std::pow(c.rope_theta, 2.0 * double(i) / double(d));
        const double a = x[head * d + i], b = x[head * d + i + d / 2];
        x[head * d + i] = a * std::cos(angle) - b * std::sin(angle);
        x[head * d + i + d / 2] = b * std::cos(angle) + a * std::sin(angle);
      }
    return x;
  };
  const size_t n = ids.size();
  std::vector<Vector> x(n);
  for (size_t p = 0; p < n; ++p)
    for (int64_t i = 0; i < c.hidden_size; ++i) x[p].push_back(at_("model.embed_tokens.weight", ids[p], i));
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    const std::string name = concat("model.layers.", layer, ".");
    std::vector<Vector> q(n), k(n), v(n);
    for (size_t p = 0; p < n; ++p) {
      const Vector h = norm(x[p], name + "input_layernorm");
      q[p] = rotate(linear(h, name + "self_attn.q_proj", true), p);
      k[p] = rotate(linear(h, name + "self_attn.k_proj", true), p);
      v[p] = linear(h, name + "self_attn.v_proj", true);
    }
    for (size_t p = 0; p < n; ++p) {
      Vector out(heads * d);
      for (size_t head = 0; head < heads; ++head) {
        Vector score(p + 1);
        double total = 0;
        for (size_t s = 0; s <= p; ++s) {
          for (size_t i = 0; i < d; ++i) score[s] += q[p][head * d + i] * k[s][head / group * d + i];
          score[s] = seen[s] ? std::exp(score[s] / std::sqrt(double(d))) : 0.0;
          total += score[s];
        }
        for (size_t s = 0; s <= p; ++s)
          for (size_t i = 0; i < d; ++i) out[head * d + i] += score[s] / total * v[s][head / group * d + i];
      }
      const Vector y = linear(out, name + "self_attn.o_proj", false);
      for (size_t i = 0; i < y.size(); ++i) x[p][i] += y[i];
      const Vector m = norm(x[p], name + "post_attention_layernorm");
      Vector gate = linear(m, name + "mlp.gate_proj", false);
      const Vector up = linear(m, name + "mlp.up_proj", false);
      for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
      const Vector z = linear(gate, name + "mlp.down_proj", false);
      for (size_t i = 0; i < z.size(); ++i) x[p][i] += z[i];
    }
  }
  for (auto& row : x) row = norm(row, "model.norm");
  return x;
}

TEST(Qwen2, MatchesTheEquations) {
  const Qwen2Config config = tiny_config();
  const TensorMap weights = tiny_weights(config);
  const Tensor ids = tiny_ids(config, 2, 7);
  Tensor mask = at::ones_like(ids);
  mask[0].slice(0, 4).zero_();
  mask[1][3].zero_();  // a hole: seen by nobody, but it sees
  Qwen2 model(config, weights);
  const Tensor got = model.forward(ids, mask);
  for (int64_t b = 0; b < 2; ++b) {
    std::vector<int64_t> row(ids[b].data_ptr<int64_t>(), ids[b].data_ptr<int64_t>() + 7);
    std::vector<bool> seen;
    for (int64_t n = 0; n < 7; ++n) seen.push_back(mask[b][n].item<int64_t>() != 0);
    std::vector<double> flat;
    for (const Vector& state : slow_forward(config, weights, row, seen))
      flat.insert(flat.end(), state.begin(), state.end());
    EXPECT_LT(relative_error(got[b], at::from_blob(flat.data(), {7, config.hidden_size}, at::kDouble)), 2e-6);
  }
  model.to(at::kCPU, at::kBFloat16);
  EXPECT_EQ(model.forward(ids, mask).scalar_type(), at::kBFloat16);
  EXPECT_LT(relative_error(model.forward(ids, mask), got), 3e-2);
}

TEST(Qwen2, MatchesTheFixture) {
  CRESCENDO_NEEDS_SHARED("fixtures/qwen2_micro");
  const auto folder = test::shared_path("fixtures/qwen2_micro");
  Qwen2 model = Qwen2::load(folder);
  const TensorMap expected = read_safetensors(folder / "expected.safetensors").tensors;
  const Tensor& states = expected.at("last_hidden_state");
  const Tensor got = model.forward(expected.at("input_ids"), expected.at("attention_mask"));
  EXPECT_LT(relative_error(got, states), 1e-5);
  model.to(at::kCPU, at::kBFloat16);
  EXPECT_LT(relative_error(model.forward(expected.at("input_ids"), expected.at("attention_mask")), states), 3e-2);
}

TEST(Qwen2, LaterAndPaddedTokensDoNotReachBack) {
  const Qwen2Config config = tiny_config();
  const Qwen2 model(config, tiny_weights(config));
  const Tensor ids = tiny_ids(config, 1, 8);
  Tensor changed = ids.clone();
  changed[0].slice(0, 5).fill_(1);
  const Tensor a = model.forward(ids, {}), b = model.forward(changed, {});
  EXPECT_TRUE(at::allclose(a.slice(1, 0, 5), b.slice(1, 0, 5), 1e-6, 1e-6));
  EXPECT_FALSE(at::allclose(a.slice(1, 5), b.slice(1, 5), 1e-2, 1e-2));
  // With the tail masked, each padded position still has its own state, and the states before are as without the tail.
  Tensor mask = at::ones_like(ids);
  mask[0].slice(0, 5).zero_();
  const Tensor padded = model.forward(changed, mask);
  EXPECT_TRUE(at::allclose(padded.slice(1, 0, 5), model.forward(ids.slice(1, 0, 5), {}), 1e-5, 1e-5));
  EXPECT_FALSE(at::allclose(padded[0][5], padded[0][6], 1e-3, 1e-3));
}

TEST(Qwen2, AllMaskedIsFinite) {
  const Qwen2Config config = tiny_config();
  const Qwen2 model(config, tiny_weights(config));
  const Tensor ids = tiny_ids(config, 1, 3);
  EXPECT_TRUE(model.forward(ids, at::zeros_like(ids)).isfinite().all().item<bool>());
  EXPECT_EQ(model.forward(ids.slice(1, 0, 0), {}).sizes(), (at::IntArrayRef{1, 0, config.hidden_size}));
}

TEST(Qwen2, IsDifferentiable) {
  const Qwen2Config config = tiny_config();
  Qwen2 model(config, tiny_weights(config));
  model.params().to(at::kCPU, at::kDouble);
  model.to(at::kCPU, at::kDouble);
  const Tensor ids = tiny_ids(config, 1, 5);
  const Tensor direction = at::linspace(-1, 1, 5 * config.hidden_size, at::kDouble).view({1, 5, config.hidden_size});
  model.params().set_requires_grad(true);
  (model.forward(ids, {}) * direction).sum().backward();
  at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : model.weights()) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    const Tensor gradient = tensor.grad().clone();
    const int64_t index = gradient.abs().argmax().item<int64_t>();
    Tensor entry = tensor.view(-1)[index];
    const double step = 1e-6, value = entry.item<double>();
    entry.fill_(value + step);
    const double above = (model.forward(ids, {}) * direction).sum().item<double>();
    entry.fill_(value - step);
    const double below = (model.forward(ids, {}) * direction).sum().item<double>();
    entry.fill_(value);
    const double expected = (above - below) / (2 * step);
    EXPECT_NEAR(gradient.view(-1)[index].item<double>(), expected, 1e-5 * (1 + std::abs(expected))) << name;
  }
}

TEST(Qwen2, WritesWhatItReads) {
  const TemporaryFolder folder;
  Qwen2Config config = tiny_config();
  config.head_dim = 6;  // wider than hidden / heads
  const TensorMap weights = random_qwen2_weights(config, 3);
  write_qwen2(folder.path, config, weights);
  Qwen2 model = Qwen2::load(folder.path);
  EXPECT_EQ(model.config().to_json(), config.to_json());
  const Tensor ids = tiny_ids(config, 1, 6);
  EXPECT_TRUE(at::equal(model.forward(ids, {}), Qwen2(config, weights).forward(ids, {})));
  EXPECT_TRUE(at::equal(random_qwen2_weights(config, 3).at("model.layers.1.mlp.up_proj.weight"),
                        model.weights().at("model.layers.1.mlp.up_proj.weight")));
  EXPECT_FALSE(at::equal(random_qwen2_weights(config, 4).at("model.layers.1.mlp.up_proj.weight"),
                         model.weights().at("model.layers.1.mlp.up_proj.weight")));
}

TEST(Qwen2, ReadsOtherNamesAndTypes) {
  const Qwen2Config config = tiny_config();
  const TensorMap weights = tiny_weights(config);
  const Tensor ids = tiny_ids(config, 1, 6);
  TensorMap rounded;
  for (const auto& [name, tensor] : weights) rounded[name] = tensor.to(at::kBFloat16).to(at::kFloat);
  const Tensor expected = Qwen2(config, rounded).forward(ids, {});
  for (const std::string prefix : {"", "model.", "model.language_model."}) {
    TensorMap renamed;
    for (const auto& [name, tensor] : weights) renamed[prefix + name.substr(6)] = tensor.to(at::kBFloat16);
    renamed["lm_head.weight"] = at::zeros({config.vocab_size, config.hidden_size});
    renamed["visual.patch_embed.proj.weight"] = at::zeros({3});
    renamed["model.visual.blocks.0.norm1.weight"] = at::zeros({3});
    renamed["vision_tower.embed.weight"] = at::zeros({3});
    renamed["score.weight"] = at::zeros({2, config.hidden_size});
    Qwen2 model(config, renamed);
    EXPECT_EQ(model.weights().at("model.norm.weight").scalar_type(), at::kBFloat16);  // stored as it came
    EXPECT_TRUE(at::equal(model.forward(ids, {}), expected)) << prefix;               // and computed in fp32
    model.to(at::kCPU, at::kFloat);
    EXPECT_TRUE(at::equal(model.forward(ids, {}), expected)) << prefix;
  }
}

TEST(Qwen2, ListsTensorsThatDoNotFit) {
  const Qwen2Config config = tiny_config();
  TensorMap weights = random_qwen2_weights(config, 1);
  weights.erase("model.layers.1.self_attn.k_proj.bias");
  weights["model.norm.weight"] = at::ones({3});
  weights["model.layers.0.self_attn.q_norm.weight"] = at::ones({4});
  const std::string error = error_of([&] { Qwen2(config, weights, "file"); });
  EXPECT_NE(error.find("missing model.layers.1.self_attn.k_proj.bias [8]"), std::string::npos) << error;
  EXPECT_NE(error.find("model.norm.weight has shape [3], expected [12]"), std::string::npos) << error;
  EXPECT_NE(error.find("surplus model.layers.0.self_attn.q_norm.weight [4]"), std::string::npos) << error;
  EXPECT_NE(error_of([&] {
              Qwen2(config, {{"a", at::ones({1})}}, "file");
            }).find("is it a Qwen2 model?"),
            std::string::npos);
}

TEST(Qwen2, RefusesWeightsThatAreNotFinite) {
  TensorMap weights = random_qwen2_weights(tiny_config(), 1);
  weights["model.norm.weight"][3] = std::numeric_limits<float>::infinity();
  const std::string error = error_of([&] { Qwen2(tiny_config(), weights, "file"); });
  EXPECT_NE(error.find("file: of the 12 elements of model.norm.weight 1 are NaN"), std::string::npos) << error;
}

TEST(Qwen2, ChecksWhatItIsGiven) {
  const Qwen2Config config = tiny_config();
  Qwen2 model(config, random_qwen2_weights(config, 1));
  EXPECT_NE(error_of([&] {
              model.forward(at::full({1, 2}, 31, at::kLong), {});
            }).find("token ids must be in 0..30, got 31"),
            std::string::npos);
  EXPECT_NE(error_of([&] { model.forward(at::zeros({2}, at::kLong), {}); }).find("of shape (B, N)"), std::string::npos);
  EXPECT_NE(error_of([&] {
              model.forward(at::zeros({1, 2}, at::kLong), at::ones({1, 3}));
            }).find("shape of input_ids"),
            std::string::npos);
  EXPECT_NE(error_of([&] { model.to(at::kCPU, at::kHalf); }).find("use fp32 or bf16"), std::string::npos);
}

TEST(Qwen2Config, NamesWhatIsMissingOrUnknown) {
  const Json good = tiny_config().to_json();
  EXPECT_EQ(Qwen2Config::from_json(good, "c").to_json(), good);
  const auto error_with = [&](const char* key, const Json& value) {
    Json json = good;
    json[key] = value;
    return error_of([&] { Qwen2Config::from_json(json, "c"); });
  };
  Json lacking = good;
  lacking.erase("rope_theta");
  lacking.erase("num_key_value_heads");
  EXPECT_EQ(error_of([&] { Qwen2Config::from_json(lacking, "c"); }), "c lacks: num_key_value_heads, rope_theta");
  EXPECT_NE(error_with("hidden_act", "gelu").find("activation (hidden_act) \"gelu\" is not supported"),
            std::string::npos);
  EXPECT_NE(error_with("architectures", {"LlamaForCausalLM"}).find("architecture \"LlamaForCausalLM\""),
            std::string::npos);
  EXPECT_NE(error_with("model_type", "qwen3").find("model_type \"qwen3\" is not supported"), std::string::npos);
  EXPECT_NE(error_with("rope_scaling", {{"type", "yarn"}}).find("rope_scaling \"yarn\""), std::string::npos);
  EXPECT_NE(error_with("num_key_value_heads", 4).find("must be a multiple of num_key_value_heads"), std::string::npos);
  EXPECT_NE(error_with("hidden_size", "64").find("'hidden_size' must be a whole number"), std::string::npos);
  EXPECT_NE(error_with("vocab_size", 0).find("vocab_size must be in 1.."), std::string::npos);
  EXPECT_NE(error_with("quantization_config", {{"bits", 4}}).find("quantized weights"), std::string::npos);
  EXPECT_NE(error_with("rope_scaling", {{"factor", 4.0}}).find("rope_scaling with the factor 4.0"), std::string::npos);
  EXPECT_NE(error_with("rope_scaling", {{"rope_type", "linear"}}).find("rope_scaling \"linear\""), std::string::npos);
  EXPECT_NE(error_with("rope_scaling", "yarn").find("rope_scaling must be an object"), std::string::npos);
  EXPECT_EQ(error_with("rope_scaling", {{"type", "mrope"}, {"mrope_section", {16, 24, 24}}}), "no error");
  // A vision model keeps the sizes of its text tower apart.
  Json nested{
      {"architectures", {"Qwen2VLForConditionalGeneration"}}, {"model_type", "qwen2_vl"}, {"text_config", good}};
  EXPECT_EQ(Qwen2Config::from_json(nested, "c").to_json(), good);
}

}  // namespace
}  // namespace crescendo
