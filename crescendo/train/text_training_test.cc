#include "crescendo/train/text_training.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/core/rng.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/io/tensor_map.h"
#include "tests/support.h"
#include "tests/tiny_model.h"
#include "tests/tiny_text_encoder.h"

namespace crescendo {
namespace {

using test::relative_l2;
using Strings = std::vector<std::string>;

// Six latents that differ.
class TinyLatents : public LatentSource {
 public:
  explicit TinyLatents(const ModelConfig& m)
      : latents_(at::empty({6, m.latent_channels, m.latent_height, m.latent_width})) {
    Rng(3, Draw::kOther).fill_normal({latents_.data_ptr<float>(), static_cast<size_t>(latents_.numel())});
  }
  int64_t size() const override { return latents_.size(0); }
  TrainingBatch batch(const std::vector<int64_t>& indices, const std::vector<uint64_t>&) const override {
    return {latents_.index_select(0, at::tensor(indices, at::kLong)), {}, {}};
  }

 private:
  Tensor latents_;
};

const Strings kCaptions{"a red cat", "a blue dog", "a red dog", "a red cat", "a blue cat", "a dog"};

TrainConfig tiny_train(int64_t images) {
  TrainConfig c;
  c.model = test::tiny_text_config();
  c.objective.label_dropout = 0.2;
  c.train.images = images;
  c.train.batch = 4;
  c.train.micro_batch = 2;
  c.train.lr = 1e-2;
  c.train.lr_schedule.warmup_images = 0;
  c.train.ema = 0.5;
  c.train.log_images = 4;
  c.train.sample_images = 0;
  return c;
}

// Everything that a run of `images` leaves behind. A tower of its own, or the given one kept as it is.
struct TinyRun {
  TrainConfig config;
  TextEncoder encoder = test::tiny_text_encoder(config.model.text_hidden, config.model.text_length);
  std::unique_ptr<FarModel> model = test::lively_model(config.model);
  TensorMap ema;

