#include "crescendo/pipeline/prompts.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "crescendo/core/json.h"
#include "tests/fixture_model.h"
#include "tests/support.h"
#include "tests/tiny_model.h"
#include "tests/tiny_text_encoder.h"

namespace crescendo {
namespace {

using test::error_of;
using test::relative_l2;
using Strings = std::vector<std::string>;

TEST(ReadPrompts, TakesALineOrAJsonObjectEach) {
  const test::TemporaryDirectory dir;
  write_file_atomically(dir / "plain.txt", std::string_view("\xEF\xBB\xBF"
                                                            "a red cat\r\n\n  two spaces\na dog"));
  EXPECT_EQ(read_prompts(dir / "plain.txt"), (Strings{"a red cat", "  two spaces", "a dog"}));
  write_file_atomically(dir / "wide.txt", std::string_view("\xFF\xFE"
                                                           "a\0\r\0\n\0b\0",
                                                           10));
  EXPECT_EQ(read_prompts(dir / "wide.txt"), (Strings{"a", "b"}));
  write_file_atomically(dir / "latin.txt", std::string_view("caf\xE9\n\n\n"));
  EXPECT_EQ(read_prompts(dir / "latin.txt"), (Strings{"caf\xEF\xBF\xBD"}));
  const std::string_view json = "{\"prompt\": \"a \\u00e9toile\", \"tag\": \"colors\"}\n\n{\"prompt\": \"\"}\n";
  write_file_atomically(dir / "p.jsonl", json);
  EXPECT_EQ(read_prompts(dir / "p.jsonl"), (Strings{"a \xC3\xA9toile", ""}));
  write_file_atomically(dir / "json.txt", json);
  EXPECT_EQ(read_prompts(dir / "json.txt"), read_prompts(dir / "p.jsonl"));
}

TEST(ReadPrompts, NamesTheLineThatIsWrong) {
  const test::TemporaryDirectory dir;
  const auto error = [&](const char* name, std::string_view content) {
    write_file_atomically(dir / name, content);
    return error_of([&] { read_prompts(dir / name); });
  };
  EXPECT_CONTAINS(error("a.jsonl", "{\"prompt\": \"a\"}\n\n{\"prompt\": \"b\"\n"), "a.jsonl, line 3 is not valid JSON");
  EXPECT_CONTAINS(error("b.txt", "{\"prompt\": \"a\"}\nplain\n"), "b.txt, line 2 is not valid JSON");
  EXPECT_CONTAINS(error("c.jsonl", "{\"text\": \"a\"}\n"), "line 1: should be {\"prompt\": text}");
  EXPECT_CONTAINS(error("d.jsonl", "{\"prompt\": 3}\n"), "line 1: should be");
  EXPECT_CONTAINS(error("e.txt", " \n\n"), "holds no prompts");
}

// A model directory with all that prompts need, and the model in it.
struct TinyTextModel {
  test::TemporaryDirectory dir;
  ModelConfig config = test::tiny_text_config();
  Pipeline pipeline{{.model = config}, test::lively_model(config), nullptr};

  TinyTextModel() { test::write_tiny_text_encoder(dir / "text_encoder", config.text_hidden); }
  TextEncoder encoder() const { return load_text_encoder(dir / "text_encoder", config, at::kCPU, at::kFloat); }

