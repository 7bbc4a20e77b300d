// Prompts of GenEval (Ghosh et al. 2023), and what each asks for: lines of evaluation_metadata.jsonl.
//
// Six tasks: single_object, two_object, counting, colors, position, color_attr. metrics/geneval_judge judges a picture
// by its prompt.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "crescendo/core/json.h"

namespace crescendo {

constexpr std::array<std::string_view, 6> kGenevalTags = {"single_object", "two_object", "counting",
                                                          "colors",        "position",   "color_attr"};

struct GenevalClause {
  std::string class_name;
  int64_t count = 1;
  std::optional<std::string> colour;
  std::optional<std::pair<std::string, int64_t>> position;  // relation to the objects of an earlier clause
};

// One line of evaluation_metadata.jsonl.
struct GenevalPrompt {
  std::string tag;
  std::vector<GenevalClause> include;  // all must hold
  std::vector<GenevalClause> exclude;  // none may: class and count only
  std::string prompt;
};
Json geneval_to_json(const GenevalPrompt& prompt);
// `where` names the place in errors.
GenevalPrompt geneval_from_json(const Json& json, const std::string& where);
std::vector<GenevalPrompt> read_geneval_prompts(const std::filesystem::path& file);

struct GenevalObject {
  double x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  double score = 0;
  std::string colour;
};

// "left of", "right of", "above", "below": those that hold for a with respect to b. At 45 degrees two do.
std::vector<std::string> relative_position(const GenevalObject& a, const GenevalObject& b, double threshold = 0.1);

}  // namespace crescendo
