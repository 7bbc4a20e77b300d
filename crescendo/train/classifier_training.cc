#include "crescendo/train/classifier_training.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/image/image.h"
#include "crescendo/train/clipped_steps.h"

namespace crescendo {

void ClassifierTrainingOptions::validate() const {
  classifier.validate();
  check_usage(images > 0 && batch > 0, "images and batch must be positive, got ", images, " and ", batch);
  check_usage(lr > 0 && std::isfinite(lr), "lr must be positive, got ", lr);
  check_usage(blur >= 0 && blur <= 0.5, "blur must be in 0..0.5 pixels, got ", blur);
  check_usage(noise >= 0 && noise <= 2, "noise must be in 0..2, got ", noise);
  check_usage(held_out >= 1 && log_images >= 1, "held_out and log_images must be at least 1, got ", held_out, " and ",
              log_images);
}

ClassifierQuality classifier_quality(const Classifier& classifier, const TrainingImages& images, int64_t first,
                                     int64_t last) {
  check(first < last, "accuracy needs at least one image");
  const at::NoGradGuard no_grad;
  const at::Device device = classifier.params().items().front().second.device();
  constexpr int64_t kBatch = 256;
  double right = 0, loss = 0;
  for (int64_t begin = first; begin < last; begin += kBatch) {
    const LabelledImages batch = images.batch(begin, std::min(begin + kBatch, last));
    const Tensor logits = classifier(from_bytes(batch.images).to(device)).logits.to(at::kCPU);
    right += (logits.argmax(1) == batch.labels).sum().item<double>();
    loss += at::cross_entropy_loss(logits, batch.labels, {}, at::Reduction::Sum).item<double>();
  }
  const auto n = static_cast<double>(last - first);
  return {right / n, loss / n};
}

Json ClassifierTrainingResult::to_json() const {
  return {{"images", images},
          {"finished", finished},
          {"seconds", seconds},
          {"held_out_accuracy", held_out.accuracy},
          {"held_out_loss", held_out.loss}};
}

ClassifierTrainingResult train_classifier(Classifier& classifier, const TrainingImages& images,
                                          const std::vector<std::string>& labels, const ClassifierTrainingOptions& o,
                                          const std::filesystem::path& directory, const Json& about,
                                          const std::function<bool()>& stop) {
  o.validate();
  check(fields_equal(classifier.config(), o.classifier) && static_cast<int64_t>(labels.size()) == o.classifier.classes,
        "train_classifier: the classifier is not the one of the options, or its labels are not");
  const int64_t training_images = images.size() - o.held_out;
  check_usage(training_images >= 1, "the data has ", images.size(), " images, of which held_out takes ", o.held_out,
              "; lower held_out");
  make_directories(directory);
  const auto log = directory / "log.jsonl";
  write_file_atomically(log, "");

  Params& params = classifier.params();
  const at::Device device = params.items().front().second.device();
  params.set_requires_grad(true);
  AdamW optimizer(params, o.adamw, [](const std::string&, const Tensor& p) { return p.dim() > 1; });
  ClippedSteps step(optimizer, o.grad_clip);
  ImageBatches batches(images, training_images, o.batch, static_cast<uint64_t>(o.seed), {o.flip, o.blur, o.noise});
  Progress progress("classifier");
  ClassifierTrainingResult result;
  const double start_s = now_s();
  while (result.images < o.images && !(stop && stop())) {
    const double lr = learning_rate(o.lr_schedule, o.lr, result.images, o.images);
    const LabelledImages batch = batches.next();
    const Tensor target = batch.labels.to(device), logits = classifier(batch.images.to(device)).logits;  // (B, classes)
    const Tensor loss = at::cross_entropy_loss(logits, target);
    const double norm = step(loss, lr);

    const int64_t before = result.images;
    result.images += o.batch;
    if (result.images < o.images && before / o.log_images == result.images / o.log_images) continue;
    const double batch_loss = loss.item<double>();
    const double accuracy = (logits.argmax(1) == target).to(at::kDouble).mean().item<double>();
    progress.update(static_cast<double>(result.images) / static_cast<double>(o.images),
                    concat(result.images, " images, ", std::lround(100 * accuracy), " % of the batch right"));
    append_json_line(log, {{"images", result.images},
                           {"loss", batch_loss},
                           {"accuracy", accuracy},
                           {"grad_norm", norm},
                           {"lr", lr},
                           {"seconds", now_s() - start_s}});
  }
  progress.finish();
  params.set_requires_grad(false);
  for (const auto& [name, p] : params.items())
    check(at::isfinite(p).all().item<bool>(), "training broke down: ", name, " is not finite; lower lr");
  result.finished = result.images >= o.images;
  result.seconds = std::round(now_s() - start_s);
  result.held_out = classifier_quality(classifier, images, training_images, images.size());
  Json training = about;
  training.update(result.to_json());
  save_classifier(directory, classifier, labels, training);
  return result;
}

}  // namespace crescendo
