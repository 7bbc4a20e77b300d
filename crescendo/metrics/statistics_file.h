// Statistics of a set of pictures, in an .npz that other programs read, too.
//
//   mu (D) f8, sigma (D, D) f8          pooled features: the names of pytorch-fid, torch-fidelity, clean-fid and ADM
//   mu_s (S) f8, sigma_s (S, S) f8      features that keep places, under ADM's names; may be absent
//   crescendo u1                        JSON in UTF-8: format, identity of the features, count, version, source
//
// Files of other programs lack the last; they are taken, and reports say that their identity is unknown.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "crescendo/core/json.h"
#include "crescendo/metrics/moments.h"

namespace crescendo {

struct FeatureStatistics {
  MeanCovariance pool{};
  std::optional<MeanCovariance> spatial{};
  Json identity{};        // FeatureExtractor::identity(); null where unknown
  std::string version{};  // of the program that wrote them
  Json source{};          // of the pictures: folder, count, order; free
  std::string name{};     // what messages call them: the file

  bool known() const { return !identity.is_null(); }
};

void write_statistics(const std::filesystem::path& path, const FeatureStatistics& statistics);
// Also of files that hold pictures besides, as ADM's do; those are not read.
FeatureStatistics read_statistics(const std::filesystem::path& path);

// Throws a usage error where the features of the two cannot be compared: another dimension, network, preset, weights.
// Returns what a reader has to know: which of them has no identity.
std::vector<std::string> check_comparable(const FeatureStatistics& a, const FeatureStatistics& b);
// Of the two sets together. Both counts must be known.
FeatureStatistics merge_statistics(const FeatureStatistics& a, const FeatureStatistics& b);

}  // namespace crescendo
