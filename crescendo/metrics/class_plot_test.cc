#include "crescendo/metrics/class_plot.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support.h"

namespace crescendo {
namespace {

size_t times(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

std::vector<ClassPrecisionRecall> classes() {
  std::vector<ClassPrecisionRecall> out;
  for (int64_t i = 0; i < 20; ++i) {
    PrecisionRecall score;
    score.real = score.generated = 10;
    score.precision = static_cast<double>(i) / 20;
    score.recall = 1 - static_cast<double>(i) / 20;
    out.push_back({i, score});
  }
  return out;
}

TEST(ClassPlot, HasAPointPerClassAndNamesTheWorst) {
  const std::string svg = class_plot_svg(
      classes(), {.title = "a < b", .name = [](int64_t id) { return "cat & " + std::to_string(id); }, .named = 2});
  EXPECT_TRUE(svg.starts_with("<svg ")) << svg.substr(0, 80);
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_EQ(times(svg, "<circle "), 20u);
  EXPECT_EQ(times(svg, "</circle>"), 20u);
  EXPECT_CONTAINS(svg, "a &lt; b");
  EXPECT_CONTAINS(svg, "<title>cat &amp; 5: precision 0.25, recall 0.75, 10 against 10</title>");
  for (const char* label : {">cat &amp; 0<", ">cat &amp; 1<", ">cat &amp; 18<", ">cat &amp; 19<"})
    EXPECT_EQ(times(svg, label), 1u) << label;
  EXPECT_EQ(times(svg, ">cat &amp; 2<"), 0u);
  // Full precision lies at the top, full recall at the right: class 0 has recall 1 and precision 0.
  EXPECT_CONTAINS(svg, "<circle cx=\"544.0\" cy=\"528.0\"");
}

TEST(ClassPlot, WithoutNamesHasNumbers) {
  EXPECT_CONTAINS(class_plot_svg(classes()), "precision and recall of 20 classes");
  EXPECT_CONTAINS(class_plot_svg(classes()), "<title>7: ");
  EXPECT_CONTAINS(test::error_of([] { class_plot_svg({}); }), "no class has precision and recall");
}

}  // namespace
}  // namespace crescendo
