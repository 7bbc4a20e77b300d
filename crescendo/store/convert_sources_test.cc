// Files as other programs write them, and everything that convert looks at before it writes.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "crescendo/store/inspect.h"
#include "crescendo/store/test_support.h"
#include "crescendo/store/tokenizer_source.h"
#include "crescendo/tokenizer/tokenizer_io.h"
#include "tests/tiny_text_encoder.h"

namespace crescendo {
namespace {

// name -> weights under `prefix`, as wrappers and training programs name them.
PickleValue set_of(const TensorMap& weights, const std::string& prefix) {
  TensorMap out;
  for (const auto& [name, tensor] : weights) out[prefix + name] = tensor;
  return PickleValue::state_dict(out);
}
void write_root(const fs::path& path, PickleValue::Dict root) {
  write_torch_zip(path, PickleValue::dict(std::move(root)));
}

TEST(Convert, WrappersAndUsualKeysAreSeenThrough) {
  const TemporaryDirectory dir;
  const TensorMap weights = weights_of(test::tiny_config(), 1);
  const fs::path file = dir / "x.pth";
  const auto expect_read = [&](const std::set<std::string>& removed) {
    for (const auto choice : {std::optional<WeightsChoice>(), std::optional(WeightsChoice::kEma)}) {
      ConvertOptions options = two_heads();
      options.weights = choice;
      const OpenModel model = open_model(file, options);
      expect_identical(model.weights, weights);
      EXPECT_EQ(model.removed, removed);
    }
  };
  for (const char* prefix : {"module.", "_orig_mod.", "model.", "ema_model.", "ema.", "net.", "state.network."}) {
    write_root(file, {{PickleValue::string("state_dict"), set_of(weights, prefix)}});
    expect_read({prefix});
  }
  write_root(file, {{PickleValue::string("ema"), set_of(weights, "module._orig_mod.")}});
  expect_read({"module.", "_orig_mod."});
  for (const char* key : {"ema", "state_dict", "params", "weights", "module", "network", "generator"}) {
    write_root(file, {{PickleValue::string(key), set_of(weights, "")}, {PickleValue::string("epoch"), {}}});
    expect_read({});
    // One dict further down.
    write_root(file,
               {{PickleValue::string("ema"), PickleValue::dict({{PickleValue::string(key), set_of(weights, "")}})}});
    expect_read({});
  }
  // Within names, and beside what else such a dict holds.
  TensorMap inside;
  for (const auto& [name, tensor] : weights) {
    const size_t attention = name.find("attn.");
    inside["module." + (attention == std::string::npos
                            ? name
                            : name.substr(0, attention) + "_orig_mod." + name.substr(attention))] = tensor;
  }
  inside["n_averaged"] = at::ones({}, at::kLong);
  write_safetensors(dir / "x.safetensors", inside);
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "x.safetensors", two_heads()); }), "surplus n_averaged");
  inside.erase("n_averaged");
  write_safetensors(dir / "x.safetensors", inside);
  expect_identical(open_model(dir / "x.safetensors", two_heads()).weights, weights);
}

TEST(Convert, OfSeveralSetsTheChoicePicks) {
  const TemporaryDirectory dir;
  const TensorMap raw = weights_of(test::tiny_config(), 1), ema = weights_of(test::tiny_config(), 2);
  const fs::path file = dir / "x.pth";
  const auto read = [&](std::optional<WeightsChoice> choice) {
    ConvertOptions options = two_heads();
    options.weights = choice;
    return open_model(file, options).weights;
  };
  const auto expect_both = [&] {
    expect_identical(read({}), ema);
    expect_identical(read(WeightsChoice::kEma), ema);
    expect_identical(read(WeightsChoice::kRaw), raw);
  };
  write_root(file,
             {{PickleValue::string("params"), set_of(raw, "")}, {PickleValue::string("params_ema"), set_of(ema, "")}});
  expect_both();
  TensorMap beside = raw, one;
  for (const auto& [name, tensor] : ema) beside["ema." + name] = tensor;
  write_root(file, {{PickleValue::string("state_dict"), PickleValue::state_dict(beside)}});
  expect_both();
  for (const auto& [name, tensor] : raw) one["online_model." + name] = tensor;
  for (const auto& [name, tensor] : ema) one["ema_model." + name] = tensor;
  write_root(file, {{PickleValue::string("state_dict"), PickleValue::state_dict(one)}});
  expect_both();
  write_root(file, {{PickleValue::string("a"), set_of(raw, "")}, {PickleValue::string("b"), set_of(ema, "x.")}});
  EXPECT_CONTAINS(error_of([&] { read({}); }), "holds 2 sets of raw weights: a; b, x.; save the one");
  EXPECT_CONTAINS(error_of([&] { read(WeightsChoice::kEma); }), "has no EMA weights; it holds a; b, x.");
}

