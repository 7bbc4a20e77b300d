#include "crescendo/metrics/feature_pass.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/core/workers.h"
#include "crescendo/metrics/row_store.h"

namespace crescendo {

namespace {

constexpr const char* kSoFar = "so-far.npz";  // statistics of the pictures that are done

// Reads and prepares batches in order, one ahead.
class Batches {
 public:
  Batches(const PictureFeed& feed, const FeatureExtractor& extractor, int64_t first, int64_t batch)
      : feed_(feed), extractor_(extractor), next_(first), batch_(batch), workers_(at::get_num_threads()) {
    if (feed_.ahead) start();
  }
  // (B, 3, h, w); undefined where the feed ends early.
  Tensor next() {
    if (!feed_.ahead) return take();
    Tensor prepared = coming_.get();
    if (prepared.defined() && next_ < feed_.size) start();
    return prepared;
  }

 private:
  void start() {
    coming_ = std::async(std::launch::async, [this] { return take(); });
  }
  Tensor take() {
    const int64_t count = std::min(batch_, feed_.size - next_);
    const std::vector<Image> images = feed_.fetch(next_, count);
    if (images.empty()) return {};
    check(static_cast<int64_t>(images.size()) == count, "feature_pass: ", images.size(), " pictures came, ", count,
          " were asked for");
    std::vector<Tensor> prepared(images.size());
    const int64_t step = workers_.count();
    workers_.run([&](int64_t worker) {
      const at::NoGradGuard no_grad;
      for (int64_t i = worker; i < count; i += step)
        prepared[static_cast<size_t>(i)] = extractor_.prepare(images[static_cast<size_t>(i)]);
    });
    next_ += count;
    return at::stack(prepared);
  }

  const PictureFeed& feed_;
  const FeatureExtractor& extractor_;
  int64_t next_;
  int64_t batch_;
  Workers workers_;
  std::future<Tensor> coming_;  // the last member: it is waited for before the others go
};

// What a pass gathers, and its files.
class Gathered {
 public:
  Gathered(const PictureFeed& feed, const FeatureExtractor& extractor, const FeaturePassOptions& options)
      : feed_(feed), options_(options), identity_(extractor.identity()) {
    if (options.folder.empty()) return;
    make_directories(options.folder);
    if (std::filesystem::exists(options.folder / kSoFar)) go_on();
  }
  int64_t done() const { return done_; }

  void add(const Features& f) {
    const int64_t count = f.pool.size(0);
    check_finite_rows(f.pool, "features");
    if (f.logits.defined()) check_finite_rows(f.logits, "class scores");
    if (!pool_) pool_.emplace(f.pool.size(1));
    if (f.spatial.defined() && !spatial_) spatial_.emplace(f.spatial.size(1));
    pool_->add(f.pool);
    if (spatial_) spatial_->add(f.spatial);
    if (options_.keep_features) store(features_, "features.f32", f.pool);
    if (options_.keep_logits && f.logits.defined()) store(logits_, "logits.f32", f.logits);
    done_ += count;
  }

  // Two pictures are the fewest that have a covariance.
  void save() {
    if (options_.folder.empty() || done_ < 2) return;
    for (const auto& rows : {features_.get(), logits_.get()})
      if (rows) rows->flush();
    write_statistics(options_.folder / kSoFar, statistics());
  }

  PictureFeatures finish() {
    PictureFeatures out;
    out.done = done_;
    out.of = feed_.size;
    check(done_ >= 2, "statistics need at least 2 pictures, got ", done_);
    out.statistics = statistics();
    if (features_) out.features = features_->finish("the features");
    if (logits_) out.logits = logits_->finish("the class scores");
    return out;
  }

 private:
  FeatureStatistics statistics() const {
    FeatureStatistics s;
    s.pool = pool_->result();
    if (spatial_) s.spatial = spatial_->result();
    s.identity = identity_;
    s.source = feed_.what;
    return s;
  }

