#include "crescendo/data/geneval.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "crescendo/core/check.h"
#include "crescendo/core/utf8.h"

namespace crescendo {

namespace {

Json clause_to_json(const GenevalClause& clause) {
  Json json = {{"class", clause.class_name}, {"count", clause.count}};
  if (clause.colour) json["color"] = *clause.colour;
  if (clause.position) json["position"] = Json::array({clause.position->first, clause.position->second});
  return json;
}

bool known_relation(const std::string& name) {
  return name == "left of" || name == "right of" || name == "above" || name == "below";
}

// `earlier` is the number of clauses that a position may refer to.
GenevalClause clause_from_json(const Json& json, int64_t earlier, const std::string& where) {
  check(json.is_object() && json.contains("class") && json["class"].is_string() && json.contains("count") &&
            json["count"].is_number_integer() && json["count"].get<int64_t>() >= 0,
        where, ": a clause needs a class and a count, got ", json_text(json));
  GenevalClause clause{json["class"].get<std::string>(), json["count"].get<int64_t>(), {}, {}};
  for (const auto& [key, value] : json.items()) {
    if (key == "class" || key == "count") continue;
    if (key == "color") {
      check(value.is_string(), where, ": color must be a name, got ", json_text(value));
      clause.colour = value.get<std::string>();
    } else if (key == "position") {
      check(value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_number_integer() &&
                known_relation(value[0].get<std::string>()) && value[1].get<int64_t>() >= 0 &&
                value[1].get<int64_t>() < earlier,
            where, ": position must be [left of|right of|above|below, number of an earlier clause], got ",
            json_text(value));
      clause.position = {value[0].get<std::string>(), value[1].get<int64_t>()};
    } else {
      fail(where, ": a clause has no key '", key, "'");
    }
  }
  return clause;
}

std::string join(const std::vector<std::string>& items, const std::string& glue) {
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "" : glue) + item;
  return out;
}

std::string percent(int64_t part, int64_t whole) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f%%",
                whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0.0);
  return text;
}

}  // namespace

Json geneval_to_json(const GenevalPrompt& prompt) {
  Json json = {{"tag", prompt.tag}, {"include", Json::array()}};
  for (const auto& clause : prompt.include) json["include"].push_back(clause_to_json(clause));
  if (!prompt.exclude.empty()) {
    json["exclude"] = Json::array();
    for (const auto& clause : prompt.exclude) json["exclude"].push_back(clause_to_json(clause));
  }
  json["prompt"] = prompt.prompt;
  return json;
}

GenevalPrompt geneval_from_json(const Json& json, const std::string& where) {
  check(json.is_object() && json.contains("tag") && json["tag"].is_string() && json.contains("prompt") &&
            json["prompt"].is_string(),
        where, ": a prompt of GenEval needs tag, include and prompt, got ", json_text(json).substr(0, 200));
  GenevalPrompt prompt{json["tag"].get<std::string>(), {}, {}, json["prompt"].get<std::string>()};
  const auto read = [&](const char* key, std::vector<GenevalClause>& clauses) {
    if (!json.contains(key)) return;
    check(json[key].is_array(), where, ": ", key, " must be a list of clauses");
    for (const Json& item : json[key])
      clauses.push_back(clause_from_json(item, static_cast<int64_t>(clauses.size()), where));
  };
  read("include", prompt.include);
  read("exclude", prompt.exclude);
  return prompt;
}

std::vector<GenevalPrompt> read_geneval_prompts(const std::filesystem::path& file) {
  const std::string text = read_text_file(file);
  std::vector<GenevalPrompt> prompts;
  int64_t number = 0;
  for (const std::string_view line : text_lines(text)) {
    ++number;
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    const std::string where = concat(file.string(), ", line ", number);
    prompts.push_back(geneval_from_json(parse_json(line, where), where));
  }
  check(!prompts.empty(), file.string(), ": holds no prompts");
  return prompts;
}

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

// The offset of the centres, less a share of the sizes, in units of its length: a relation holds past one half.
std::vector<std::string> relative_position(const GenevalObject& a, const GenevalObject& b, double threshold) {
  const double offset_x = (a.x0 + a.x1 - b.x0 - b.x1) / 2, offset_y = (a.y0 + a.y1 - b.y0 - b.y1) / 2;
  const auto revise = [&](double offset, double size_a, double size_b) {
    return std::copysign(std::max(std::abs(offset) - threshold * (std::abs(size_a) + std::abs(size_b)), 0.0), offset);
  };
  const double x = revise(offset_x, a.x1 - a.x0, b.x1 - b.x0), y = revise(offset_y, a.y1 - a.y0, b.y1 - b.y0);
  if (std::abs(x) < 1e-3 && std::abs(y) < 1e-3) return {};
  const double length = std::hypot(offset_x, offset_y);
  std::vector<std::string> relations;
  if (x / length < -0.5) relations.emplace_back("left of");
  if (x / length > 0.5) relations.emplace_back("right of");
  if (y / length < -0.5) relations.emplace_back("above");
  if (y / length > 0.5) relations.emplace_back("below");
  return relations;
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
                                  count_of(*clause.colour), " ", *clause.colour, "; and ", join(seen, ", ")));
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
          {"reason", result.verdict.reason}, {"metadata", json_text(geneval_to_json(result.prompt))},
          {"details", json_text(details)}};
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
    bool& any = prompts[json_text(geneval_to_json(result.prompt))];
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
