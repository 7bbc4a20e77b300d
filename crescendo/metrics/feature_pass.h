// Pictures, one after the other -> statistics and features, each picture looked at once.
//
// Pictures are read and prepared in threads, a batch ahead of the network. Memory holds a few batches and the moments;
// features that are kept go to files. What was computed is saved from time to time and when the pass is stopped, and
// the next pass of the same pictures and network goes on behind it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "crescendo/core/json.h"
#include "crescendo/data/picture_source.h"
#include "crescendo/metrics/feature_matrix.h"
#include "crescendo/metrics/features.h"
#include "crescendo/metrics/statistics_file.h"

namespace crescendo {

// Pictures by number, in order, whether they are read or drawn.
struct PictureFeed {
  int64_t size = 0;
  // Pictures first..first + count - 1. An empty answer stops the pass.
  std::function<std::vector<Image>(int64_t first, int64_t count)> fetch;
  std::function<std::string(int64_t)> name;  // of a picture, for messages
  bool ahead = true;                         // fetch while the network computes
  Json what;  // what the pictures are: kept with the statistics; a pass goes on only where this is the same
};
// `source` must outlive the feed. `spec` is how the user calls it.
PictureFeed feed_of(const PictureSource& source, const std::string& spec);

struct FeaturePassOptions {
  int64_t batch = 32;
  bool keep_features = false;      // pooled features of every picture, for neighbours and KID
  bool keep_logits = false;        // for the Inception Score
  std::filesystem::path folder{};  // where they are kept, with what a later pass goes on from
  double save_minutes = 10;
};

struct PictureFeatures {
  FeatureStatistics statistics;
  FeatureMatrix features;  // (N, D); undefined unless kept
  FeatureMatrix logits;    // (N, K); undefined unless kept, or where the network has none
  int64_t done = 0;        // pictures looked at
  int64_t of = 0;
  bool complete() const { return done == of; }
};

// Stops early where interrupted(), or where the feed ends. `title` stands in front of the progress.
PictureFeatures feature_pass(const PictureFeed& pictures, const FeatureExtractor& extractor,
                             const FeaturePassOptions& options, const std::string& title);

}  // namespace crescendo