  void go_on() {
    const std::string folder = options_.folder.string();
    const FeatureStatistics before = read_statistics(options_.folder / kSoFar);
    check_usage(json_text(before.source) == json_text(feed_.what) && json_text(before.identity) == json_text(identity_),
                folder,
                ": holds the work of other pictures or of another network; remove it, or choose another folder");
    done_ = before.pool.count;
    check(done_ >= 2 && done_ <= feed_.size, folder, ": is damaged, as ", done_, " of ", feed_.size,
          " pictures cannot be done; remove it");
    pool_.emplace(before.pool.dim());
    pool_->merge(before.pool);
    if (before.spatial) {
      spatial_.emplace(before.spatial->dim());
      spatial_->merge(*before.spatial);
    }
    // The widths of rows are known with the first batch, and where none will come from the files.
    if (done_ == feed_.size) {
      if (options_.keep_features) features_ = whole("features.f32");
      if (options_.keep_logits && std::filesystem::exists(options_.folder / "logits.f32"))
        logits_ = whole("logits.f32");
    }
    log_info(concat("going on after ", done_, " of ", feed_.size, " pictures (", folder, ")"));
  }

  std::unique_ptr<RowStore> whole(const char* file) const {
    std::error_code none;
    const auto bytes = std::filesystem::file_size(options_.folder / file, none);
    check(!none, (options_.folder / file).string(), ": is missing; remove the folder to begin anew");
    const auto width = static_cast<int64_t>(bytes) / (4 * done_);
    return std::make_unique<RowStore>(options_.folder / file, std::max<int64_t>(width, 1), done_);
  }
  void store(std::unique_ptr<RowStore>& rows, const char* file, const Tensor& batch) {
    if (!rows) rows = std::make_unique<RowStore>(options_.folder / file, batch.size(1), done_);
    rows->add(batch);
  }
  // `rows` (B, D) of the pictures that come next.
  void check_finite_rows(const Tensor& rows, const char* what) const {
    const Tensor sound = rows.isfinite().all(1);
    if (sound.all().item<bool>()) return;
    const int64_t first = sound.logical_not().nonzero()[0][0].item<int64_t>();
    fail(feed_.name(done_ + first), ": its ", what, " are not finite; is the network's file damaged, or too coarse?");
  }

  const PictureFeed& feed_;
  const FeaturePassOptions& options_;
  Json identity_;
  int64_t done_ = 0;
  std::optional<Moments> pool_, spatial_;
  std::unique_ptr<RowStore> features_, logits_;
};

}  // namespace

PictureFeed feed_of(const PictureSource& source, const std::string& spec) {
  PictureFeed feed;
  feed.size = source.size();
  // Files are read by as many threads as there are, each for itself.
  const auto readers = std::make_shared<Workers>(at::get_num_threads());
  feed.fetch = [&source, readers](int64_t first, int64_t count) {
    std::vector<Image> images(static_cast<size_t>(count));
    readers->run([&](int64_t worker) {
      for (int64_t i = worker; i < count; i += readers->count()) images[static_cast<size_t>(i)] = source.get(first + i);
    });
    return images;
  };
  feed.name = [&source](int64_t i) { return source.name(i); };
  feed.what = {{"pictures", spec}, {"count", feed.size}, {"identity", source.identity()}};
  return feed;
}

PictureFeatures feature_pass(const PictureFeed& pictures, const FeatureExtractor& extractor,
                             const FeaturePassOptions& options, const std::string& title) {
  check_usage(options.batch > 0, "`batch` must be at least 1, got ", options.batch);
  check_usage(!options.folder.empty() || (!options.keep_features && !options.keep_logits),
              "feature_pass: features are kept in a folder, and none is named");
  const at::NoGradGuard no_grad;
  Gathered gathered(pictures, extractor, options);
  if (gathered.done() < pictures.size) {
    Batches batches(pictures, extractor, gathered.done(), options.batch);
    const auto share = [&] { return static_cast<double>(gathered.done()) / static_cast<double>(pictures.size); };
    Progress bar(title, share());
    double saved_s = now_s();
    while (gathered.done() < pictures.size && !interrupted()) {
      const Tensor prepared = batches.next();
      if (!prepared.defined()) break;
      gathered.add(extractor(prepared));
      bar.update(share(), concat(gathered.done(), " of ", pictures.size));
      if (now_s() - saved_s < 60 * options.save_minutes) continue;
      gathered.save();
      saved_s = now_s();
    }
    bar.finish();
    gathered.save();
  }
  return gathered.finish();
}

}  // namespace crescendo
