#include "crescendo/train/loop.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <fstream>
#include <map>
#include <mutex>

#include "crescendo/core/check.h"
#include "crescendo/core/device.h"
#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/core/rng.h"
#include "crescendo/core/torch_compat.h"
#include "crescendo/core/workers.h"
#include "crescendo/data/dataset.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/io/tensor_map.h"
#include "crescendo/train/precision.h"

namespace crescendo {

namespace {

constexpr const char* kCheckpointFormat = "crescendo-training-1";
constexpr const char* kCheckpointFile = "checkpoint.safetensors";

// Sums of the loss since the last log line, in all and per level.
struct LossMeter {
  explicit LossMeter(int64_t levels) : sum(static_cast<size_t>(levels) + 1), count(static_cast<size_t>(levels) + 1) {}
  std::vector<double> sum;
  std::vector<int64_t> count;
  double total = 0;
  int64_t images = 0;

  void add(const Tensor& image_loss, const Tensor& levels) {
    const Tensor loss = image_loss.to(at::kCPU);
    for (int64_t b = 0; b < loss.size(0); ++b) {
      const double l = loss.data_ptr<float>()[b];
      const auto level = static_cast<size_t>(levels.data_ptr<int64_t>()[b]);
      sum[level] += l;
      ++count[level];
      total += l;
      ++images;
    }
  }
  double mean() const { return images ? total / static_cast<double>(images) : NAN; }  // null in JSON
  Json per_level() const {
    Json out = Json::object();
    for (size_t i = 0; i < sum.size(); ++i)
      if (count[i]) out[std::to_string(i)] = sum[i] / static_cast<double>(count[i]);
    return out;
  }
};

// Which image of the data is the n-th of a run; safe to ask from several threads.
class ImageOrder {
 public:
  ImageOrder(int64_t size, uint64_t seed) : size_(size), seed_(seed) {}
  int64_t index_of(int64_t n) {
    const std::lock_guard lock(mutex_);
    const int64_t epoch = n / size_;
    auto it = orders_.find(epoch);
    if (it == orders_.end()) {
      // A batch may reach over the end of an epoch, so the one before is kept.
      orders_.erase(orders_.begin(), orders_.lower_bound(epoch - 1));
      it = orders_.emplace(epoch, epoch_order(size_, seed_, epoch)).first;
    }
    return it->second[static_cast<size_t>(n % size_)];
  }

 private:
  int64_t size_;
  uint64_t seed_;
  std::mutex mutex_;
  std::map<int64_t, std::vector<int64_t>> orders_;  // by epoch
};

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
};

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
        meter_(config.model.levels) {}

  void load();
  TrainProgress go();

 private:
  MicroBatch micro_batch(int64_t first, int64_t count, int64_t worker);
  void step();
  Tensor condition(const TrainingBatch& batch) const;  // (B, *, D)
  void log_line(double images_per_s);
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
  LossMeter meter_;
  TrainProgress progress_;
  int64_t bad_steps_ = 0;
  double lr_ = 0, grad_norm_ = 0;
};

// The loss and gradient of images first..first+count of the run, in worker `worker`'s buffer.
MicroBatch Run::micro_batch(int64_t first, int64_t count, int64_t worker) {
  const LoopOptions& t = config_.train;
  const auto seed = static_cast<uint64_t>(t.seed);
  std::vector<int64_t> indices;
  std::vector<uint64_t> seeds;
  for (int64_t n = first; n < first + count; ++n) {
    indices.push_back(order_.index_of(n));
    seeds.push_back(derive_seed(seed, static_cast<uint64_t>(n)));
  }
  const TrainingBatch batch = data_.batch(indices, seeds);
  ObjectiveResult r;
  {
    const Autocast autocast(model_.device().type(), dtype_);
    r = objective(model_, config_.objective, lowpass_, batch.latents, condition(batch), seeds,
                  derive_seed(seed, ~static_cast<uint64_t>(progress_.images)));
  }
  const Tensor loss = r.loss * (static_cast<double>(count) / static_cast<double>(t.batch));
  optimizer_.add_gradient(loss, worker);
  return {loss.item<double>(), r.image_loss, r.levels};
}

Tensor Run::condition(const TrainingBatch& batch) const {
  const Backbone& backbone = model_.backbone();
  if (!config_.model.is_text()) return backbone.class_condition(batch.labels);
  return backbone.text_condition(text_encoder_ ? text_encoder_->states(batch.tokens) : batch.text);
}

