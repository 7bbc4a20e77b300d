#include "crescendo/data/readable.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"

namespace crescendo {

namespace {

class Subset : public Dataset {
 public:
  Subset(std::unique_ptr<const Dataset> whole, std::vector<int64_t> kept)
      : whole_(std::move(whole)), kept_(std::move(kept)) {}
  int64_t size() const override { return static_cast<int64_t>(kept_.size()); }
  const std::vector<std::string>& classes() const override { return whole_->classes(); }
  Sample get(int64_t index) const override { return whole_->get(at(index)); }
  int64_t label(int64_t index) const override { return whole_->label(at(index)); }
  std::string caption(int64_t index) const override { return whole_->caption(at(index)); }
  bool of_files() const override { return whole_->of_files(); }
  std::string name(int64_t index) const override { return whole_->name(at(index)); }
  PictureIdentity identity(int64_t index) const override { return whole_->identity(at(index)); }

 private:
  int64_t at(int64_t index) const {
    check_index(index);
    return kept_[static_cast<size_t>(index)];
  }
  std::unique_ptr<const Dataset> whole_;
  std::vector<int64_t> kept_;  // numbers in `whole_`
};

// Why each picture cannot be read; empty for those that can.
std::vector<std::string> faults_of(int64_t count, const std::function<void(int64_t)>& read) {
  std::vector<std::string> faults(static_cast<size_t>(count));
  constexpr int64_t kBetweenLooks = 256;  // at the clock and for Ctrl-C
  Progress bar("looking through the images");
  for (int64_t first = 0; first < count; first += kBetweenLooks) {
    check(!interrupted(), "stopped while looking through the images");
    const int64_t last = std::min(count, first + kBetweenLooks);
    at::parallel_for(first, last, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        try {
          read(i);
        } catch (const Error& error) {
          faults[static_cast<size_t>(i)] = error.what();
        }
      }
    });
    bar.update(static_cast<double>(last) / static_cast<double>(count), concat(last, " of ", count));
  }
  return faults;
}

// The first twenty, and how many more there are.
std::string listed(const std::vector<std::string>& faults, size_t bad) {
  constexpr size_t kShown = 20;
  std::string list;
  size_t shown = 0;
  for (const std::string& fault : faults)
    if (!fault.empty() && shown < kShown) list += (shown++ ? "; " : "") + fault;
  return bad > shown ? concat(list, "; and ", bad - shown, " more") : list;
}

}  // namespace

std::vector<int64_t> readable_of(int64_t count, int64_t skip_bad, const std::function<void(int64_t)>& read) {
  check_usage(skip_bad >= 0, "`skip_bad` must be at least 0, got ", skip_bad);
  const std::vector<std::string> faults = faults_of(count, read);
  std::vector<int64_t> kept;
  for (size_t i = 0; i < faults.size(); ++i)
    if (faults[i].empty()) kept.push_back(static_cast<int64_t>(i));
  const size_t bad = faults.size() - kept.size();
  if (bad == 0) return kept;
  check(static_cast<int64_t>(bad) <= skip_bad, bad, " of ", faults.size(),
        " images cannot be read: ", listed(faults, bad), "; mend or remove them, or let `skip_bad` ", bad,
        " go on without");
  check(bad < faults.size(), "none of the images can be read: ", listed(faults, bad));
  log_warning(concat(bad, " of ", faults.size(), " images cannot be read and are left out: ", listed(faults, bad)));
  return kept;
}

std::unique_ptr<Dataset> without_unreadable(std::unique_ptr<Dataset> dataset, int64_t skip_bad,
                                            const KnownReadable& known) {
  check_usage(skip_bad >= 0, "`skip_bad` must be at least 0, got ", skip_bad);
  if (!dataset->of_files()) return dataset;
  std::vector<int64_t> kept = readable_of(dataset->size(), skip_bad, [&](int64_t i) {
    if (!known || !known(dataset->identity(i))) dataset->get(i);
  });
  if (static_cast<int64_t>(kept.size()) == dataset->size()) return dataset;
  std::vector<int64_t> left(dataset->classes().size());  // of each class
  if (!left.empty())
    for (const int64_t i : kept) ++left[static_cast<size_t>(dataset->label(i))];
  if (const auto none = std::find(left.begin(), left.end(), 0); none != left.end())
    fail("class '", dataset->classes()[static_cast<size_t>(none - left.begin())], "' has no image that can be read");
  return std::make_unique<Subset>(std::move(dataset), std::move(kept));
}

}  // namespace crescendo
