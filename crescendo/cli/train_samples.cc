#include "crescendo/cli/train_samples.h"

#include <cstdio>
#include <fstream>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/data/shapes.h"
#include "crescendo/image/grid.h"
#include "crescendo/metrics/geneval_score.h"
#include "crescendo/metrics/shapes_score.h"
#include "crescendo/pipeline/prompts.h"

namespace crescendo {

namespace {

constexpr int64_t kShown = 16;    // pictures on a sheet
constexpr int64_t kScored = 160;  // pictures of a score
constexpr int64_t kBatch = 40;

Request request_of(size_t pictures, uint64_t seed) {
  Request request;
  request.batch = kBatch;
  for (uint64_t i = 0; i < pictures; ++i) request.seeds.push_back(seed + i);
  return request;
}

}  // namespace

TrainSamples::TrainSamples(const ModelInfo& info, std::shared_ptr<const KlVae> vae, std::filesystem::path out,
                           uint64_t seed)
    : info_(info), vae_(std::move(vae)), out_(std::move(out)), shapes_(info.labels == shapes_class_names()) {
  const int64_t count = shapes_ ? kScored : kShown;
  request_ = request_of(static_cast<size_t>(count), seed);
  for (int64_t i = 0; i < count; ++i) {
    request_.labels.push_back(shapes_ ? i * info.model.classes / count : i % info.model.classes);
    captions_.push_back(class_name(info, request_.labels.back()));
  }
}

TrainSamples::TrainSamples(const ModelInfo& info, std::shared_ptr<const KlVae> vae, std::filesystem::path out,
                           uint64_t seed, const TextEncoder& encoder, bool frozen, std::vector<GenevalPrompt> prompts,
                           std::vector<std::string> captions)
    : info_(info),
      vae_(std::move(vae)),
      out_(std::move(out)),
      captions_(std::move(captions)),
      prompts_(std::move(prompts)) {
  if (prompts_.empty())
    captions_.resize(std::min(captions_.size(), static_cast<size_t>(kShown)));
  else
    captions_.clear();
  for (const GenevalPrompt& prompt : prompts_) captions_.push_back(prompt.prompt);
  request_ = request_of(captions_.size(), seed);
  if (frozen)
    encode_prompts(encoder, captions_, request_);
  else
    encoder_ = &encoder;
}

std::vector<Image> TrainSamples::draw(const TensorMap& weights) const {
  TensorMap model_weights;
  for (const auto& [name, t] : weights) model_weights[name] = t.detach();
  TensorMap text_weights = take_text_encoder(model_weights);
  Request request = request_;
  if (encoder_) encode_prompts(encoder_->with_weights(std::move(text_weights)), captions_, request);
  const Pipeline pipeline(info_, FarModel::from(info_.model, std::move(model_weights), "the averaged weights"), vae_);

  std::vector<Image> images;
  PipelineHooks hooks;
  hooks.on_image = [&](Generated g) { images.push_back(std::move(g.image)); };
  hooks.on_progress = [](double, const std::string&) { return !interrupted(); };
  return pipeline.generate(request, hooks) ? images : std::vector<Image>();
}

void TrainSamples::operator()(const TrainProgress& progress, const TensorMap& weights) const {
  std::vector<Image> images;
  try {
    images = draw(weights);
  } catch (const Error& e) {  // weights or latents that are not finite, which training may yet get over
    log_warning(concat("no samples at ", progress.images, " images: ", e.what()));
  }
  if (images.empty()) return;

  GridOptions options;
  std::vector<Image> shown;
  for (size_t i = 0; i < kShown; ++i) {
    const size_t k = i * images.size() / kShown;
    shown.push_back(images[k]);
    options.captions.push_back(captions_[k]);
  }
  make_directories(out_ / "samples");
  char name[32];
  std::snprintf(name, sizeof name, "%010ld.png", static_cast<long>(progress.images));
  write_png(out_ / "samples" / name, make_grid(shown, options));

  const auto percent = [](double share) { return concat(std::lround(100 * share), " %"); };
  if (shapes_) {
    const ShapesScore score = score_shapes(images, request_.labels);
    write_score(progress, score.to_json());
    const auto share = [&](int64_t n) { return percent(static_cast<double>(n) / static_cast<double>(score.images)); };
    log_info(concat(progress.images, " images: colour ", share(score.colour), ", shape ", share(score.shape), ", both ",
                    share(score.both), " of ", score.images, " samples; spread of centres ", score.centre_spread,
                    ", of sizes ", score.size_spread));
  }
  if (!prompts_.empty()) {
    const GenevalScore score = score_geneval(images, prompts_, request_.seeds.front());
    write_score(progress, score.to_json());
    std::string tasks;
    for (const auto& task : score.asked.tasks) tasks += concat(", ", task.tag, " ", percent(task.share()));
    log_info(concat(progress.images, " images: right ", percent(score.asked.overall), " (by chance ",
                    percent(score.shuffled.overall), ")", tasks));
  }
}

void TrainSamples::write_score(const TrainProgress& progress, Json score) const {
  score["images_trained"] = progress.images;
  score["seconds"] = progress.seconds;
  std::ofstream scores(out_ / "scores.jsonl", std::ios::app);
  scores << json_text(score) << std::endl;
  check(scores.good(), "cannot write ", (out_ / "scores.jsonl").string());
}

}  // namespace crescendo
