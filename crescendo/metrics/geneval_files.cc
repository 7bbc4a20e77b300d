#include "crescendo/metrics/geneval_files.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/utf8.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

// "runs/geneval/00012/samples/0003.png" -> "00012/samples/0003.png".
std::string sample_of(const std::string& filename) {
  std::vector<std::string> parts;
  for (const fs::path& part : fs::path(filename)) parts.push_back(part.string());
  if (parts.size() < 3) return filename;
  return parts[parts.size() - 3] + "/" + parts[parts.size() - 2] + "/" + parts.back();
}

void for_each_line(const fs::path& file, const std::function<void(const Json&, const std::string&)>& take) {
  const std::string text = read_text_file(file);
  int64_t number = 0;
  for (const std::string_view line : text_lines(text)) {
    ++number;
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    const std::string where = concat(file.string(), ", line ", number);
    const Json json = parse_json(line, where);
    check(json.is_object(), where, ": must be an object, got ", json_text(json).substr(0, 100));
    take(json, where);
  }
}

std::string text_at(const Json& json, const char* key, const std::string& where) {
  check(json.is_object() && json.contains(key) && json[key].is_string(), where, ": needs the text '", key, "', got ",
        json_text(json).substr(0, 200));
  return json[key].get<std::string>();
}

double number_of(const Json& json, const std::string& where) {
  check(json.is_number() && std::isfinite(json.get<double>()), where, ": box and score must be finite numbers, got ",
        json_text(json));
  return json.get<double>();
}

GenevalObject object_of(const Json& box, const Json& score, const std::string& where) {
  check(box.is_array() && box.size() >= 4, where, ": a box is [x0, y0, x1, y1], got ", json_text(box));
  GenevalObject o;
  o.x0 = number_of(box[0], where);
  o.y0 = number_of(box[1], where);
  o.x1 = number_of(box[2], where);
  o.y1 = number_of(box[3], where);
  o.score = number_of(score, where);
  check(o.x1 >= o.x0 && o.y1 >= o.y0, where, ": a box is [x0, y0, x1, y1] with x1 >= x0 and y1 >= y0, got ",
        json_text(box));
  return o;
}

GenevalObjects objects_of(const Json& line, const std::string& where) {
  GenevalObjects objects;
  if (line.contains("detections")) {
    check(line["detections"].is_array(), where, ": detections must be a list, got ",
          json_text(line["detections"]).substr(0, 100));
    for (const Json& d : line["detections"]) {
      const std::string name = text_at(d, "class", where);
      check(d.contains("box") && d.contains("score"), where, ": a detection needs class, box and score, got ",
            json_text(d).substr(0, 200));
      GenevalObject object = object_of(d["box"], d["score"], where);
      if (d.contains("color") && !d["color"].is_null()) object.colour = text_at(d, "color", where);
      objects[name].push_back(std::move(object));
    }
    return objects;
  }
  check(line.contains("details"), where, ": has neither detections nor details");
  const Json details = line["details"].is_string() ? parse_json(line["details"].get<std::string>(), where + ", details")
                                                   : line["details"];
  check(details.is_object(), where, ": details must be boxes by class");
  for (const auto& [name, boxes] : details.items()) {
    check(boxes.is_array(), where, ": the boxes of ", name, " must be a list");
    for (const Json& box : boxes) {
      check(box.is_array() && box.size() == 5, where, ": a box of details is [x0, y0, x1, y1, score], got ",
            json_text(box));
      objects[name].push_back(object_of(box, box[4], where));
    }
  }
  return objects;
}

// Colours are judged only where a prompt asks for one.
void check_colours(const GenevalObjects& objects, const GenevalSample& sample) {
  for (const GenevalClause& clause : sample.prompt.include) {
    if (!clause.colour) continue;
    const auto found = objects.find(clause.class_name);
    if (found == objects.end()) continue;
    check(std::none_of(found->second.begin(), found->second.end(), [](const auto& o) { return o.colour.empty(); }),
          sample.file, ": \"", sample.prompt.prompt, "\" asks for a colour, and a ", clause.class_name,
          " among the detections has none; let the detector give each its color");
  }
}

}  // namespace

std::map<std::string, GenevalObjects> read_geneval_detections(const fs::path& file) {
  std::map<std::string, GenevalObjects> found;
  for_each_line(file, [&](const Json& line, const std::string& where) {
    const std::string name = sample_of(text_at(line, "filename", where));
    check(found.emplace(name, objects_of(line, where)).second, where, ": ", name, " stands there twice");
  });
  check(!found.empty(), file.string(), ": holds no detections");
  return found;
}

std::vector<GenevalResult> judge_geneval_samples(std::span<const GenevalSample> samples,
                                                 const std::map<std::string, GenevalObjects>& detections,
                                                 const GenevalThresholds& thresholds) {
  std::vector<GenevalResult> results;
  std::string missing;
  int64_t lacking = 0;
  for (const GenevalSample& sample : samples) {
    const auto found = detections.find(sample_of(sample.file));
    if (found == detections.end()) {
      if (++lacking == 1) missing = sample.file;
      continue;
    }
    GenevalObjects objects = geneval_filter(found->second, sample.prompt.tag, thresholds);
    check_colours(objects, sample);
    GenevalVerdict verdict = geneval_judge(objects, sample.prompt, thresholds);
    results.push_back({sample.file, sample.prompt, std::move(verdict), std::move(objects)});
  }
  check(lacking == 0, lacking, " of ", samples.size(), " pictures have no line of detections, e.g. ", missing,
        "; where nothing was found the list is empty");
  return results;
}

void write_geneval_results(const fs::path& file, std::span<const GenevalResult> results) {
  std::string lines;
  for (const GenevalResult& result : results) lines += json_text(geneval_result_to_json(result)) + "\n";
  write_file_atomically(file, lines);
}

std::vector<GenevalResult> read_geneval_results(const fs::path& file) {
  std::vector<GenevalResult> results;
  for_each_line(file, [&](const Json& line, const std::string& where) {
    GenevalResult result;
    result.filename = text_at(line, "filename", where);
    check(line.contains("correct") && line["correct"].is_boolean(), where, ": needs correct, true or false");
    result.verdict.correct = line["correct"].get<bool>();
    if (line.contains("reason") && line["reason"].is_string())
      result.verdict.reason = line["reason"].get<std::string>();
    const Json metadata = parse_json(text_at(line, "metadata", where), where + ", metadata");
    result.prompt = geneval_from_json(metadata, where);
    results.push_back(std::move(result));
  });
  check(!results.empty(), file.string(), ": holds no results");
  return results;
}

}  // namespace crescendo