TEST(Convert, AWeightThatIsForeignIsNamed) {
  const TemporaryDirectory dir;
  TensorMap weights = weights_of(test::tiny_config(), 1);
  std::string header = "{", data;
  for (const auto& [name, tensor] : weights) {
    // Everything as 8-bit floats of the same shapes.
    header += concat(header.size() > 1 ? "," : "", "\"", name,
                     "\":{\"dtype\":\"F8_E4M3\",\"shape\":", Json(tensor.sizes().vec()).dump(), ",\"data_offsets\":[",
                     data.size(), ",", data.size() + static_cast<size_t>(tensor.numel()), "]}");
    data.append(static_cast<size_t>(tensor.numel()), '\0');
  }
  header += "}";
  const uint64_t size = header.size();
  write_file_atomically(dir / "x.safetensors", std::string(reinterpret_cast<const char*>(&size), 8) + header + data);
  // Without any tensor there is no set at all; with one, the others are named.
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "x.safetensors", two_heads()); }), "cannot be read as weights");
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "x.safetensors", two_heads()); }), "a F8_E4M3");
}

// A latent diffusion program's file: the autoencoder among others, and a callback's record that only it knows.
TEST(Convert, AKlVaeIsFoundWithinALargerFile) {
  const TemporaryDirectory dir;
  const KlVaeConfig config = tiny_vae_config();
  const TensorMap vae = KlVae::random(config, 3)->params().map();
  TensorMap all = {{"model.diffusion_model.weight", at::ones({2})}, {"scale_factor", at::full({}, 0.5f)}};
  for (const auto& [name, tensor] : vae) all["first_stage_model." + name] = tensor;
  for (const auto& [name, tensor] : KlVae::random(config, 4)->params().map()) all["cond_stage_model." + name] = tensor;
  all["first_stage_model.loss.logvar"] = at::zeros({});
  all["first_stage_model.model_ema.decay"] = at::zeros({});
  write_root(dir / "sd.ckpt", {{PickleValue::string("state_dict"), PickleValue::state_dict(all)}});
  const ConvertSource source = read_source(dir / "sd.ckpt");
  ASSERT_TRUE(source.is_tokenizer);
  write_tokenizer_directory(*open_tokenizer(source, {}), dir / "tok");
  const auto read = load_tokenizer(dir / "tok");
  expect_identical(read->params().map(), vae);
  EXPECT_EQ(read->config().latent_scale, 0.5);  // as the file tells
  EXPECT_EQ(inspect_path(dir / "sd.ckpt")["kind"], "kl-vae");
  // Half precision stays where it was stored, and a scale may be given.
  TensorMap half;
  for (const auto& [name, tensor] : vae) half[name] = tensor.to(at::kHalf);
  write_safetensors(dir / "half.safetensors", half);
  ConvertOptions options;
  options.latent_scale = 0.18;
  write_tokenizer_directory(*open_tokenizer(read_source(dir / "half.safetensors"), options), dir / "half");
  expect_identical(stored(dir / "half"), half);
  EXPECT_EQ(load_tokenizer(dir / "half")->config().latent_scale, 0.18);
  // The folder's own weights file, taken by itself.
  EXPECT_EQ(tokenizer_of(read_checkpoint(dir / "half" / "model.safetensors"))->config().latent_scale, 0.18);
  write_safetensors(dir / "diffusers.safetensors", {{"encoder.conv_in.weight", at::ones({1})},
                                                    {"encoder.down_blocks.0.resnets.0.conv1.weight", at::ones({1})}});
  EXPECT_CONTAINS(error_of([&] { open_tokenizer(read_source(dir / "diffusers.safetensors"), {}); }),
                  "as diffusers does");
}

