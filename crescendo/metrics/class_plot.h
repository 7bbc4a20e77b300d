// Precision and recall of every class -> an SVG: a point per class, its name shown where the mouse stands.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "crescendo/metrics/precision_recall.h"

namespace crescendo {

struct ClassPlot {
  std::string title{};
  std::function<std::string(int64_t class_id)> name{};  // of a class; its number where there is none
  int64_t named = 4;                                    // classes of least precision, and of least recall, with a label
};

std::string class_plot_svg(std::span<const ClassPrecisionRecall> classes, const ClassPlot& plot = {});

}  // namespace crescendo
