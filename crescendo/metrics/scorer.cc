#include "crescendo/metrics/scorer.h"

#include <iomanip>

#include "crescendo/core/check.h"

namespace crescendo {

Score JointScorer::score(const std::vector<Image>& images) const {
  Score joint;
  for (const auto& scorer : scorers_) {
    Score score = scorer->score(images);
    if (joint.what.empty()) joint.what = std::move(score.what);
    joint.json.update(score.json);
    if (!joint.line.empty() && !score.line.empty()) joint.line += "; ";
    joint.line += score.line;
    joint.table += score.table;
    for (Json& picture : score.pictures) joint.pictures.push_back(std::move(picture));
  }
  return joint;
}

std::string measure_line(const std::string& name, double value, std::optional<double> of_real, int digits) {
  std::string line =
      concat(std::left, std::setw(24), name, std::right, std::fixed, std::setprecision(digits), std::setw(9), value);
  if (of_real) line += concat("  (real pictures ", std::fixed, std::setprecision(digits), *of_real, ")");
  return line + "\n";
}

}  // namespace crescendo
