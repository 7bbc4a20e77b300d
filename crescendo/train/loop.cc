#include "crescendo/train/loop.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "crescendo/core/check.h"
#include "crescendo/core/device.h"
#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/core/rng.h"
#include "crescendo/core/torch_compat.h"
#include "crescendo/core/workers.h"
#include "crescendo/data/dataset.h"
#include "crescendo/io/tensor_map.h"
#include "crescendo/train/precision.h"
#include "crescendo/train/training_log.h"

namespace crescendo {

namespace {

// Weights under which the loss is so many times what it was are not worth keeping. A run that goes well stays below
// one.
constexpr double kDiverged = 100;

// On a CPU micro-batches are computed side by side, one thread each: at small sizes that is faster than several threads
// in every product. On other devices the device itself is parallel.
int64_t useful_workers(const LoopOptions& t, at::Device device) {
  if (!device.is_cpu() || t.micro_batch == 0) return 1;
  return std::min(threads(), (t.batch + t.micro_batch - 1) / t.micro_batch);
}

// What a part of a batch gives besides its gradient.
struct MicroBatch {
  double loss = 0;    // its share of the batch's
  Tensor image_loss;  // as ObjectiveResult
  Tensor levels;
  std::optional<int64_t>
      bad_image;  // of the data: its latents or text are not finite. Looked for where the loss is not
};

// What the objective is a function of, besides the weights.
struct Inputs {
  TrainingBatch batch;
  std::vector<uint64_t> seeds;  // of the images
  uint64_t batch_seed = 0;
};

// The first `count` images.
Inputs first_of(const Inputs& in, int64_t count) {
  const auto cut = [&](const Tensor& t) { return t.defined() ? t.slice(0, 0, count).clone() : t; };
  const TrainingBatch& b = in.batch;
  return {{cut(b.latents), cut(b.labels), cut(b.text), {cut(b.tokens.input_ids), cut(b.tokens.attention_mask), {}}},
          {in.seeds.begin(), in.seeds.begin() + count},
          in.batch_seed};
}

// The place in the batch of the first image with latents or text that are not finite.
std::optional<int64_t> first_not_finite(const TrainingBatch& batch) {
  for (int64_t b = 0; b < batch.latents.size(0); ++b)
    for (const Tensor& t : {batch.latents, batch.text})
      if (t.defined() && !at::isfinite(t[b]).all().item<bool>()) return b;
  return std::nullopt;
}

// Everything that learns, under the names of the checkpoint.
Params trained_parameters(const FarModel& model, const TextEncoder* text_encoder) {
  Params all;
  for (const auto& [name, p] : model.params().items()) all.adopt(name, p);
  if (text_encoder)
    for (const auto& [name, p] : text_encoder->tower().weights()) all.adopt(kTextEncoderPrefix + name, p);
  return all;
}

class Run {
 public:
  Run(FarModel& model, const TrainConfig& config, const LatentSource& data, const std::filesystem::path& out,
      const TrainHooks& hooks, const TextEncoder* text_encoder)
      : model_(model),
        text_encoder_(text_encoder),
        config_(config),
        data_(data),
        out_(out),
        hooks_(hooks),
        lowpass_(config.model.latent_height, config.model.latent_width, config.model.levels, config.model.filter),
        dtype_(training_dtype(config.train.precision, model.device())),
        workers_(useful_workers(config.train, model.device())),
        trained_(trained_parameters(model, text_encoder)),
        optimizer_(trained_, config.train.adamw, decays_as_published, workers_.count()),
        ema_(optimizer_, config.train.ema, config.train.ema_warmup),
        order_(data.size(), static_cast<uint64_t>(config.train.seed)),
        log_(out / "log.jsonl", config.model.levels) {}

  void load();
  TrainProgress go();

 private:
  MicroBatch micro_batch(int64_t first, int64_t count, int64_t worker);
  void step();
  void count_bad_step(const std::string& what, const std::string& remedy);
  ObjectiveResult objective_of(const Inputs& in) const;
  Tensor condition(const TrainingBatch& batch) const;  // (B, *, D)
  std::string fault();
  std::string lower() const;
  std::string advice(const std::string& remedy) const;
  void check_sound();
  void save();
  std::filesystem::path checkpoint_path() const { return out_ / kCheckpointFile; }

