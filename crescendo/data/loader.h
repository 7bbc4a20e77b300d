// Batches in the background, shuffled by epoch: position in the run -> batch.
//
// Batch k is a pure function of (seed, k), so a run that is resumed at any batch sees what it would have seen.
#pragma once

#include <condition_variable>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "crescendo/data/dataset.h"

namespace crescendo {

struct LoaderOptions {
  uint64_t seed = 0;
  int64_t batch = 32;   // pictures of this process
  bool flip = false;    // mirror half of the pictures
  int64_t threads = 1;  // workers; each makes whole batches
  int64_t ahead = 4;    // batches kept ready
  int64_t rank = 0;     // this process of `world`; together they take world * batch pictures a step
  int64_t world = 1;
};

struct Batch {
  Tensor images;                 // (B, 3, side, side) uint8
  Tensor labels;                 // (B) int64
  std::vector<int64_t> indices;  // in the data set
};

// What batch number `number` holds. Epochs follow one another without a gap, so a batch may lie across two.
std::vector<int64_t> batch_indices(int64_t size, const LoaderOptions& options, int64_t number);

class Loader {
 public:
  // Starts with batch `first`. The data set must outlive the loader.
  Loader(const Dataset& dataset, const LoaderOptions& options, int64_t first = 0);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next batch, in order. An error of the data set is thrown here, at its batch.
  Batch next();

 private:
  struct Slot {
    Batch batch;
    std::exception_ptr error;
  };
  void work();
  std::shared_ptr<const std::vector<int64_t>> order(int64_t epoch);
  Batch make(int64_t number);

  const Dataset& dataset_;
  LoaderOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t next_wanted_;  // the batch that next() gives
  int64_t next_made_;    // the batch that the next free worker makes
  bool stop_ = false;
  std::map<int64_t, Slot> ready_;
  std::map<int64_t, std::shared_ptr<const std::vector<int64_t>>> orders_;  // of the epochs at hand
  std::vector<std::thread> workers_;
};

}  // namespace crescendo
