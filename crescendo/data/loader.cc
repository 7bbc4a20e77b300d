#include "crescendo/data/loader.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"

namespace crescendo {

namespace {

// Position of the first picture of a batch in the endless row of epochs.
int64_t first_position(const LoaderOptions& o, int64_t number) { return (number * o.world + o.rank) * o.batch; }

}  // namespace

std::vector<int64_t> batch_indices(int64_t size, const LoaderOptions& options, int64_t number) {
  std::vector<int64_t> indices, order;
  int64_t epoch = -1;
  const int64_t first = first_position(options, number);
  for (int64_t p = first; p < first + options.batch; ++p) {
    if (p / size != epoch) order = epoch_order(size, options.seed, epoch = p / size);
    indices.push_back(order[static_cast<size_t>(p % size)]);
  }
  return indices;
}

Loader::Loader(const Dataset& dataset, const LoaderOptions& options, int64_t first)
    : dataset_(dataset), options_(options), next_wanted_(first), next_made_(first) {
  check(options.batch > 0 && options.threads > 0 && options.ahead > 0 && options.world > 0 && options.rank >= 0 &&
            options.rank < options.world && first >= 0,
        "Loader: batch ", options.batch, ", threads ", options.threads, ", ahead ", options.ahead, ", rank ",
        options.rank, " of ", options.world, ", first batch ", first);
  for (int64_t i = 0; i < options.threads; ++i) workers_.emplace_back([this] { work(); });
}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

// Shuffling a large set takes longer than a batch, so an epoch's order is kept while it is in use.
std::shared_ptr<const std::vector<int64_t>> Loader::order(int64_t epoch) {
  const std::lock_guard lock(mutex_);
  auto& entry = orders_[epoch];
  if (!entry) entry = std::make_shared<std::vector<int64_t>>(epoch_order(dataset_.size(), options_.seed, epoch));
  const auto result = entry;
  const int64_t oldest = first_position(options_, next_wanted_) / dataset_.size();
  orders_.erase(orders_.begin(), orders_.lower_bound(std::min(oldest, epoch)));
  return result;
}

Batch Loader::make(int64_t number) {
  Batch batch;
  std::vector<Tensor> images;
  std::vector<int64_t> labels;
  const int64_t size = dataset_.size();
  const int64_t first = first_position(options_, number);
  std::shared_ptr<const std::vector<int64_t>> epoch_indices;
  int64_t epoch = -1;
  for (int64_t p = first; p < first + options_.batch; ++p) {
    if (p / size != epoch) epoch_indices = order(epoch = p / size);
    const int64_t index = (*epoch_indices)[static_cast<size_t>(p % size)];
    Sample sample = dataset_.get(index);
    Rng rng(derive_seed(options_.seed, static_cast<uint64_t>(p)), Draw::kFlip);
    if (options_.flip && rng.uniform() < 0.5) sample.image = sample.image.flip({2});
    images.push_back(sample.image);
    labels.push_back(sample.label);
    batch.indices.push_back(index);
  }
  batch.images = at::stack(images);  // (B, 3, side, side)
  batch.labels = at::tensor(labels, at::kLong);
  return batch;
}

void Loader::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stop_ || next_made_ < next_wanted_ + options_.ahead; });
    if (stop_) return;
    const int64_t number = next_made_++;
    lock.unlock();
    Slot slot;
    try {
      slot.batch = make(number);
    } catch (...) {
      slot.error = std::current_exception();
    }
    lock.lock();
    ready_.emplace(number, std::move(slot));
    changed_.notify_all();
  }
}

Batch Loader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ready_.contains(next_wanted_); });
  Slot slot = std::move(ready_.extract(next_wanted_).mapped());
  if (slot.error) {
    ready_.emplace(next_wanted_, slot);  // asking again gives the same answer
    std::rethrow_exception(slot.error);
  }
  ++next_wanted_;
  changed_.notify_all();
  return std::move(slot.batch);
}

}  // namespace crescendo
