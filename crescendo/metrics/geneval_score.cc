#include "crescendo/metrics/geneval_score.h"

#include <map>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"
#include "crescendo/metrics/shapes_score.h"

namespace crescendo {

namespace {

constexpr uint32_t kShuffles = 8;  // rounds over which chance is averaged

}  // namespace

std::vector<GenevalPrompt> prompts_to_score(uint64_t seed, int64_t per_tag, int64_t images, Split split) {
  check_usage(images > 0, "the number of images a prompt must be positive, got ", images);
  std::map<std::string, std::vector<GenevalPrompt>> of_tag;
  for (GenevalPrompt& prompt : shapes_prompts(seed, per_tag, split)) of_tag[prompt.tag].push_back(std::move(prompt));
  std::vector<GenevalPrompt> out;
  for (const std::string_view tag : kGenevalTags) {
    const auto& prompts = of_tag.at(std::string(tag));
    for (int64_t i = 0; i < per_tag * images; ++i)
      out.push_back(prompts[static_cast<size_t>(i / images) % prompts.size()]);
  }
  return out;
}

std::vector<std::string> texts_of(std::span<const GenevalPrompt> prompts) {
  std::vector<std::string> texts;
  for (const GenevalPrompt& prompt : prompts) texts.push_back(prompt.prompt);
  return texts;
}

GenevalScore score_geneval(const std::vector<Image>& images, std::span<const GenevalPrompt> prompts, uint64_t seed) {
  check(images.size() == prompts.size() && !images.empty(), "score_geneval: ", images.size(), " images of ",
        prompts.size(), " prompts");
  GenevalScore score;
  std::map<std::string, std::vector<size_t>> of_tag;
  for (size_t i = 0; i < images.size(); ++i) {
    GenevalObjects objects = geneval_filter(geneval_objects(detect(images[i])), prompts[i].tag);
    GenevalVerdict verdict = geneval_judge(objects, prompts[i]);
    score.results.push_back({"", prompts[i], std::move(verdict), std::move(objects)});
    of_tag[prompts[i].tag].push_back(i);
  }
  score.asked = geneval_summarise(score.results);

  std::vector<GenevalResult> by_chance;
  for (const auto& [tag, members] : of_tag) {
    for (uint32_t round = 0; round < kShuffles; ++round) {
      std::vector<size_t> other = members;
      Rng(derive_seed(seed, members.front()), Draw::kShuffle, round).shuffle(std::span(other));
      for (size_t k = 0; k < members.size(); ++k)
        by_chance.push_back(
            {"", prompts[other[k]], geneval_judge(score.results[members[k]].objects, prompts[other[k]]), {}});
    }
  }
  score.shuffled = geneval_summarise(by_chance);
  return score;
}

Json GenevalScore::to_json() const {
  std::map<std::string, double> chance;
  for (const auto& task : shuffled.tasks) chance[task.tag] = task.share();
  Json tasks = Json::object();
  for (const auto& task : asked.tasks) {
    Json& json = tasks[task.tag] = ShapesScore::share(task.correct, task.images);
    json["correct"] = task.correct;
    json["images"] = task.images;
    json["chance"] = chance.at(task.tag);
  }
  return {{"overall", asked.overall},
          {"chance", shuffled.overall},
          {"images", asked.images},
          {"prompts", asked.prompts},
          {"correct_prompts", asked.correct_prompts},
          {"tasks", std::move(tasks)}};
}

Score GenevalScorer::score(const std::vector<Image>& images) const {
  const GenevalScore s = score_geneval(images, prompts_, seed_);
  Score out{.what = concat(s.asked.images, " images of ", s.asked.prompts, " prompts"), .json = s.to_json()};
  out.line = concat("right ", whole_percent(s.asked.overall), " (by chance ", whole_percent(s.shuffled.overall), ")");
  for (const auto& task : s.asked.tasks) out.line += concat(", ", task.tag, " ", whole_percent(task.share()));
  for (const auto& [tag, task] : out.json["tasks"].items())
    out.table += share_line(tag, task, ", by chance " + percent(task["chance"].get<double>()));
  out.table += concat("mean of tasks  ", percent(s.asked.overall), ", by chance ", percent(s.shuffled.overall), "\n");
  for (const GenevalResult& result : s.results) out.pictures.push_back(geneval_result_to_json(result));
  return out;
}

}  // namespace crescendo