  std::vector<Tensor> latents(Request request, int64_t images) const {
    request.sampler["steps"] = 2;
    request.sampler["diffusion_steps"] = Json::array({3});
    request.decode = false;
    for (int64_t i = 0; i < images; ++i) request.seeds.push_back(static_cast<uint64_t>(40 + i));
    std::vector<Tensor> out;
    PipelineHooks hooks;
    hooks.on_image = [&](Generated g) { out.push_back(g.latent); };
    EXPECT_TRUE(pipeline.generate(request, hooks));
    return out;
  }
};

TEST(EncodePrompts, EncodesEachPromptOnce) {
  const TinyTextModel tiny;
  Request request;
  encode_prompts(tiny.encoder(), Strings{"a red cat", "", "a blue dog", "a red cat", ""}, request);
  EXPECT_EQ(request.text.sizes(), (at::IntArrayRef{3, tiny.config.text_length, tiny.config.text_hidden}));
  EXPECT_EQ(request.text_rows, (std::vector<int64_t>{0, kUnconditional, 2, 0, kUnconditional}));
  const Tensor alone = tiny.encoder().encode(Strings{"a blue dog"});
  EXPECT_LT(relative_l2(request.text.slice(0, 2, 3), alone), 1e-5);
}

TEST(EncodePrompts, AnEmptyPromptIsTheLearnedUnconditionalText) {
  const TinyTextModel tiny;
  Request request;
  encode_prompts(tiny.encoder(), Strings{""}, request);
  const Tensor got = tiny.latents(request, 1)[0];
  // Guided or not, it is the same, as both halves of the guidance are it.
  request.sampler["cfg"] = 1.0;
  EXPECT_LT(relative_l2(got, tiny.latents(request, 1)[0]), 1e-5);
  request.text_rows = {0};  // the states of no text are another thing
  EXPECT_GT(relative_l2(got, tiny.latents(request, 1)[0]), 1e-2);
}

TEST(EncodePrompts, PicturesDoNotDependOnTheBatch) {
  const TinyTextModel tiny;
  Request request;
  encode_prompts(tiny.encoder(), Strings{"a red cat", "", "a blue dog", "a red cat"}, request);
  request.batch = 4;
  const auto together = tiny.latents(request, 4);
  EXPECT_GT(relative_l2(together[0], together[2]), 1e-2);
  for (const int64_t batch : {1, 3}) {
    request.batch = batch;
    const auto apart = tiny.latents(request, 4);
    for (size_t i = 0; i < 4; ++i)
      EXPECT_LT(relative_l2(apart[i], together[i]), 1e-5) << "batch " << batch << " image " << i;
  }
}

TEST(LoadTextEncoder, NamesWhatDoesNotFit) {
  const TinyTextModel tiny;
  const auto folder = tiny.dir / "text_encoder";
  const auto error = [&] { return error_of([&] { tiny.encoder(); }); };
  const Json config = read_json(folder / "config.json");
  const auto with = [&](const char* key, const Json& value) {
    Json changed = config;
    changed[key] = value;
    write_json(folder / "config.json", changed);
    return error();
  };
  EXPECT_CONTAINS(with("hidden_act", "relu"), "\"relu\"");
  EXPECT_CONTAINS(with("architectures", {"LlamaForCausalLM"}), "LlamaForCausalLM");
  EXPECT_CONTAINS(with("num_key_value_heads", nullptr), "lacks: num_key_value_heads");
  write_json(folder / "config.json", config);

  ModelConfig wider = tiny.config;
  wider.text_hidden = 8;
  EXPECT_CONTAINS(error_of([&] { load_text_encoder(folder, wider, at::kCPU, at::kFloat); }),
                  "states of width 6, the model takes 8");

  const TokenizerFiles files = TokenizerFiles::read(folder);
  train_bpe(Strings{"another text, another text, with more words, with more words"}, 290).write(folder);
  EXPECT_CONTAINS(error(), "do not belong together");
  files.write(folder);

  std::filesystem::remove(folder / "model.safetensors");
  write_json(folder / "model.safetensors.index.json",
             {{"weight_map", {{"model.norm.weight", "model-00002-of-00002.safetensors"}}}});
  EXPECT_CONTAINS(error(), "model-00002-of-00002.safetensors");

  std::filesystem::remove_all(folder);
  EXPECT_CONTAINS(error(), "there is no " + folder.string());
}

TEST(Pipeline, MakesThePublishedTextModelsLatentsFromTextStates) {
  CRESCENDO_NEEDS_SHARED("fixtures/t2i_micro");
  const TensorMap expected = test::fixture_expected("t2i_micro");
  const ModelConfig config = test::fixture_config("t2i_micro");
  const Pipeline pipeline({.model = config}, test::fixture_model("t2i_micro"), nullptr);
  Request request;
  request.sampler["preset"] = "published-t2i";
  request.text = expected.at("sample.text");
  for (const char* key : {"noise_init", "noise_step", "order"})
    request.noise[key] = expected.at(std::string("sample.") + key);
  request.sampler["diffusion_steps"] = Json::array({request.noise.at("noise_step").size(1)});
  request.seeds = {0, 1};
  request.batch = 1;
  request.decode = false;
  std::vector<Tensor> latents;
  PipelineHooks hooks;
  hooks.on_image = [&](Generated g) { latents.push_back(g.latent); };
  ASSERT_TRUE(pipeline.generate(request, hooks));
  EXPECT_LT(relative_l2(at::stack(latents), expected.at("sample.latents")), 3e-5);
}

}  // namespace
}  // namespace crescendo
