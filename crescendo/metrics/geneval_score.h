// Pictures of GenEval prompts, made of shapes -> how many of each task are right, and how many would be by chance.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "crescendo/data/captions.h"
#include "crescendo/metrics/geneval_judge.h"
#include "crescendo/metrics/scorer.h"

namespace crescendo {

// The prompt of each picture to make: `images` of each of `per_tag` prompts of each task. Tasks that have fewer prompts
// repeat theirs, so that every task counts as many pictures.
std::vector<GenevalPrompt> prompts_to_score(uint64_t seed, int64_t per_tag, int64_t images, Split split);
std::vector<std::string> texts_of(std::span<const GenevalPrompt> prompts);

struct GenevalScore {
  std::vector<GenevalResult> results;  // one per picture
  GenevalSummary asked;                // pictures judged by their own prompts
  // Judged by the prompt of a random picture of the same task: what a model gets that draws well and ignores its text.
  GenevalSummary shuffled;

  Json to_json() const;
};

// By the exact detector. `prompts` holds the prompt of each picture; `seed` is that of the shuffling.
GenevalScore score_geneval(const std::vector<Image>& images, std::span<const GenevalPrompt> prompts, uint64_t seed);

class GenevalScorer : public Scorer {
 public:
  // As score_geneval.
  GenevalScorer(std::vector<GenevalPrompt> prompts, uint64_t seed) : prompts_(std::move(prompts)), seed_(seed) {}
  // Its pictures are lines of results.jsonl.
  Score score(const std::vector<Image>& images) const override;

 private:
  std::vector<GenevalPrompt> prompts_;
  uint64_t seed_;
};

}  // namespace crescendo
