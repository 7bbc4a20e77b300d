#include "crescendo/store/convert.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "crescendo/io/npz.h"
#include "crescendo/store/inspect.h"
#include "crescendo/store/test_support.h"
#include "crescendo/tokenizer/tokenizer_io.h"
#include "tests/tiny_text_encoder.h"

namespace crescendo {
namespace {

TEST(Convert, TakesTheAverageAndTheSamplerOfTheKind) {
  const TemporaryDirectory dir;
  struct Case {
    ModelConfig config;
    Json args;
    const char* preset;
    bool masked;
  };
  const std::vector<Case> cases = {{test::tiny_config(), {{"mask", true}}, "published-mask", true},
                                   {test::tiny_config(), {{"mask", false}}, "published-nomask", false},
                                   {test::tiny_config(), Json::object(), "published-nomask", false},
                                   {test::tiny_text_config(), Json::object(), "published-t2i", true},
                                   {test::tiny_config(Order::kMar), Json::object(), "mar", true}};
  for (size_t i = 0; i < cases.size(); ++i) {
    const fs::path file = dir / concat("x", i, ".pth"), out = dir / concat("model", i);
    write_checkpoint(file, cases[i].config, cases[i].args);
    convert(file, out);
    const ModelInfo info = load_model_info(out);
    EXPECT_EQ(info.model.kind(), cases[i].config.kind());
    EXPECT_EQ(info.sampler["preset"], cases[i].preset);
    EXPECT_EQ(info.model.masked, cases[i].masked);
    EXPECT_EQ(info.training["args"], cases[i].args);
    EXPECT_EQ(info.weights, "ema");
    expect_identical(stored(out), weights_of(cases[i].config, 2));
    EXPECT_NO_THROW(load_model(out, info, at::kCPU, at::kFloat));
  }
}

TEST(Convert, RawWeightsWhereAsked) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_config(), {{"mask", true}});
  ConvertOptions raw = two_heads(), ema = two_heads();
  raw.weights = WeightsChoice::kRaw;
  ema.weights = WeightsChoice::kEma;
  convert(dir / "x.pth", dir / "model", raw);
  expect_identical(stored(dir / "model"), weights_of(test::tiny_config(), 1));
  EXPECT_EQ(load_model_info(dir / "model").weights, "raw");
  // The model's weights file alone knows which they are.
  EXPECT_EQ(open_model(dir / "model" / "model.safetensors", {}).info.weights, "raw");
  ConvertOptions other;
  other.weights = WeightsChoice::kEma;
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "model" / "model.safetensors", other); }),
                  "has no EMA weights; it holds unnamed: say `weights=raw`, or nothing");
  EXPECT_CONTAINS(usage_error_of([&] { open_model(dir / "model", other); }), "holds raw weights and no others");
  // One set is read without being told which; what is asked for is what is got.
  write_checkpoint(dir / "raw.pth", test::tiny_config(), {{"mask", true}}, /*ema=*/false);
  EXPECT_EQ(open_model(dir / "raw.pth", two_heads()).info.weights, "raw");
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "raw.pth", ema); }), "has no EMA weights; it holds model: say");
}

TEST(Convert, ThereAndBackIsBitExact) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_config(), {{"mask", true}, {"lr", 1e-4}});
  convert(dir / "x.pth", dir / "model");
  write_published(open_model(dir / "model", {}), dir / "back.pth");
  // What PyTorch sees.
  const PickleValue root = read_torch_file(dir / "back.pth");
  expect_identical(tensors_at(root, "model_ema", "back.pth"), weights_of(test::tiny_config(), 2));
  expect_identical(tensors_at(root, "model", "back.pth"), weights_of(test::tiny_config(), 2));
  EXPECT_EQ(root.find("args")->type_name(), "");  // a plain dict: weights_only=True refuses a Namespace
  EXPECT_EQ(args_at(root), Json({{"mask", true}, {"lr", 1e-4}}));
  EXPECT_LT(fs::file_size(dir / "back.pth"), 0.7 * static_cast<double>(fs::file_size(dir / "x.pth")));  // stored once
  // And again a model directory, without --heads.
  convert(dir / "back.pth", dir / "again", {});
  for (const char* name : {"model.safetensors", "config.json"})
    EXPECT_EQ(read_file(dir / "again" / name), read_file(dir / "model" / name)) << name;
}

