#include "crescendo/store/model_dir.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "crescendo/core/file.h"
#include "crescendo/io/safetensors.h"
#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::usage_error_of;

ModelInfo tiny_info() {
  ModelInfo info;
  info.model = test::tiny_config();
  info.sampler = {{"cfg", 1.5}, {"levels", {0, 2}}};
  info.labels = {"red circle", "blue square", "green star"};
  info.training = {{"images", 12}};
  return info;
}

void save_tiny(const fs::path& dir) {
  save_model(dir, tiny_info(), test::lively_model(tiny_info().model)->params().map(), at::kFloat);
}

std::unique_ptr<FarModel> load(const fs::path& dir) {
  return load_model(dir, load_model_info(dir), at::kCPU, at::kFloat);
}

TEST(ModelDir, GoesRound) {
  const test::TemporaryDirectory dir;
  save_tiny(dir.path());
  EXPECT_EQ(dir.list(), (std::vector<std::string>{"config.json", "labels.txt", "model.safetensors"}));
  const ModelInfo info = load_model_info(dir.path());
  EXPECT_TRUE(fields_equal(info.model, tiny_info().model));
  EXPECT_EQ(info.sampler, tiny_info().sampler);
  EXPECT_EQ(info.labels, tiny_info().labels);
  EXPECT_EQ(info.training, tiny_info().training);
  const auto model = load(dir.path());
  const TensorMap weights = model->params().map();
  const auto saved = test::lively_model(info.model);
  for (const auto& [name, p] : saved->params().items()) EXPECT_TRUE(at::equal(weights.at(name), p)) << name;
  EXPECT_EQ(load_model(dir.path(), info, at::kCPU, at::kBFloat16)->dtype(), at::kBFloat16);
}

TEST(ModelDir, FaultsOfTheFilesAreNamed) {
  const test::TemporaryDirectory dir;
  EXPECT_CONTAINS(error_of([&] { load_model_info(dir.path()); }), "no config.json");
  save_tiny(dir.path());
  const Json good = read_json(dir / "config.json");
  const auto refused = [&](auto change) {
    Json config = good;
    change(config);
    write_json(dir / "config.json", config);
    try {
      load_model_info(dir.path());
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), Error::Kind::kFailure) << e.what();  // nobody used the command line wrongly
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_CONTAINS(refused([](Json& c) { c["model"]["widht"] = 8; }), "did you mean 'width'?");
  EXPECT_CONTAINS(refused([](Json& c) { c["smapler"] = 8; }), "no key 'smapler'");
  EXPECT_CONTAINS(refused([](Json& c) { c["format"] = "other"; }), "crescendo-model-1");
  EXPECT_CONTAINS(refused([](Json& c) { c["model"]["levels"] = 5; }), "levels must be in 1..4, got 5");
  EXPECT_CONTAINS(refused([](Json& c) { c["model"]["classes"] = 4; }), "3 lines, the model 4 classes");
  write_json(dir / "config.json", good);
  EXPECT_NO_THROW(load_model_info(dir.path()));
}

TEST(ModelDir, WeightsMustBeThoseOfTheModel) {
  const test::TemporaryDirectory dir;
  save_tiny(dir.path());
  const fs::path file = dir / "model.safetensors";
  const std::string intact = read_file(file);
  for (const size_t size : {size_t{0}, size_t{100}, intact.size() / 2, intact.size() - 1}) {
    write_file_atomically(file, intact.substr(0, size));
    EXPECT_CONTAINS(error_of([&] { load(dir.path()); }), "model.safetensors") << size;
  }
  TensorMap weights = test::lively_model(tiny_info().model)->params().map();
  weights.erase("mask_token");
  weights["z_proj.weight"] = at::zeros({8, 3});
  weights["extra"] = at::zeros({1});
  write_safetensors(file, weights);
  const std::string error = error_of([&] { load(dir.path()); });
  EXPECT_CONTAINS(error, "missing mask_token [1, 1, 8]");
  EXPECT_CONTAINS(error, "z_proj.weight has shape [8, 3], expected [8, 2]");
  EXPECT_CONTAINS(error, "surplus extra");
  fs::remove(file);
  EXPECT_CONTAINS(error_of([&] { load(dir.path()); }), "model.safetensors");
}

TEST(ModelDir, FoundByPathOrName) {
  const test::TemporaryDirectory dir;
  save_tiny(dir / "a" / "first");
  save_tiny(dir / "b" / "second");
  ::setenv("CRESCENDO_MODELS", ((dir / "a").string() + ":" + (dir / "b").string()).c_str(), 1);
  EXPECT_EQ(find_model("first"), dir / "a" / "first");
  EXPECT_EQ(find_model("second"), dir / "b" / "second");
  EXPECT_EQ(find_model((dir / "b" / "second").string()), dir / "b" / "second");
  const std::string error = error_of([] { find_model("secnod"); });
  EXPECT_CONTAINS(error, "did you mean 'second'?");
  EXPECT_CONTAINS(error, (dir / "a").string());
  ::unsetenv("CRESCENDO_MODELS");
  EXPECT_CONTAINS(error_of([] { find_model("second"); }), "no model 'second'");
}