  FarModel& model_;
  const TextEncoder* text_encoder_;
  const TrainConfig& config_;
  const LatentSource& data_;
  const std::filesystem::path& out_;
  const TrainHooks& hooks_;
  Lowpass lowpass_;
  at::ScalarType dtype_;  // of products
  Workers workers_;
  Params trained_;
  AdamW optimizer_;
  Ema ema_;
  ImageOrder order_;
  TrainingLog log_;
  TrainProgress progress_;
  int64_t bad_steps_ = 0;  // in a row
  double lr_ = 0, grad_norm_ = 0;
  // The first images of this run, or some of them, and their loss before the first update.
  std::optional<Inputs> first_inputs_;
  double first_loss_ = 0;
  std::optional<int64_t> saved_images_;  // of the checkpoint in the run folder
  // How many updates the weights had when this run began, when they were last saved, when they were last found sound.
  int64_t start_updates_ = 0, saved_updates_ = 0, sound_updates_ = 0;
};

ObjectiveResult Run::objective_of(const Inputs& in) const {
  const Autocast autocast(model_.device().type(), dtype_);
  return objective(model_, config_.objective, lowpass_,
                   {in.batch.latents, condition(in.batch), in.seeds, in.batch_seed});
}

// The loss and gradient of images first..first+count of the run, in worker `worker`'s buffer.
MicroBatch Run::micro_batch(int64_t first, int64_t count, int64_t worker) {
  const LoopOptions& t = config_.train;
  const auto seed = static_cast<uint64_t>(t.seed);
  Inputs in{{}, {}, derive_seed(seed, ~static_cast<uint64_t>(progress_.images))};
  std::vector<int64_t> indices;
  for (int64_t n = first; n < first + count; ++n) {
    indices.push_back(order_.index_of(n));
    in.seeds.push_back(derive_seed(seed, static_cast<uint64_t>(n)));
  }
  in.batch = data_.batch(indices, in.seeds);
  const ObjectiveResult r = objective_of(in);
  const Tensor loss = r.loss * (static_cast<double>(count) / static_cast<double>(t.batch));
  optimizer_.add_gradient(loss, worker);
  MicroBatch out{loss.item<double>(), r.image_loss, r.levels, {}};
  if (!std::isfinite(out.loss)) {
    if (const auto bad = first_not_finite(in.batch)) out.bad_image = indices[static_cast<size_t>(*bad)];
  } else if (first == progress_.images && optimizer_.steps() == start_updates_) {
    constexpr int64_t kMost = 16;  // images: enough to see a loss a hundred times too large
    first_inputs_ = first_of(in, std::min(count, kMost));
  }
  return out;
}

Tensor Run::condition(const TrainingBatch& batch) const {
  const Conditions& conditions = model_.conditions();
  if (!config_.model.is_text()) return conditions.class_condition(batch.labels);
  return conditions.text_condition(text_encoder_ ? text_encoder_->states(batch.tokens) : batch.text);
}

// One update from the next `batch` images.
void Run::step() {
  const LoopOptions& t = config_.train;
  optimizer_.zero_grad();
  const int64_t size = t.micro_batch ? t.micro_batch : t.batch;
  std::vector<MicroBatch> micro_batches(static_cast<size_t>((t.batch + size - 1) / size));
  workers_.run([&](int64_t worker) {
    for (auto i = static_cast<size_t>(worker); i < micro_batches.size(); i += static_cast<size_t>(workers_.count())) {
      const int64_t done = static_cast<int64_t>(i) * size;
      micro_batches[i] = micro_batch(progress_.images + done, std::min(size, t.batch - done), worker);
    }
  });
  optimizer_.sum_gradients();
  double loss = 0;
  for (const MicroBatch& part : micro_batches) loss += part.loss;
  grad_norm_ = optimizer_.grad_norm();
  lr_ = learning_rate(t.lr_schedule, t.lr, progress_.images, t.images);
  progress_.images += t.batch;
  ++progress_.steps;
  if (!std::isfinite(loss)) {
    for (const MicroBatch& part : micro_batches)
      if (part.bad_image)
        return count_bad_step(concat("image ", *part.bad_image, " of the data is not finite"), "mend that image");
    return count_bad_step("the loss is not finite", lower());
  }
  if (!std::isfinite(grad_norm_)) return count_bad_step("the gradient is not finite", lower());
  const double scale = t.grad_clip > 0 && grad_norm_ > t.grad_clip ? t.grad_clip / grad_norm_ : 1.0;
  // AdamW keeps squares in fp32.
  if (!std::isfinite(static_cast<float>(grad_norm_ * scale * grad_norm_ * scale)))
    return count_bad_step(concat("the gradient's norm, ", grad_norm_, ", is too large"), lower());
  bad_steps_ = 0;
  for (const MicroBatch& part : micro_batches) log_.add(part.image_loss, part.levels);
  if (optimizer_.steps() == start_updates_) {
    const at::NoGradGuard no_grad;
    first_loss_ = objective_of(*first_inputs_).loss.item<double>();
  }
  optimizer_.step(lr_, scale);
  ema_.update(optimizer_);
}

void Run::count_bad_step(const std::string& what, const std::string& remedy) {
  ++bad_steps_;
  log_warning(concat("step ", progress_.steps, " skipped: ", what));
  if (bad_steps_ < config_.train.max_bad_steps) return;
  // What was learned before is kept, where it is not the cause.
  const bool keep = optimizer_.steps() > saved_updates_ && fault().empty();
  if (keep) save();
  fail("training stopped: ", bad_steps_, " steps in a row were not finite, at last because ", what, "; ",
       advice(remedy));
}

// Why the weights must not be kept; empty where nothing speaks against it.
std::string Run::fault() {
  if (const std::string name = first_not_finite(optimizer_, ema_); !name.empty()) return name + " is not finite";
  if (optimizer_.steps() == sound_updates_) return {};
  optimizer_.zero_grad();
  const Tensor loss = objective_of(*first_inputs_).loss;
  optimizer_.add_gradient(loss);
  const auto now = loss.item<double>();
  if (!std::isfinite(now) || !std::isfinite(optimizer_.grad_norm())) return "the loss or gradient is not finite";
  if (now > kDiverged * std::max(1.0, first_loss_))
    return concat("the loss of the first images went from ", first_loss_, " to ", now);
  sound_updates_ = optimizer_.steps();
  return {};
}

// What to do against divergence.
std::string Run::lower() const {
  return concat("lower train.lr (", config_.train.lr, ") or train.grad_clip (", config_.train.grad_clip, ")");
}

// What is left, and how to go on from it.
std::string Run::advice(const std::string& remedy) const {
  return saved_images_
             ? concat(checkpoint_path().string(), " is that of ", *saved_images_, " images: ", remedy, " and `resume`")
             : concat("nothing was saved yet: ", remedy, " and start anew");
}

void Run::check_sound() {
  const std::string what = fault();
  check(what.empty(), "training diverged before ", progress_.images, " images: ", what, "; ", advice(lower()));
}

void Run::save() {
  check_sound();
  write_checkpoint(checkpoint_path(), config_, optimizer_, ema_, progress_);
  saved_images_ = progress_.images;
  saved_updates_ = optimizer_.steps();
  if (hooks_.on_save) hooks_.on_save(progress_, ema_.state(optimizer_));
}

void Run::load() {
  progress_ = read_checkpoint(checkpoint_path(), config_, optimizer_, ema_);
  saved_images_ = progress_.images;
  saved_updates_ = sound_updates_ = start_updates_ = optimizer_.steps();
}

TrainProgress Run::go() {
  const LoopOptions& t = config_.train;
  Progress bar("training", static_cast<double>(progress_.images) / static_cast<double>(t.images));
  const double start_s = now_s() - progress_.seconds;
  double saved_s = now_s(), logged_s = now_s();
  int64_t logged_images = progress_.images;
  while (progress_.images < t.images && !interrupted()) {
    const int64_t before = progress_.images;
    step();
    progress_.seconds = now_s() - start_s;
    const auto due = [&](int64_t every) { return every > 0 && progress_.images / every != before / every; };
    const bool end = progress_.images >= t.images;
    if (due(t.log_images) || end) {
      const double rate = static_cast<double>(progress_.images - logged_images) / (now_s() - logged_s);
      progress_.loss = log_.write({.progress = progress_,
                                   .epoch = static_cast<double>(progress_.images) / static_cast<double>(data_.size()),
                                   .learning_rate = lr_,
                                   .grad_norm = grad_norm_,
                                   .images_per_s = rate});
      bar.update(static_cast<double>(progress_.images) / static_cast<double>(t.images),
                 concat(progress_.images, " images, loss ", std::round(progress_.loss * 1e4) / 1e4, ", ",
                        std::lround(rate), " images/s"));
      logged_s = now_s();
      logged_images = progress_.images;
    }
    const auto show = [&](const auto& hook, int64_t every) {
      if (!hook || every == 0 || !(due(every) || end)) return;
      check_sound();
      hook(progress_, ema_.state(optimizer_));
    };
    show(hooks_.on_sample, t.sample_images);
    show(hooks_.on_evaluate, t.evaluate_images);
    if (now_s() - saved_s > t.save_minutes * 60) {
      save();
      saved_s = now_s();
    }
  }
  save();
  bar.finish(concat(progress_.images >= t.images ? "trained on " : "stopped after ", progress_.images, " images in ",
                    format_duration(progress_.seconds), "; checkpoint in ", out_.string()));
  return progress_;
}

}  // namespace

void check_run_folder(const std::filesystem::path& out, bool resume) {
  const auto checkpoint = out / kCheckpointFile;
  if (resume)
    check(std::filesystem::exists(checkpoint), "nothing to resume: ", checkpoint.string(), " does not exist");
  else
    check_usage(!std::filesystem::exists(checkpoint), out.string(),
                " holds a training run already; `resume` goes on with it, another `out` starts anew");
}

TensorMap take_text_encoder(TensorMap& weights) {
  TensorMap taken = with_prefix_removed(weights, kTextEncoderPrefix);
  for (const auto& [name, tensor] : taken) weights.erase(kTextEncoderPrefix + name);
  return taken;
}

TrainProgress train(FarModel& model, const TrainConfig& given, const LatentSource& data,
                    const std::filesystem::path& out, bool resume, const TrainHooks& hooks, TextEncoder* text_encoder) {
  TrainConfig config = given;
  config.settle_model();
  config.train.validate();
  config.objective.validate();
  check(config.model.is_text() || !text_encoder, "train: a class model has no text encoder");
  check_usage(data.size() > 0, "training needs at least one image");
  check_run_folder(out, resume);
  make_directories(out);
  Run run(model, config, data, out, hooks, text_encoder);
  if (resume) run.load();
  write_json(out / "options.json", value_to_json(config));
  return run.go();
}

}  // namespace crescendo