TEST(Convert, AnyPlaceOfATokenizerWillDo) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_config(), Json::object());
  write_vae(dir / "vae.ckpt");
  write_tokenizer_directory(*open_tokenizer(read_source(dir / "vae.ckpt"), {}), dir / "tok");
  ConvertOptions options = two_heads();
  options.tokenizer = dir / "tok";
  convert(dir / "x.pth", dir / "model", options);
  for (const char* place : {"vae.ckpt", "tok", "tok/model.safetensors", "model", "model/tokenizer"}) {
    const auto vae = open_tokenizer(find_tokenizer((dir / place).string()));
    expect_identical(vae->params().map(), KlVae::random(tiny_vae_config(), 3)->params().map());
  }
  convert(dir / "x.pth", dir / "bare");
  EXPECT_CONTAINS(error_of([&] { find_tokenizer((dir / "bare").string()); }), "has no tokenizer");
  EXPECT_CONTAINS(error_of([&] { find_tokenizer((dir / "absent").string()); }), "no model");
  make_directories(dir / "nothing");
  EXPECT_CONTAINS(error_of([&] { open_tokenizer(find_tokenizer((dir / "nothing").string())); }), "holds neither");
}

// Whatever reading prompts will need is looked at before anything is written.
TEST(Convert, ATextEncoderIsCheckedWhole) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_text_config(), Json::object());
  const fs::path qwen = dir / "qwen";
  ConvertOptions options = two_heads();
  options.text_encoder = qwen;
  const auto error = [&](const std::function<void()>& damage) {
    fs::remove_all(qwen);
    test::write_tiny_text_encoder(qwen, 6);
    EXPECT_NO_THROW(open_model(dir / "x.pth", options));
    damage();
    return error_of([&] { open_model(dir / "x.pth", options); });
  };
  const auto with_config = [&](const char* key, const Json& value) {
    return error([&] {
      Json config = read_json(qwen / "config.json");
      config[key] = value;
      write_json(qwen / "config.json", config);
    });
  };
  const auto with_weights = [&](const std::function<void(TensorMap&)>& change) {
    return error([&] {
      TensorMap weights = read_safetensors(qwen).tensors;
      for (auto& entry : weights) entry.second = entry.second.clone();
      change(weights);
      write_safetensors(qwen / "model.safetensors", weights);
    });
  };
  EXPECT_CONTAINS(error([&] { fs::remove(qwen / "model.safetensors"); }), "holds no safetensors file");
  EXPECT_CONTAINS(error([&] { fs::rename(qwen / "model.safetensors", qwen / "pytorch_model.bin"); }),
                  "it holds pytorch_model.bin, but in a folder only safetensors are read");
  EXPECT_CONTAINS(error([&] {
                    write_json(qwen / "model.safetensors.index.json",
                               {{"weight_map", {{"model.norm.weight", "model-00002-of-00002.safetensors"}}}});
                  }),
                  "shard model-00002-of-00002.safetensors is missing");
  EXPECT_CONTAINS(error([&] { write_file_atomically(qwen / "tokenizer.json", "version https://git-lfs.github.com/"); }),
                  "a Git LFS pointer");
  EXPECT_CONTAINS(error([&] { fs::remove(qwen / "tokenizer.json"); }), "lacks tokenizer.json");
  EXPECT_CONTAINS(error([&] { fs::remove(qwen / "config.json"); }), "lacks config.json");
  EXPECT_CONTAINS(error([&] { write_json(qwen / "tokenizer_config.json", Json::object()); }), "names no pad_token");
  EXPECT_CONTAINS(with_config("rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}), "rope_scaling \"yarn\"");
  EXPECT_CONTAINS(with_config("vocab_size", 3), "does not hold the weights of this model");
  EXPECT_CONTAINS(with_config("num_hidden_layers", 2), "missing model.layers.1.");
  EXPECT_CONTAINS(with_weights([](TensorMap& w) { w["model.norm.weight"] = at::ones({5}); }),
                  "has shape [5], expected [6]");
  const std::string few = error([&] {
    Json config = read_json(qwen / "config.json");
    config["vocab_size"] = 7;
    write_json(qwen / "config.json", config);
    TensorMap weights = read_safetensors(qwen).tensors;
    for (auto& entry : weights) entry.second = entry.second.clone();
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"].narrow(0, 0, 7);
    write_safetensors(qwen / "model.safetensors", weights);
  });
  EXPECT_CONTAINS(few, "but the tower has embeddings for 7");
  // A model directory's own encoder is looked at, too; what is foreign beside it does not matter.
  fs::remove_all(qwen);
  test::write_tiny_text_encoder(qwen, 6);
  TensorMap weights = read_safetensors(qwen).tensors;
  for (auto& entry : weights) entry.second = entry.second.clone();
  weights["visual.patch_embed.weight"] = at::ones({3});
  write_safetensors(qwen / "model.safetensors", weights);
  convert(dir / "x.pth", dir / "model", options);
  fs::remove(dir / "model" / "text_encoder" / "model.safetensors");
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "model", {}); }), "holds no safetensors file");
}

}  // namespace
}  // namespace crescendo