// Sizes that no shape tells survive, because the file carries the config.
TEST(Convert, AModelOfOnesOwnSurvivesEveryForm) {
  const TemporaryDirectory dir;
  ModelInfo info;
  info.model = test::tiny_config();
  info.model.patch = 2;
  info.model.levels = 3;
  info.model.filter = FilterType::kFourier;
  info.labels = {"a", "b", "c"};
  save_model(dir / "own", info, test::lively_model(info.model)->params().map(), at::kFloat);
  write_published(open_model(dir / "own", {}), dir / "own.pth");
  convert(dir / "own.pth", dir / "from pth", {});
  convert(dir / "own" / "model.safetensors", dir / "from safetensors", {});
  for (const char* name : {"from pth", "from safetensors"})
    EXPECT_EQ(read_file(dir / name / "config.json"), read_file(dir / "own" / "config.json")) << name;
}

TEST(Convert, AFolderOfTheTrainingProgram) {
  const TemporaryDirectory dir;
  make_directories(dir / "run");
  write_checkpoint(dir / "run" / "checkpoint-last.pth", test::tiny_config(), {{"mask", true}});
  convert(dir / "run", dir / "model");
  expect_identical(stored(dir / "model"), weights_of(test::tiny_config(), 2));
  EXPECT_EQ(inspect_path(dir / "run")["kind"], "far-class");
}

TEST(Convert, DtypesAreChosenOrKept) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_config(), Json::object());
  ConvertOptions half = two_heads();
  half.dtype = at::kBFloat16;
  convert(dir / "x.pth", dir / "half", half);
  EXPECT_EQ(stored(dir / "half").at("mask_token").scalar_type(), at::kBFloat16);
  convert(dir / "half", dir / "kept", {});
  expect_identical(stored(dir / "kept"), stored(dir / "half"));
}

TEST(Convert, ShardedSafetensors) {
  const TemporaryDirectory dir;
  const TensorMap weights = weights_of(test::tiny_config(), 2);
  TensorMap first, second;
  Json map = Json::object();
  for (const auto& [name, tensor] : weights) {
    (first.size() < 10 ? first : second)[name] = tensor;
    map[name] = first.contains(name) ? "a.safetensors" : "b.safetensors";
  }
  write_safetensors(dir / "a.safetensors", first);
  write_safetensors(dir / "b.safetensors", second);
  write_json(dir / "model.safetensors.index.json", {{"weight_map", map}});
  convert(dir / "model.safetensors.index.json", dir / "out");
  expect_identical(stored(dir / "out"), weights);
  fs::remove(dir / "b.safetensors");
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "model.safetensors.index.json", two_heads()); }),
                  "b.safetensors is missing");
}

TEST(Convert, EveryTensorThatDoesNotFitIsNamed) {
  const TemporaryDirectory dir;
  const auto error = [&](const std::function<void(TensorMap&)>& damage) {
    TensorMap weights = weights_of(test::tiny_config(), 1);
    damage(weights);
    write_safetensors(dir / "x.safetensors", weights);
    return error_of([&] { open_model(dir / "x.safetensors", two_heads()); });
  };
  EXPECT_CONTAINS(error([](TensorMap& w) { w.erase("decoder_norm.bias"); }), "missing decoder_norm.bias [8]");
  EXPECT_CONTAINS(error([](TensorMap& w) { w["foreign.weight"] = at::ones({2}); }), "surplus foreign.weight [2]");
  EXPECT_CONTAINS(error([](TensorMap& w) { w["decoder_norm.bias"] = at::ones({9}); }),
                  "decoder_norm.bias has shape [9]");
  EXPECT_CONTAINS(error([](TensorMap& w) { w["decoder_norm.bias"] = at::ones({8}, at::kLong); }),
                  "decoder_norm.bias is not a floating-point tensor");
}

TEST(Convert, HeadsMustBeGivenWhereNoSizeTellsThem) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_config(), Json::object());
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "x.pth", {}); }), "give `heads=N`");
  ConvertOptions three;
  three.heads = 3;
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "x.pth", three); }), "not a multiple of heads 3");
}

TEST(Convert, TheTokenizerJoinsWithoutItsForeignKeys) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_config(), Json::object());
  write_vae(dir / "vae.ckpt");
  ConvertOptions options = two_heads();
  options.tokenizer = dir / "vae.ckpt";
  convert(dir / "x.pth", dir / "model", options);
  const auto vae = load_tokenizer(dir / "model" / "tokenizer");
  EXPECT_EQ(value_to_json(vae->config()), value_to_json(tiny_vae_config()));
  expect_identical(vae->params().map(), KlVae::random(tiny_vae_config(), 3)->params().map());
  // A model directory passes it on, and a tokenizer's folder serves as well.
  convert(dir / "model", dir / "copy", {});
  options.tokenizer = dir / "copy";
  convert(dir / "x.pth", dir / "third", options);
  expect_identical(load_tokenizer(dir / "third" / "tokenizer")->params().map(), vae->params().map());

  write_vae(dir / "wide.ckpt", 4);
  options.tokenizer = dir / "wide.ckpt";
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "x.pth", options); }), "4 latent channels, the model 2");
}

