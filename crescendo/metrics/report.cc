#include "crescendo/metrics/report.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

std::string fixed(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

// "tf, inception-2015-12-05": the identity in a line, without what is long.
std::string in_a_line(const Json& identity) {
  if (!identity.is_object()) return "unknown";
  std::string out;
  for (const auto& [key, value] : identity.items()) {
    std::string text = value.is_string() ? value.get<std::string>() : json_text(value);
    if (text.size() > 24) text = text.substr(0, 12) + "..";  // a hash
    out += (out.empty() ? "" : ", ") + key + " " + text;
  }
  return out;
}

std::string padded(std::string text, size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

Json class_to_json(const ClassPrecisionRecall& c) {
  return {{"class", c.class_id},
          {"real", c.score.real},
          {"generated", c.score.generated},
          {"precision", c.score.precision},
          {"recall", c.score.recall},
          {"density", c.score.density},
          {"coverage", c.score.coverage}};
}

}  // namespace

const Measure* EvaluationReport::find(std::string_view name) const {
  const auto found = std::find_if(measures.begin(), measures.end(), [&](const Measure& m) { return m.name == name; });
  return found == measures.end() ? nullptr : &*found;
}

void EvaluationReport::warn(std::string line) {
  if (std::find(warnings.begin(), warnings.end(), line) == warnings.end()) warnings.push_back(std::move(line));
}

Json EvaluationReport::to_json() const {
  Json numbers = Json::object();
  for (const Measure& m : measures) {
    Json& json = numbers[m.name] = {{"value", m.value}};
    if (m.deviation) json["deviation"] = *m.deviation;
    if (m.interval) json["interval"] = Json::array({m.interval->first, m.interval->second});
    if (!m.how.empty()) json["how"] = m.how;
    if (m.details.is_object()) json.update(m.details);
  }
  Json out = {{"format", "crescendo-evaluation-1"},
              {"version", version},
              {"protocol", protocol},
              {"real", real},
              {"generated", generated},
              {"identity", identity.is_null() ? Json("unknown") : identity},
              {"counts", counts},
              {"settings", settings},
              {"measures", std::move(numbers)}};
  if (!classes.empty()) {
    Json& list = out["classes"] = Json::array();
    for (const ClassPrecisionRecall& c : classes) list.push_back(class_to_json(c));
  }
  out["warnings"] = warnings;
  return out;
}

std::string EvaluationReport::table() const {
  struct Row {
    std::string name, number, how;
  };
  std::vector<Row> rows;
  for (const Measure& m : measures) {
    std::string number = fixed(m.value, m.digits);
    if (m.deviation) number += " +- " + fixed(*m.deviation, m.digits);
    if (m.interval)
      number += concat(" (", fixed(m.interval->first, m.digits), " to ", fixed(m.interval->second, m.digits), ")");
    rows.push_back({m.title, std::move(number), m.how});
  }
  size_t names = 9, numbers = 0;  // "generated" is the longest name below
  for (const Row& r : rows) {
    names = std::max(names, r.name.size());
    numbers = std::max(numbers, r.number.size());
  }
  std::string out;
  for (const Row& r : rows)
    out += padded(r.name, names) + "  " + (r.how.empty() ? r.number : padded(r.number, numbers) + "  " + r.how) + "\n";

  std::string pictures;
  for (const auto& [key, value] : counts.items())
    pictures += (pictures.empty() ? "" : ", ") + key + " " + (value.is_null() ? "unknown" : json_text(value));
  const auto say = [&](const char* name, const std::string& text) {
    if (!text.empty()) out += padded(name, names) + "  " + text + "\n";
  };
  out += "\n";
  say("protocol", protocol);
  say("real", real);
  say("generated", generated);
  say("pictures", pictures);
  say("features", in_a_line(identity));
  say("version", version);
  for (const std::string& warning : warnings) say("note", warning);
  return out;
}

std::string EvaluationReport::line() const {
  std::string out;
  for (const Measure& m : measures) out += (out.empty() ? "" : ", ") + m.title + " " + fixed(m.value, m.digits);
  return out;
}

Json EvaluationReport::to_fidelity_json() const {
  struct Key {
    const char* measure;
    const char* value;
    const char* deviation;  // null where torch-fidelity has none
  };
  constexpr std::array kKeys = {Key{"is", "inception_score_mean", "inception_score_std"},
                                Key{"fid", "frechet_inception_distance", nullptr},
                                Key{"kid", "kernel_inception_distance_mean", "kernel_inception_distance_std"},
                                Key{"precision", "precision", nullptr},
                                Key{"recall", "recall", nullptr},
                                Key{"f_score", "f_score", nullptr}};
  Json out = Json::object();
  for (const Key& key : kKeys)
    if (const Measure* m = find(key.measure)) {
      out[key.value] = m->value;
      if (key.deviation && m->deviation) out[key.deviation] = *m->deviation;
    }
  return out;
}

}  // namespace crescendo
