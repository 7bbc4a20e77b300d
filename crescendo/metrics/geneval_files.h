// Files of GenEval: what a detector found, in; results as the published scorer writes them, out and in again.
//
// A line of detections is of one picture:
//   {"filename": "00012/samples/0003.png", "detections": [{"class": "dog", "box": [x0, y0, x1, y1], "score": 0.97,
//                                                          "color": "brown"}, ...]}
// `color` is asked of classes that a prompt gives one. A line of the published results.jsonl will do, too, whose
// details have the boxes by class, without colours.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "crescendo/data/geneval_folder.h"
#include "crescendo/metrics/geneval_judge.h"

namespace crescendo {

// By picture: the last three parts of its name, "00012/samples/0003.png".
std::map<std::string, GenevalObjects> read_geneval_detections(const std::filesystem::path& file);

// Judges every sample by what was found in it. One without detections is an error: a picture in which nothing was found
// has a line with an empty list.
std::vector<GenevalResult> judge_geneval_samples(std::span<const GenevalSample> samples,
                                                 const std::map<std::string, GenevalObjects>& detections,
                                                 const GenevalThresholds& thresholds = {});

void write_geneval_results(const std::filesystem::path& file, std::span<const GenevalResult> results);
// Of results.jsonl, whoever wrote it, what a summary needs: file name, prompt and verdict.
std::vector<GenevalResult> read_geneval_results(const std::filesystem::path& file);

}  // namespace crescendo