TEST(ModelDir, LabelsAsEditorsSaveThem) {
  const test::TemporaryDirectory dir;
  const ModelConfig model = test::tiny_config();
  const auto read = [&](std::string_view bytes) {
    write_file_atomically(dir / "l", bytes);
    return read_labels(dir / "l", model);
  };
  using namespace std::string_view_literals;
  const std::vector<std::string> names = {"a", "b c", "d"};
  for (const auto bytes : {"a\nb c\nd\n"sv, "a\nb c\nd"sv,
                           "\xEF\xBB\xBF"
                           "a\r\nb c\r\nd\r\n\r\n"sv,
                           "a\nb c\nd\n\n \n"sv,
                           "\xFF\xFE"
                           "a\0\n\0b\0 \0c\0\n\0d\0"sv})
    EXPECT_EQ(read(bytes), names) << ::testing::PrintToString(bytes);
  EXPECT_EQ(read("a\ncaf\xE9\nd"), (std::vector<std::string>{"a", "caf\xEF\xBF\xBD", "d"}));
  EXPECT_CONTAINS(error_of([&] { read("a\nb\n"); }), "2 lines, the model 3 classes");
  EXPECT_CONTAINS(error_of([&] { read("a\n\x1b[31mb\nd"); }), "has a control character");
  EXPECT_EQ(label_names({"\xEF\xBB\xBF"
                         "a",
                         "\xE9"},
                        "here"),
            (std::vector<std::string>{"a", "\xEF\xBF\xBD"}));
  EXPECT_CONTAINS(error_of([] { label_names({"a\nb"}, "here"); }), "here: the class name 'a\nb' has a control");
}

TEST(ModelDir, ANameWinsOverANumber) {
  ModelInfo info = tiny_info();
  info.labels = {"1", "10", "2"};
  EXPECT_EQ(find_class(info, "1"), 0);
  EXPECT_EQ(find_class(info, "2"), 2);
  EXPECT_EQ(find_class(info, "10"), 1);
  EXPECT_EQ(find_class(info, "0"), 0);  // no name: a number
  EXPECT_EQ(find_class(info, "id:1"), 1);
  EXPECT_EQ(find_class(info, "id:0002"), 2);
  for (const char* wrong : {"id:3", "id:-1", "id:", "id:x", "id: 1"})
    EXPECT_CONTAINS(usage_error_of([&] { find_class(info, wrong); }), "class numbers run from 0 to 2");
  for (const char* wrong : {"-1", "+1", " 1", "0x1"})
    EXPECT_CONTAINS(usage_error_of([&] { find_class(info, wrong); }), std::string("no class '") + wrong);
  info.labels = {"crane", "tench", "crane"};
  EXPECT_EQ(
      usage_error_of([&] { find_class(info, "crane"); }),
      "the class name 'crane' stands 2 times in labels.txt, with the numbers 0, 2; ask by number, e.g. `labels=id:2`");
  EXPECT_EQ(find_class(info, "tench"), 1);
  info.labels[1] = "caf\xEF\xBF\xBD";
  EXPECT_EQ(find_class(info, "caf\xE9"), 1);  // as labels.txt was read
}

TEST(ModelDir, ClassesByNumberAndName) {
  ModelInfo info = tiny_info();
  EXPECT_EQ(find_class(info, "2"), 2);
  EXPECT_EQ(find_class(info, "002"), 2);
  EXPECT_EQ(find_class(info, "blue square"), 1);
  EXPECT_EQ(class_name(info, 1), "blue square");
  EXPECT_CONTAINS(usage_error_of([&] { find_class(info, "3"); }), "run from 0 to 2, got 3");
  EXPECT_CONTAINS(usage_error_of([&] { find_class(info, "99999999999999999999"); }), "run from 0 to 2");
  EXPECT_CONTAINS(usage_error_of([&] { find_class(info, "blue sqare"); }), "did you mean 'blue square'?");
  EXPECT_CONTAINS(usage_error_of([&] { find_class(info, "zzzzzzzzzzzzzzzz"); }),
                  "no class 'zzzzzzzzzzzzzzzz'. The names");
  info.labels.clear();
  EXPECT_CONTAINS(usage_error_of([&] { find_class(info, "blue square"); }), "have no names");
  EXPECT_EQ(class_name(info, 1), "class 1");
  info.model = test::tiny_text_config();
  EXPECT_CONTAINS(usage_error_of([&] { find_class(info, "1"); }), "give `text`");
}

}  // namespace
}  // namespace crescendo
