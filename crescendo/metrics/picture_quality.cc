#include "crescendo/metrics/picture_quality.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <iomanip>
#include <map>
#include <span>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/metrics/frechet.h"
#include "crescendo/metrics/inception_score.h"
#include "crescendo/metrics/precision_recall.h"

namespace crescendo {

namespace {

constexpr size_t kBatch = 64;
constexpr int64_t kNeighbours = 3;

// "FD (shapes classifier)" of shapes-classifier.
std::string frechet_title(const FeatureExtractor& extractor) {
  std::string name = extractor.identity().value("name", "features");
  std::replace(name.begin(), name.end(), '-', ' ');
  return "FD (" + name + ")";
}

// Pictures as they come -> their features, a batch at a time.
class FeatureGatherer {
 public:
  FeatureGatherer(const FeatureExtractor& extractor, int64_t count)
      : extractor_(extractor), pool_(count), logits_(count) {}
  void add(const Image& image) {
    waiting_.push_back(extractor_.prepare(image));
    if (waiting_.size() == kBatch) look();
  }
  SetFeatures finish() {
    if (!waiting_.empty()) look();
    return {pool_.finish(), logits_.finish("the class scores")};
  }

 private:
  void look() {
    const Features features = extractor_(at::stack(waiting_));
    waiting_.clear();
    pool_.add(features.pool);
    logits_.add(features.logits);
  }
  const FeatureExtractor& extractor_;
  FeatureRows pool_, logits_;
  std::vector<Tensor> waiting_;
};

}  // namespace

std::vector<int64_t> some_pictures(const Dataset& set, int64_t count, int64_t skip) {
  std::vector<std::pair<int64_t, int64_t>> by_turn;  // which one of its class, picture
  std::map<int64_t, int64_t> of_class;               // so far
  for (const int64_t index : epoch_order(set.size(), /*seed=*/0, 0))
    by_turn.emplace_back(of_class[set.label(index)]++, index);
  std::stable_sort(by_turn.begin(), by_turn.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<int64_t> out;
  const auto size = static_cast<int64_t>(by_turn.size());
  for (int64_t i = std::min(skip, size); i < size && i - skip < count; ++i)
    out.push_back(by_turn[static_cast<size_t>(i)].second);
  return out;
}

void each_picture(const Dataset& set, const std::vector<int64_t>& indices,
                  const std::function<void(const Image&)>& use) {
  for (size_t i = 0; i < indices.size(); i += kBatch) {
    const std::span part = std::span(indices).subspan(i, std::min(kBatch, indices.size() - i));
    const Tensor bytes = set.batch(part).images;  // (n, 3, side, side)
    for (int64_t k = 0; k < bytes.size(0); ++k) use(tensor_to_image(bytes[k]));
  }
}

SetFeatures features_of(const FeatureExtractor& extractor, const std::vector<Image>& images) {
  FeatureGatherer gatherer(extractor, static_cast<int64_t>(images.size()));
  for (const Image& image : images) gatherer.add(image);
  return gatherer.finish();
}

SetFeatures features_of(const FeatureExtractor& extractor, const Dataset& set, const std::vector<int64_t>& indices) {
  FeatureGatherer gatherer(extractor, static_cast<int64_t>(indices.size()));
  each_picture(set, indices, [&](const Image& image) { gatherer.add(image); });
  return gatherer.finish();
}

Json PictureQuality::to_json() const {
  Json out = {{"fd", frechet}, {"precision", precision}, {"recall", recall}, {"class_score", class_score}};
  if (asked_class) out["asked_class"] = *asked_class;
  if (!warning.empty()) out["warning"] = warning;
  return out;
}

PictureQuality picture_quality(const SetFeatures& real, const SetFeatures& judged, const std::vector<int64_t>& labels) {
  check(judged.pool.count() > kNeighbours, "precision and recall need more than ", kNeighbours, " pictures, got ",
        judged.pool.count());
  PictureQuality q;
  const FrechetDistance distance = frechet_distance(real.pool, judged.pool);
  q.frechet = distance.value;
  q.warning = distance.warning;
  const PrecisionRecall pr = precision_recall(real.pool, judged.pool, {.k = kNeighbours});
  q.precision = pr.precision;
  q.recall = pr.recall;
  q.class_score = inception_score(judged.logits, /*splits=*/1, std::nullopt).mean;
  if (!labels.empty()) {
    check(static_cast<int64_t>(labels.size()) == judged.logits.count(), "picture_quality: ", judged.logits.count(),
          " pictures with ", labels.size(), " labels");
    q.asked_class = (judged.logits.tensor().argmax(1) == at::tensor(labels)).to(at::kDouble).mean().item<double>();
  }
  return q;
}

QualityScorer::QualityScorer(std::shared_ptr<const FeatureExtractor> extractor, const Dataset& real, int64_t reference,
                             int64_t judged, std::vector<int64_t> labels)
    : extractor_(std::move(extractor)),
      real_(features_of(*extractor_, real, some_pictures(real, reference))),
      labels_(std::move(labels)) {
  const std::vector<int64_t> others = some_pictures(real, judged, reference);
  if (static_cast<int64_t>(others.size()) < judged) return;
  std::vector<int64_t> classes;
  if (!labels_.empty())
    for (const int64_t index : others) classes.push_back(real.label(index));
  of_real_ = picture_quality(real_, features_of(*extractor_, real, others), classes);
}

Score QualityScorer::score(const std::vector<Image>& images) const {
  const PictureQuality q = picture_quality(real_, features_of(*extractor_, images), labels_);
  Score out{.what = concat(images.size(), " images"), .json = {{"quality", q.to_json()}}};
  Json& json = out.json["quality"];
  json["features"] = extractor_->identity();
  json["real_images"] = real_.pool.count();
  if (of_real_) json["of_real"] = of_real_->to_json();
  const std::string title = frechet_title(*extractor_);
  out.line = concat(std::setprecision(3), title, " ", q.frechet, ", precision ", q.precision, ", recall ", q.recall);
  const auto line = [&](const std::string& name, double PictureQuality::*member, int digits) {
    const std::optional<double> beside = of_real_ ? std::optional((*of_real_).*member) : std::nullopt;
    out.table += measure_line(name, q.*member, beside, digits);
  };
  line(title, &PictureQuality::frechet, 3);
  line("precision", &PictureQuality::precision, 3);
  line("recall", &PictureQuality::recall, 3);
  line("class score", &PictureQuality::class_score, 1);
  if (q.asked_class)
    out.table += measure_line("class as asked", *q.asked_class, of_real_ ? of_real_->asked_class : std::nullopt, 3);
  if (!q.warning.empty()) out.table += q.warning + "\n";
  return out;
}

}  // namespace crescendo
