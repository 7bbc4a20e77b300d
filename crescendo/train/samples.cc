#include "crescendo/train/samples.h"

#include <cstdio>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/image/grid.h"
#include "crescendo/pipeline/prompts.h"

namespace crescendo {

namespace {

constexpr size_t kShown = 16;  // pictures on a sheet
constexpr int64_t kBatch = 40;

}  // namespace

TrainSamples::TrainSamples(const ModelInfo& info, std::shared_ptr<const KlVae> vae, std::filesystem::path out,
                           uint64_t seed, SampleTask task, TextSide* text)
    : info_(info), vae_(std::move(vae)), out_(std::move(out)), score_(std::move(task.score)), sheet_(task.sheet) {
  request_.batch = kBatch;
  if (text) {
    captions_ = score_ ? std::move(task.prompts) : text->captions;
    if (!score_) captions_.resize(std::min(captions_.size(), kShown));
    encoder_ = text->learner();
    if (!encoder_) encode_prompts(*text->encoder, captions_, request_);
  } else {
    request_.labels = std::move(task.labels);
    for (int64_t i = 0; !score_ && i < static_cast<int64_t>(kShown); ++i)
      request_.labels.push_back(i % info.model.classes);
    for (const int64_t label : request_.labels) captions_.push_back(class_name(info, label));
  }
  request_.seeds.resize(captions_.size());
  std::iota(request_.seeds.begin(), request_.seeds.end(), seed);
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
  if (sheet_) write_sheet(progress, images);
  if (!score_) return;

  SampleScore score = score_(images);
  score.report["images_trained"] = progress.images;
  score.report["seconds"] = progress.seconds;
  append_json_line(out_ / "scores.jsonl", score.report);
  log_info(concat(progress.images, " images: ", score.line));
}

void TrainSamples::write_sheet(const TrainProgress& progress, const std::vector<Image>& images) const {
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
}

}  // namespace crescendo
