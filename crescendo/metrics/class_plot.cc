#include "crescendo/metrics/class_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <set>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/core/utf8.h"

namespace crescendo {

namespace {

constexpr int kSide = 480, kLeft = 64, kTop = 48, kBottom = 56, kRight = 24;

std::string one_digit(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  return text.data();
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '\t')
      out += ' ';
    else
      out += c;
  }
  return out;
}

double x_of(double recall) { return kLeft + kSide * recall; }
double y_of(double precision) { return kTop + kSide * (1 - precision); }

std::string text_at(double x, double y, const std::string& anchor, const std::string& text) {
  return concat("<text x=\"", one_digit(x), "\" y=\"", one_digit(y), "\" text-anchor=\"", anchor, "\">", escaped(text),
                "</text>\n");
}

// A line every fifth, with its number.
std::string grid() {
  std::string out;
  for (int i = 0; i <= 5; ++i) {
    const double share = i / 5.0;
    out += concat("<path d=\"M", one_digit(x_of(share)), " ", kTop, "V", kTop + kSide, "M", kLeft, " ",
                  one_digit(y_of(share)), "H", kLeft + kSide, "\" stroke=\"#ddd\"/>\n");
    out += text_at(x_of(share), kTop + kSide + 18, "middle", one_digit(share));
    out += text_at(kLeft - 8, y_of(share) + 4, "end", one_digit(share));
  }
  out += text_at(kLeft + kSide / 2.0, kTop + kSide + 42, "middle", "recall");
  return out + concat("<text transform=\"translate(18 ", kTop + kSide / 2, ") rotate(-90)\" text-anchor=\"middle\">",
                      "precision</text>\n");
}

// Names beside their points, none over another: one that finds no room is left to its point's tooltip.
class Labels {
 public:
  void add(double x, double y, const std::string& name) {
    constexpr double kLine = 12, kLetter = 6.2;  // pixels of a line and of a letter, about
    const double width = kLetter * static_cast<double>(name.size());
    const bool left = x + width > kLeft + kSide;
    const double from = left ? x - 6 - width : x + 6;
    for (const double line : {-5.0, 4.0, -5 - kLine, 4 + kLine, 4 + 2 * kLine, 4 + 3 * kLine}) {
      const Box box{from, from + width, y + line};
      if (box.y < kTop - 2 || std::ranges::any_of(taken_, [&](const Box& other) {
            return box.from < other.to && other.from < box.to && std::abs(box.y - other.y) < kLine;
          }))
        continue;
      taken_.push_back(box);
      text_ += text_at(left ? x - 6 : x + 6, box.y, left ? "end" : "start", name);
      return;
    }
  }
  const std::string& text() const { return text_; }

 private:
  struct Box {
    double from, to, y;
  };
  std::vector<Box> taken_;
  std::string text_;
};

// Ids of the `count` classes for which `value` is least.
std::set<int64_t> least(std::span<const ClassPrecisionRecall> classes, int64_t count, double PrecisionRecall::*value) {
  std::vector<ClassPrecisionRecall> sorted(classes.begin(), classes.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const auto& a, const auto& b) { return a.score.*value < b.score.*value; });
  std::set<int64_t> out;
  for (const auto& c : sorted)
    if (static_cast<int64_t>(out.size()) < count) out.insert(c.class_id);
  return out;
}

}  // namespace

std::string class_plot_svg(std::span<const ClassPrecisionRecall> classes, const ClassPlot& plot) {
  check(!classes.empty(), "class plot: no class has precision and recall");
  const auto name_of = [&](int64_t id) { return plot.name ? plot.name(id) : std::to_string(id); };
  std::set<int64_t> named = least(classes, plot.named, &PrecisionRecall::precision);
  named.merge(least(classes, plot.named, &PrecisionRecall::recall));

  double precision = 0, recall = 0;
  std::string points;
  Labels labels;
  for (const ClassPrecisionRecall& c : classes) {
    const double x = x_of(c.score.recall), y = y_of(c.score.precision);
    points += concat("<circle cx=\"", one_digit(x), "\" cy=\"", one_digit(y), "\" r=\"3.5\"><title>",
                     escaped(name_of(c.class_id)), ": precision ", c.score.precision, ", recall ", c.score.recall, ", ",
                     c.score.generated, " against ", c.score.real, "</title></circle>\n");
    if (named.contains(c.class_id)) labels.add(x, y, name_of(c.class_id));
    precision += c.score.precision / static_cast<double>(classes.size());
    recall += c.score.recall / static_cast<double>(classes.size());
  }
  const int width = kLeft + kSide + kRight, height = kTop + kSide + kBottom;
  std::string out =
      concat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", width, "\" height=\"", height, "\" viewBox=\"0 0 ",
             width, " ", height, "\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#333\">\n",
             "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n");
  out +=
      concat("<text x=\"", kLeft, "\" y=\"28\" font-size=\"16\">",
             escaped(plot.title.empty() ? concat("precision and recall of ", classes.size(), " classes") : plot.title),
             "</text>\n");
  out += grid();
  out += "<g fill=\"#1f6fb2\" fill-opacity=\"0.5\">\n" + points + "</g>\n";
  out += concat("<path d=\"M", one_digit(x_of(recall)), " ", kTop, "V", kTop + kSide, "M", kLeft, " ",
                one_digit(y_of(precision)), "H", kLeft + kSide,
                "\" stroke=\"#b2431f\" stroke-dasharray=\"4 3\"><title>mean of the classes: precision ", precision,
                ", recall ", recall, "</title></path>\n");
  return out + "<g font-size=\"11\">\n" + labels.text() + "</g>\n</svg>\n";
}

}  // namespace crescendo
