#include "crescendo/metrics/geneval_judge.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "crescendo/core/check.h"
#include "crescendo/core/join.h"

namespace crescendo {

namespace {

std::string percent(int64_t part, int64_t whole) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f%%",
                whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0.0);
  return text;
}

}  // namespace

GenevalObjects geneval_filter(const GenevalObjects& objects, const std::string& tag,
                              const GenevalThresholds& thresholds) {
  const double least = tag == "counting" ? thresholds.counting_score : thresholds.score;
  GenevalObjects kept;
  for (const auto& [name, all] : objects) {
    std::vector<GenevalObject> sure;
    for (const auto& object : all)
      if (object.score > least) sure.push_back(object);
    std::stable_sort(sure.begin(), sure.end(),
                     [](const GenevalObject& a, const GenevalObject& b) { return a.score > b.score; });
    if (static_cast<int64_t>(sure.size()) > thresholds.max_objects)
      sure.resize(static_cast<size_t>(thresholds.max_objects));
    if (!sure.empty()) kept[name] = std::move(sure);
  }
  return kept;
}

GenevalObjects geneval_objects(std::span<const Detection> detections) {
  GenevalObjects objects;
  for (const Detection& d : detections)
    objects[enum_name(d.object.figure)].push_back({d.x0, d.y0, d.x1, d.y1, d.score, enum_name(d.object.colour)});
  return objects;
}

GenevalVerdict geneval_judge(const GenevalObjects& objects, const GenevalPrompt& prompt,
                             const GenevalThresholds& thresholds) {
  std::vector<std::string> faults;
  const auto of_class = [&](const std::string& name) {
    const auto found = objects.find(name);
    return found == objects.end() ? std::span<const GenevalObject>() : std::span<const GenevalObject>(found->second);
  };
  // The objects that met each clause; nothing where it was not met, so that later clauses cannot refer to it.
  std::vector<std::optional<std::span<const GenevalObject>>> groups;
  for (const GenevalClause& clause : prompt.include) {
    const auto all = of_class(clause.class_name);
    const auto count = static_cast<size_t>(clause.count);
    const auto found = all.first(std::min(all.size(), count));  // only the surest are looked at
    const size_t faults_before = faults.size();
    if (found.size() < count) {
      faults.push_back(concat("expected ", clause.class_name, ">=", clause.count, ", found ", found.size()));
    } else {
      if (clause.colour) {
        const auto count_of = [&](const std::string& colour) {
          return std::count_if(found.begin(), found.end(), [&](const auto& o) { return o.colour == colour; });
        };
        if (count_of(*clause.colour) < clause.count) {
          std::vector<std::string> seen;
          for (const auto& entry : enum_table(Colour{}))
            if (const auto n = count_of(std::string(entry.name)); n > 0) seen.push_back(concat(n, " ", entry.name));
          faults.push_back(concat("expected ", *clause.colour, " ", clause.class_name, ">=", clause.count, ", found ",
                                  count_of(*clause.colour), " ", *clause.colour, "; and ", join(seen)));
        }
      }
      if (clause.position && faults.size() == faults_before) {
        const auto& [relation, index] = *clause.position;
        check(index >= 0 && static_cast<size_t>(index) < groups.size(), "GenEval: '", prompt.prompt,
              "' refers to clause ", index, ", which does not come before");
        const auto& target = groups[static_cast<size_t>(index)];
        if (!target) {
          faults.push_back(concat("no target for ", clause.class_name, " to be ", relation));
        } else {
          for (size_t i = 0; i < found.size() && faults.size() == faults_before; ++i) {
            for (size_t j = 0; j < target->size() && faults.size() == faults_before; ++j) {
              const auto relations = relative_position(found[i], (*target)[j], thresholds.position);
              if (std::find(relations.begin(), relations.end(), relation) == relations.end())
                faults.push_back(concat("expected ", clause.class_name, " ", relation, " target, found ",
                                        join(relations, " and "), " target"));
            }
          }
        }
      }
    }
    if (faults.size() == faults_before)
      groups.emplace_back(found);
    else
      groups.emplace_back();
  }
  for (const GenevalClause& clause : prompt.exclude) {
    const size_t found = of_class(clause.class_name).size();
    if (found >= static_cast<size_t>(clause.count))
      faults.push_back(concat("expected ", clause.class_name, "<", clause.count, ", found ", found));
  }
  return {faults.empty(), join(faults, "\n")};
}

GenevalVerdict geneval_judge(const Image& image, const GenevalPrompt& prompt) {
  return geneval_judge(geneval_filter(geneval_objects(detect(image)), prompt.tag), prompt);
}

Json geneval_result_to_json(const GenevalResult& result) {
  Json details = Json::object();
  for (const auto& [name, objects] : result.objects) {
    Json boxes = Json::array();
    for (const auto& o : objects) boxes.push_back({o.x0, o.y0, o.x1, o.y1, o.score});
    details[name] = std::move(boxes);
  }
  return {{"filename", result.filename},     {"tag", result.prompt.tag},
          {"prompt", result.prompt.prompt},  {"correct", result.verdict.correct},
          {"reason", result.verdict.reason}, {"metadata", geneval_to_json(result.prompt).dump()},
          {"details", details.dump()}};
}

GenevalSummary geneval_summarise(std::span<const GenevalResult> results) {
  GenevalSummary summary;
  std::map<std::string, bool> prompts;  // metadata -> any image correct
  for (const GenevalResult& result : results) {
    auto task = std::find_if(summary.tasks.begin(), summary.tasks.end(),
                             [&](const auto& t) { return t.tag == result.prompt.tag; });
    if (task == summary.tasks.end()) task = summary.tasks.insert(task, {result.prompt.tag, 0, 0});
    task->correct += result.verdict.correct;
    ++task->images;
    summary.correct_images += result.verdict.correct;
    ++summary.images;
    bool& any = prompts[geneval_to_json(result.prompt).dump()];
    any = any || result.verdict.correct;
  }
  summary.prompts = static_cast<int64_t>(prompts.size());
  for (const auto& [metadata, any] : prompts) summary.correct_prompts += any;
  for (const auto& task : summary.tasks) summary.overall += task.share() / static_cast<double>(summary.tasks.size());
  return summary;
}

Json geneval_summary_to_json(const GenevalSummary& summary) {
  Json tasks = Json::object();
  for (const auto& task : summary.tasks)
    tasks[task.tag] = {{"share", task.share()}, {"correct", task.correct}, {"images", task.images}};
  return {{"overall", summary.overall},
          {"images", summary.images},
          {"correct_images", summary.correct_images},
          {"prompts", summary.prompts},
          {"correct_prompts", summary.correct_prompts},
          {"tasks", std::move(tasks)}};
}

std::string geneval_summary_text(const GenevalSummary& summary) {
  std::string out = "Summary\n=======\n";
  out += concat("Total images: ", summary.images, "\nTotal prompts: ", summary.prompts,
                "\n% correct images: ", percent(summary.correct_images, summary.images),
                "\n% correct prompts: ", percent(summary.correct_prompts, summary.prompts),
                "\n\nTask breakdown\n==============\n");
  for (const auto& task : summary.tasks) {
    const std::string padding(task.tag.size() < 16 ? 16 - task.tag.size() : 0, ' ');
    out += concat(task.tag, padding, " = ", percent(task.correct, task.images), " (", task.correct, " / ", task.images,
                  ")\n");
  }
  char overall[32];
  std::snprintf(overall, sizeof overall, "%.5f", summary.overall);
  return out + "\nOverall score (avg. over tasks): " + overall + "\n";
}

}  // namespace crescendo