TEST(Convert, OneThingForAnotherIsNoticed) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_config(), Json::object());
  write_vae(dir / "vae.ckpt");
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "vae.ckpt", two_heads()); }), "is a KL-VAE, not a model");
  write_file_atomically(dir / "pointer.ckpt", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n");
  ConvertOptions pointer = two_heads();
  pointer.tokenizer = dir / "pointer.ckpt";
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "x.pth", pointer); }), "a Git LFS pointer");
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "pointer.ckpt", {}); }), "a Git LFS pointer");
  EXPECT_CONTAINS(error_of([&] { inspect_path(dir / "pointer.ckpt"); }), "a Git LFS pointer");
  ConvertOptions reversed = two_heads();
  reversed.tokenizer = dir / "x.pth";
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "x.pth", reversed); }), "is a model, not a KL-VAE");
  write_safetensors(dir / "qwen.safetensors", {{"model.embed_tokens.weight", at::ones({2, 2})}});
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "qwen.safetensors", {}); }), "is a text encoder, not a model");
  write_npz(dir / "stats.npz", {{"mu", at::ones({3})}});
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "stats.npz", {}); }), "NumPy arrays, not a model's weights");
  write_file_atomically(dir / "text.txt", "hello");
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "text.txt", {}); }), "neither a PyTorch checkpoint nor safetensors");
}

TEST(Convert, LabelsAreOnePerClass) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_config(), Json::object());
  write_file_atomically(dir / "names.txt", "tench\r\ngoldfish\r\ngreat white shark");
  ConvertOptions options = two_heads();
  options.labels = dir / "names.txt";
  convert(dir / "x.pth", dir / "model", options);
  const ModelInfo info = load_model_info(dir / "model");
  EXPECT_EQ(find_class(info, "great white shark"), 2);
  EXPECT_EQ(find_class(info, "1"), 1);
  write_file_atomically(dir / "names.txt", "tench\ngoldfish\n");
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "x.pth", options); }), "has 2 lines, the model 3 classes");
}

TEST(Convert, TheTextEncoderAndItsPromptAreKept) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_text_config(), Json::object());
  const fs::path qwen = dir / "qwen";
  test::write_tiny_text_encoder(qwen, 6);
  write_file_atomically(qwen / "pytorch_model.bin", "old form");
  const std::string prompt = "  Two spaces,\r\n a tab\t and no newline \xc3\xa9";
  write_file_atomically(dir / "prompt.txt", prompt);
  ConvertOptions options = two_heads();
  options.text_encoder = qwen;
  options.system_prompt = dir / "prompt.txt";
  convert(dir / "x.pth", dir / "model", options);
  const fs::path kept = dir / "model" / "text_encoder";
  EXPECT_EQ(read_file(kept / "system_prompt.txt"), prompt);
  EXPECT_EQ(read_file(kept / "model.safetensors"), read_file(qwen / "model.safetensors"));
  EXPECT_FALSE(fs::exists(kept / "pytorch_model.bin"));
  // Another prompt for a copy leaves the first one's alone, though files are shared.
  write_file_atomically(dir / "prompt.txt", "short");
  ConvertOptions other;
  other.system_prompt = dir / "prompt.txt";
  convert(dir / "model", dir / "copy", other);
  EXPECT_EQ(read_file(dir / "copy" / "text_encoder" / "system_prompt.txt"), "short");
  EXPECT_EQ(read_file(kept / "system_prompt.txt"), prompt);

  Json config = read_json(qwen / "config.json");
  config["hidden_size"] = 7;
  write_json(qwen / "config.json", config);
  EXPECT_CONTAINS(error_of([&] { open_model(dir / "x.pth", options); }), "has states of width 7, the model takes 6");
  write_checkpoint(dir / "class.pth", test::tiny_config(), Json::object());
  EXPECT_CONTAINS(usage_error_of([&] { open_model(dir / "class.pth", options); }), "for text models");
}

TEST(Convert, NothingIsLeftHalfWritten) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_text_config(), Json::object());
  ConvertOptions options = two_heads();
  options.system_prompt = dir / "absent.txt";  // found out only while writing
  EXPECT_CONTAINS(error_of([&] { convert(dir / "x.pth", dir / "model", options); }), "`text_encoder`");
  EXPECT_EQ(dir.list(), std::vector<std::string>{"x.pth"});
  convert(dir / "x.pth", dir / "model");
  EXPECT_CONTAINS(error_of([&] { convert(dir / "x.pth", dir / "model"); }), "exists already");
  EXPECT_EQ(dir.list(), (std::vector<std::string>{"model", "x.pth"}));
}

