#include "crescendo/data/geneval.h"

#include <algorithm>
#include <cmath>

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

}  // namespace crescendo
