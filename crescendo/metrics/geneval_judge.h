// GenEval (Ghosh et al. 2023): does a picture hold what its prompt asks for? Objects + prompt -> verdict, reason.
//
// The rules are those of the published scorer and know nothing of the detector: objects come as boxes with a class, a
// colour and a confidence.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "crescendo/data/geneval.h"
#include "crescendo/metrics/shapes_detector.h"

namespace crescendo {

using GenevalObjects = std::map<std::string, std::vector<GenevalObject>>;  // by class

struct GenevalThresholds {
  double score = 0.3;
  double counting_score = 0.9;  // counting needs surer detections
  int64_t max_objects = 16;     // of a class
  double position = 0.1;        // share of the sizes by which centres must differ
};

// What is sure enough for the tag, the surest first.
GenevalObjects geneval_filter(const GenevalObjects& objects, const std::string& tag,
                              const GenevalThresholds& thresholds = {});
// Our detector's objects: the class is the figure, the score its overlap.
GenevalObjects geneval_objects(std::span<const Detection> detections);

struct GenevalVerdict {
  bool correct = false;
  std::string reason;  // one line a fault
};
// `objects` as geneval_filter returns them.
GenevalVerdict geneval_judge(const GenevalObjects& objects, const GenevalPrompt& prompt,
                             const GenevalThresholds& thresholds = {});
// Picture -> verdict, by the exact detector.
GenevalVerdict geneval_judge(const Image& image, const GenevalPrompt& prompt);

struct GenevalResult {
  std::string filename;
  GenevalPrompt prompt;
  GenevalVerdict verdict;
  GenevalObjects objects;
};
// A line of results.jsonl as the published scorer writes it.
Json geneval_result_to_json(const GenevalResult& result);

// Overall = mean of the tasks' shares of correct images, each task counting alike.
struct GenevalSummary {
  struct Task {
    std::string tag;
    int64_t correct = 0, images = 0;
    double share() const { return images > 0 ? static_cast<double>(correct) / static_cast<double>(images) : 0; }
  };
  std::vector<Task> tasks;  // in the order in which they first appear
  int64_t images = 0, correct_images = 0;
  int64_t prompts = 0, correct_prompts = 0;  // a prompt is correct when any of its images is
  double overall = 0;
};
GenevalSummary geneval_summarise(std::span<const GenevalResult> results);
Json geneval_summary_to_json(const GenevalSummary& summary);
std::string geneval_summary_text(const GenevalSummary& summary);  // as the published script prints it

}  // namespace crescendo