TEST(Inspect, SaysWhatACheckpointIs) {
  const TemporaryDirectory dir;
  write_checkpoint(dir / "x.pth", test::tiny_config(), {{"mask", true}});
  const Json found = inspect_path(dir / "x.pth");
  EXPECT_EQ(found["kind"], "far-class");
  EXPECT_EQ(found["form"], "PyTorch");
  EXPECT_EQ(found["ema"], true);
  EXPECT_EQ(found["shown"], "model_ema");
  EXPECT_EQ(found["arguments"], Json({{"mask", true}}));
  EXPECT_EQ(found["others"], Json({"epoch"}));
  EXPECT_EQ(found["sampler"]["preset"], "published-mask");
  EXPECT_EQ(found["problems"], nullptr);
  EXPECT_EQ(found["architecture"]["width"], 8);
  EXPECT_EQ(found["architecture"]["heads"], nullptr);
  EXPECT_EQ(found["tensors"]["mask_token"], Json({{"dtype", "float32"}, {"shape", {1, 1, 8}}}));
  const auto model = FarModel::outline(test::tiny_config());
  EXPECT_EQ(found["parameters"]["total"], model->params().count());
  int64_t head = 0;
  for (const auto& [name, tensor] : model->params().items())
    if (name.starts_with("diffloss")) head += tensor.numel();
  EXPECT_EQ(found["parameters"]["head"], head);
  EXPECT_EQ(found["parameters"]["backbone"], model->params().count() - head);
}

TEST(Inspect, SaysWhatIsWrongWithAModelAndStillListsIt) {
  const TemporaryDirectory dir;
  TensorMap weights = weights_of(test::tiny_config(), 1);
  weights.erase("decoder_norm.bias");
  write_safetensors(dir / "x.safetensors", weights);
  Json found = inspect_path(dir / "x.safetensors");
  EXPECT_CONTAINS(found["problems"].get<std::string>(), "missing decoder_norm.bias [8]");
  EXPECT_EQ(found["kind"], "far-class");
  EXPECT_EQ(found["tensors"].size(), weights.size());
  weights.erase("mask_token");
  write_safetensors(dir / "x.safetensors", weights);
  found = inspect_path(dir / "x.safetensors");
  EXPECT_CONTAINS(found["problems"].get<std::string>(), "no tensor mask_token");
  EXPECT_EQ(found["tensors"].size(), weights.size());
}

TEST(Inspect, SaysWhatOtherFilesAre) {
  const TemporaryDirectory dir;
  write_vae(dir / "vae.ckpt");
  const Json vae = inspect_path(dir / "vae.ckpt");
  EXPECT_EQ(vae["kind"], "kl-vae");
  EXPECT_EQ(vae["foreign_tensors"], 1);
  EXPECT_EQ(vae["architecture"]["latent_channels"], 2);

  write_npz(dir / "stats.npz", {{"mu", at::ones({3}, at::kDouble)}, {"sigma", at::ones({3, 3})}});
  const Json stats = inspect_path(dir / "stats.npz");
  EXPECT_EQ(stats["kind"], "fid-statistics");
  EXPECT_EQ(stats["tensors"]["mu"], Json({{"dtype", "float64"}, {"shape", {3}}}));

  write_safetensors(dir / "x.safetensors", {{"latents", at::ones({2}, at::kHalf)}}, {{"note", "hello"}});
  const Json tensors = inspect_path(dir / "x.safetensors");
  EXPECT_EQ(tensors["kind"], "tensors");
  EXPECT_EQ(tensors["metadata"]["note"], "hello");
  EXPECT_EQ(tensors["ema"], false);
  // Of several sets, none of them a model, all are listed.
  const Json golden = inspect_path("tests/golden/io_zip.pth");
  EXPECT_TRUE(golden["tensors"].contains("model.transposed"));
  EXPECT_TRUE(golden["tensors"].contains("module.weight"));

  write_checkpoint(dir / "x.pth", test::tiny_config(Order::kMar), Json::object());
  ConvertOptions options = two_heads();
  options.tokenizer = dir / "vae.ckpt";
  convert(dir / "x.pth", dir / "model", options);
  const Json model = inspect_path(dir / "model");
  EXPECT_EQ(model["form"], "model directory");
  EXPECT_EQ(model["kind"], "mar-class");
  EXPECT_EQ(model["architecture"]["heads"], 2);
  EXPECT_EQ(model["tokenizer"]["kind"], "kl-vae");
  EXPECT_EQ(model["tokenizer"]["architecture"]["latent_scale"], 0.2325);
}

}  // namespace
}  // namespace crescendo