  TinyRun(int64_t images, const std::filesystem::path& out, bool frozen, bool resume = false)
      : config(tiny_train(images)) {
    set_log_level(LogLevel::kQuiet);
    const TinyLatents latents(config.model);
    const CaptionedLatents data(latents, kCaptions, encoder, frozen);
    TrainHooks hooks;
    hooks.on_save = [&](const TrainProgress&, const TensorMap& weights) {
      for (const auto& [name, t] : weights) ema[name] = t.clone();
    };
    train(*model, config, data, out, resume, hooks, frozen ? nullptr : &encoder);
    set_log_level(LogLevel::kNormal);
  }
};

TEST(TextTraining, TheTowerLearnsAlong) {
  const test::TemporaryDirectory dir;
  const TextEncoder before = test::tiny_text_encoder(6, 5);
  TinyRun run(16, dir / "run", /*frozen=*/false);
  const TensorMap& first = before.tower().weights();
  for (const auto& [name, trained] : run.encoder.tower().weights())
    EXPECT_GT(relative_l2(trained, first.at(name)), 1e-4) << name;
  // The average is of both, and neither the first nor the last weights.
  TensorMap model_weights = run.ema;
  const TensorMap tower = take_text_encoder(model_weights);
  EXPECT_EQ(model_weights.size(), run.model->params().items().size());
  ASSERT_EQ(tower.size(), first.size());
  const std::string norm = "model.norm.weight";
  EXPECT_GT(relative_l2(tower.at(norm), first.at(norm)), 1e-5);
  EXPECT_GT(relative_l2(tower.at(norm), run.encoder.tower().weights().at(norm)), 1e-5);
}

TEST(TextTraining, AFrozenTowerStaysAsItIsAndGivesTheStatesOfItsCaptions) {
  const test::TemporaryDirectory dir;
  TinyRun run(8, dir / "run", /*frozen=*/true);
  const TextEncoder before = test::tiny_text_encoder(6, 5);
  for (const auto& [name, t] : run.encoder.tower().weights()) {
    EXPECT_TRUE(at::equal(t, before.tower().weights().at(name))) << name;
    EXPECT_FALSE(t.requires_grad()) << name;
  }
  EXPECT_TRUE(with_prefix_removed(run.ema, kTextEncoderPrefix).empty());
  // The cached states are those that the tower that is trained along would begin with.
  const TinyLatents latents(run.config.model);
  const TrainingBatch cached = CaptionedLatents(latents, kCaptions, before, true).batch({4, 0, 3}, {1, 2, 3});
  const TrainingBatch fresh = CaptionedLatents(latents, kCaptions, before, false).batch({4, 0, 3}, {1, 2, 3});
  EXPECT_LT(relative_l2(cached.text, before.states(fresh.tokens)), 1e-5);
  EXPECT_LT(relative_l2(cached.text, before.encode(Strings{kCaptions[4], kCaptions[0], kCaptions[3]})), 1e-5);
  EXPECT_FALSE(fresh.text.defined());
}

TEST(TextTraining, ResumesBitForBitWithItsTower) {
  const test::TemporaryDirectory dir;
  TinyRun whole(24, dir / "whole", false);
  TinyRun(12, dir / "parts", false);
  TinyRun rest(24, dir / "parts", false, /*resume=*/true);
  ASSERT_EQ(rest.ema.size(), whole.ema.size());
  for (const auto& [name, t] : whole.ema) EXPECT_TRUE(at::equal(rest.ema.at(name), t)) << name;
  const TensorMap& tower = whole.encoder.tower().weights();
  for (const auto& [name, t] : rest.encoder.tower().weights()) EXPECT_TRUE(at::equal(t, tower.at(name))) << name;
  EXPECT_CONTAINS(test::error_of([&] { TinyRun(32, dir / "parts", /*frozen=*/true, /*resume=*/true); }),
                  "was the text encoder frozen");
}

TEST(TextTraining, SaysWhichCaptionsAreTooLong) {
  const ModelConfig config = test::tiny_text_config();
  const TinyLatents latents(config);
  Strings captions = kCaptions;
  captions[2] = "1234567";
  testing::internal::CaptureStderr();
  const CaptionedLatents data(latents, captions, test::tiny_text_encoder(6, 5), false);
  EXPECT_CONTAINS(
      testing::internal::GetCapturedStderr(),
      "1 of 5 captions are longer than the 5 tokens of model.text_length; the first, '1234567', loses '67'");
}

TEST(Flip, IsRefusedWhereACaptionNamesASide) {
  for (const char* side :
       {"a cat LEFT of a dog", "right-hand side", "the leftmost one", "turning clockwise", "facing north-west",
        "a ring (right)", "the \xE2\x80\x9CLeft\xE2\x80\x9D sign", "\xE5\xB7\xA6\xE8\xBE\xB9\xE7\x9A\x84\xE7\x8C\xAB"})
    EXPECT_TRUE(names_side(side)) << side;
  for (const char* other : {"copyright", "bright", "cleft", "a western", "", "\xC3\xA9left"})
    EXPECT_FALSE(names_side(other)) << other;
  EXPECT_CONTAINS(test::usage_error_of([] {
                    check_flip(Strings{"a dog", "a dog right of a cat"});
                  }),
                  "'a dog right of a cat'; use `flip=false`");
  check_flip(kCaptions);
}

TEST(TextTraining, RefusesStatesThatDoNotFitInMemory) {
  const TextEncoder encoder = test::tiny_text_encoder(6, 5);
  check_states_fit(5, encoder);
  EXPECT_CONTAINS(test::error_of([&] { check_states_fit(int64_t{1} << 50, encoder); }), "135 PB of memory");
}

TEST(MakeTextEncoder, WritesASmallEncoderWithTheVocabularyOfTheCaptions) {
  const test::TemporaryDirectory dir;
  TextEncoderOptions options;
  options.vocabulary = 300;
  options.layers = 2;
  options.intermediate = 12;
  make_text_encoder(dir / "made", options, 16, kCaptions, 1);
  TextEncoder made = TextEncoder::load(dir / "made", 8);
  EXPECT_EQ(made.hidden_size(), 16);
  EXPECT_EQ(made.tower().config().num_hidden_layers, 2);
  EXPECT_EQ(made.tower().config().vocab_size, made.tokenizer().vocab_size());
  EXPECT_LT(made.tokenizer().encode("a red cat").size(), 6u);  // of nine bytes
  make_text_encoder(dir / "again", options, 16, kCaptions, 1);
  for (const char* file : {"tokenizer.json", "model.safetensors"})
    EXPECT_EQ(read_file(dir / "made" / file), read_file(dir / "again" / file)) << file;

  // Trained weights take the place of the first ones; a frozen encoder is copied as it is.
  write_file_atomically(dir / "made" / kSystemPromptFile, std::string_view("draw: "));
  TensorMap doubled;
  for (const auto& [name, t] : made.tower().weights()) doubled[name] = t * 2;
  save_text_encoder(dir / "trained", dir / "made", made.tower().config(), doubled);
  save_text_encoder(dir / "frozen", dir / "made", made.tower().config(), {});
  const Tensor trained = TextEncoder::load(dir / "trained", 8).encode(Strings{"a dog"});
  const Tensor frozen = TextEncoder::load(dir / "frozen", 8).encode(Strings{"a dog"});
  EXPECT_TRUE(at::equal(frozen, TextEncoder::load(dir / "made", 8).encode(Strings{"a dog"})));
  EXPECT_GT(relative_l2(trained, frozen), 1e-2);
  EXPECT_EQ(read_file(dir / "trained" / kSystemPromptFile), "draw: ");
}

TEST(MakeTextEncoder, RefusesSizesThatContradictEachOther) {
  TextEncoderOptions options;
  EXPECT_CONTAINS(test::usage_error_of([&] { options.validate(18); }), "model.text_hidden 18");
  options.frozen = true;
  EXPECT_CONTAINS(test::usage_error_of([&] { options.validate(16); }), "text.frozen needs");
}

}  // namespace
}  // namespace crescendo