// One update from the next `batch` images.
void Run::step() {
  const LoopOptions& t = config_.train;
  optimizer_.zero_grad();
  const int64_t size = t.micro_batch ? t.micro_batch : t.batch;
  std::vector<MicroBatch> parts(static_cast<size_t>((t.batch + size - 1) / size));
  workers_.run([&](int64_t worker) {
    for (auto i = static_cast<size_t>(worker); i < parts.size(); i += static_cast<size_t>(workers_.count())) {
      const int64_t done = static_cast<int64_t>(i) * size;
      parts[i] = micro_batch(progress_.images + done, std::min(size, t.batch - done), worker);
    }
  });
  optimizer_.sum_gradients();
  double loss = 0;
  for (const MicroBatch& part : parts) loss += part.loss;
  grad_norm_ = optimizer_.grad_norm();
  lr_ = learning_rate(t.lr_schedule, t.lr, progress_.images, t.images);
  progress_.images += t.batch;
  ++progress_.steps;
  if (!std::isfinite(loss) || !std::isfinite(grad_norm_)) {
    ++bad_steps_;
    log_warning(concat("step ", progress_.steps, " skipped: ", std::isfinite(loss) ? "the gradient" : "the loss",
                       " is not finite"));
    if (bad_steps_ < t.max_bad_steps) return;
    save();
    fail("training stopped: ", bad_steps_,
         " steps in a row were not finite; lower train.lr or train.grad_clip and --resume");
  }
  bad_steps_ = 0;
  for (const MicroBatch& part : parts) meter_.add(part.image_loss, part.levels);
  optimizer_.step(lr_, t.grad_clip > 0 && grad_norm_ > t.grad_clip ? t.grad_clip / grad_norm_ : 1.0);
  ema_.update(optimizer_);
}

void Run::log_line(double images_per_s) {
  const Json line = {{"step", progress_.steps},
                     {"images", progress_.images},
                     {"epoch", static_cast<double>(progress_.images) / static_cast<double>(data_.size())},
                     {"loss", meter_.mean()},
                     {"loss_per_level", meter_.per_level()},
                     {"lr", lr_},
                     {"grad_norm", grad_norm_},
                     {"images_per_s", images_per_s},
                     {"seconds", progress_.seconds}};
  std::ofstream log(out_ / "log.jsonl", std::ios::app);
  log << line.dump() << std::endl;  // flushed, or a full disk would go unseen
  check(log.good(), "cannot write ", (out_ / "log.jsonl").string());
  progress_.loss = meter_.mean();
  meter_ = LossMeter(config_.model.levels);
}

void Run::save() {
  TensorMap tensors = optimizer_.views(optimizer_.flat_parameters(), "model.");
  tensors.merge(ema_.state(optimizer_, "ema."));
  tensors.merge(optimizer_.state());
  const Json state = {{"images", progress_.images},
                      {"steps", progress_.steps},
                      {"seconds", progress_.seconds},
                      {"updates", optimizer_.steps()},
                      {"ema_updates", ema_.updates()}};
  write_safetensors(
      checkpoint_path(), tensors,
      {{"format", kCheckpointFormat}, {"state", state.dump()}, {"config", value_to_json(config_).dump()}});
  if (hooks_.on_save) hooks_.on_save(progress_, ema_.state(optimizer_));
}

void Run::load() {
  const std::string name = checkpoint_path().string();
  const Safetensors file = read_safetensors(checkpoint_path());
  const auto metadata = [&](const char* key) {
    const auto it = file.metadata.find(key);
    check(it != file.metadata.end(), name, " is not a training checkpoint: its metadata lacks ", key);
    return it->second;
  };
  check(metadata("format") == kCheckpointFormat, name, " has format ", metadata("format"), ", expected ",
        kCheckpointFormat);
  TrainConfig saved;
  value_from_json(saved, parse_json(metadata("config"), name), "config");
  saved.settle_model();  // an older one's model does not say what it was trained for
  check(fields_equal(saved.model, config_.model), name, " is of another model: ", value_to_json(saved.model).dump());
  check(fields_equal(saved.objective, config_.objective) && saved.train.seed == config_.train.seed, name,
        " was trained with another objective or seed: ", value_to_json(saved.objective).dump());
  const TensorMap saved_parameters = with_prefix_removed(file.tensors, "model.");
  const TensorMap views = optimizer_.views(optimizer_.flat_parameters(), "");
  check(saved_parameters.size() == views.size(), name, " trains ", saved_parameters.size(), " tensors, this run ",
        views.size(), ": was the text encoder frozen in one and not in the other?");
  const at::NoGradGuard no_grad;
  for (const auto& [key, view] : views) {
    const auto it = saved_parameters.find(key);
    check(it != saved_parameters.end() && it->second.sizes() == view.sizes(), name, " lacks model.", key, " ",
          view.sizes());
    view.copy_(it->second);
  }
  try {
    const Json state = parse_json(metadata("state"), name);
    optimizer_.load_state(file.tensors, state.at("updates"), name);
    ema_.load_state(optimizer_, file.tensors, "ema.", state.at("ema_updates"), name);
    progress_ = {state.at("images"), state.at("steps"), state.at("seconds"), 0};
  } catch (const Json::exception& e) {
    fail(name, " has unusable training state: ", e.what());
  }
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
      log_line(rate);
      bar.update(static_cast<double>(progress_.images) / static_cast<double>(t.images),
                 concat(progress_.images, " images, loss ", std::round(progress_.loss * 1e4) / 1e4, ", ",
                        std::lround(rate), " images/s"));
      logged_s = now_s();
      logged_images = progress_.images;
    }
    if (hooks_.on_sample && (due(t.sample_images) || (end && t.sample_images > 0)))
      hooks_.on_sample(progress_, ema_.state(optimizer_));
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
                " holds a training run already; --resume goes on with it, another --out starts anew");
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
