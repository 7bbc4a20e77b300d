#include "crescendo/data/shapes.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"

namespace crescendo {

namespace {

constexpr int kLinesPerPixel = 8;

struct Point {
  double x, y;
};
struct Disc {
  Point centre;
  double radius;
};

// A figure = the union of a polygon and some discs, less a hole, inside the unit circle; y points down.
struct Outline {
  std::vector<Point> polygon;
  std::vector<Disc> discs;
  double hole = 0;  // radius of a disc at the origin that is cut out
};

// `tips` points on the unit circle, the first on top; with `inner` below 1 a notch between each two.
std::vector<Point> star_polygon(int tips, double inner) {
  std::vector<Point> points;
  const int corners = inner < 1 ? 2 * tips : tips;
  for (int i = 0; i < corners; ++i) {
    const double angle = 2 * std::numbers::pi * i / corners - std::numbers::pi / 2;
    const double r = inner < 1 && i % 2 == 1 ? inner : 1.0;
    points.push_back({r * std::cos(angle), r * std::sin(angle)});
  }
  return points;
}

Outline make_outline(Figure figure) {
  switch (figure) {
    case Figure::kCircle:
      return {{}, {{{0, 0}, 1}}, 0};
    case Figure::kSquare: {
      const double h = std::numbers::sqrt2 / 2;
      return {{{-h, -h}, {h, -h}, {h, h}, {-h, h}}, {}, 0};
    }
    case Figure::kTriangle:
      return {star_polygon(3, 1), {}, 0};
    case Figure::kStar:
      return {star_polygon(5, 0.45), {}, 0};
    case Figure::kCross: {
      const double l = 0.95, w = 0.31;  // half the length and the width of an arm
      return {
          {{-w, -l}, {w, -l}, {w, -w}, {l, -w}, {l, w}, {w, w}, {w, l}, {-w, l}, {-w, w}, {-l, w}, {-l, -w}, {-w, -w}},
          {},
          0};
    }
    case Figure::kRing:
      return {{}, {{{0, 0}, 1}}, 0.55};
    case Figure::kDiamond:
      return {{{0, -1}, {0.6, 0}, {0, 1}, {-0.6, 0}}, {}, 0};
    case Figure::kHeart: {
      // A square on its tip with a half disc on each upper side, moved so that the circle around it is the unit circle.
      const double h = 0.792, y = 0.26 * h;
      const double r = h * std::numbers::sqrt2 / 2;
      return {{{0, y - h}, {h, y}, {0, y + h}, {-h, y}}, {{{-h / 2, y - h / 2}, r}, {{h / 2, y - h / 2}, r}}, 0};
    }
  }
  fail("make_outline: figure ", static_cast<int>(figure), " is unknown");
}

const Outline& outline_of(Figure figure) {
  static const auto outlines = [] {
    std::array<Outline, kFigures> all;
    for (int64_t i = 0; i < kFigures; ++i) all[static_cast<size_t>(i)] = make_outline(static_cast<Figure>(i));
    return all;
  }();
  return outlines[static_cast<size_t>(figure)];
}

struct Span {
  double begin, end;
};

// The stretches of one line that lie in a figure, ordered and apart. Small enough to live on the stack.
struct Spans {
  std::array<Span, 8> items;
  size_t count = 0;
  void add(double begin, double end) {
    if (!(end > begin) || count == items.size()) return;
    size_t place = count++;
    for (; place > 0 && items[place - 1].begin > begin; --place) items[place] = items[place - 1];
    items[place] = {begin, end};
  }
  void merge() {
    size_t kept = 0;
    for (size_t i = 0; i < count; ++i) {
      if (kept > 0 && items[i].begin <= items[kept - 1].end)
        items[kept - 1].end = std::max(items[kept - 1].end, items[i].end);
      else
        items[kept++] = items[i];
    }
    count = kept;
  }
  void cut(double begin, double end) {
    Spans rest;
    for (size_t i = 0; i < count; ++i) {
      rest.add(items[i].begin, std::min(items[i].end, begin));
      rest.add(std::max(items[i].begin, end), items[i].end);
    }
    *this = rest;
  }
};

// Half the width of a disc on the line at distance dy from its centre.
double half_chord(double radius, double dy) { return std::sqrt(std::max(0.0, radius * radius - dy * dy)); }

void add_span(std::span<float> row, double begin, double end, float weight) {
  begin = std::max(begin, 0.0);
  end = std::min(end, static_cast<double>(row.size()));
  if (end <= begin) return;
  const auto first = static_cast<size_t>(begin);
  const auto last = std::min(static_cast<size_t>(end), row.size() - 1);
  if (first == last) {
    row[first] += weight * static_cast<float>(end - begin);
    return;
  }
  row[first] += weight * static_cast<float>(static_cast<double>(first + 1) - begin);
  for (size_t x = first + 1; x < last; ++x) row[x] += weight;
  row[last] += weight * static_cast<float>(end - static_cast<double>(last));
}

}  // namespace

std::array<uint8_t, 3> colour_rgb(Colour colour) {
  switch (colour) {
    case Colour::kRed:
      return {0xE6, 0x26, 0x1F};
    case Colour::kOrange:
      return {0xF5, 0x8A, 0x1F};
    case Colour::kYellow:
      return {0xF7, 0xD0, 0x38};
    case Colour::kGreen:
      return {0x34, 0xA8, 0x53};
    case Colour::kBlue:
      return {0x2F, 0x6D, 0xF0};
    case Colour::kPurple:
      return {0x8E, 0x3C, 0xC7};
    case Colour::kPink:
      return {0xF7, 0x8F, 0xC1};
    case Colour::kBrown:
      return {0x8B, 0x57, 0x2A};
    case Colour::kBlack:
      return {0x1A, 0x1A, 0x1A};
    case Colour::kWhite:
      return {0xF5, 0xF5, 0xF5};
  }
  fail("colour_rgb: colour ", static_cast<int>(colour), " is unknown");
}

int64_t shapes_class(Colour colour, Figure figure) {
  return static_cast<int64_t>(colour) * kFigures + static_cast<int64_t>(figure);
}

Colour class_colour(int64_t id) {
  check(id >= 0 && id < kShapeClasses, "Shapes has the classes 0..", kShapeClasses - 1, ", got ", id);
  return static_cast<Colour>(id / kFigures);
}

Figure class_figure(int64_t id) {
  check(id >= 0 && id < kShapeClasses, "Shapes has the classes 0..", kShapeClasses - 1, ", got ", id);
  return static_cast<Figure>(id % kFigures);
}

std::string shapes_class_name(int64_t id) { return enum_name(class_colour(id)) + " " + enum_name(class_figure(id)); }

std::vector<std::string> shapes_class_names() {
  std::vector<std::string> names;
  for (int64_t id = 0; id < kShapeClasses; ++id) names.push_back(shapes_class_name(id));
  return names;
}

//----------------------------------------------------------------------------
// Area coverage: each line crosses the outline at points that are known exactly, so only y has to be sampled.

Coverage object_coverage(const SceneObject& object, int64_t width, int64_t height) {
  const Outline& outline = outline_of(object.figure);
  const double angle = object.rotation * std::numbers::pi / 180;
  const double c = std::cos(angle) * object.radius, s = std::sin(angle) * object.radius;
  const auto place = [&](const Point& p) {
    return Point{object.cx + c * p.x - s * p.y, object.cy + s * p.x + c * p.y};
  };
  std::array<Point, 16> corners;
  const size_t corner_count = outline.polygon.size();
  for (size_t i = 0; i < corner_count; ++i) corners[i] = place(outline.polygon[i]);
  std::array<Disc, 2> discs;
  const size_t disc_count = outline.discs.size();
  for (size_t i = 0; i < disc_count; ++i)
    discs[i] = {place(outline.discs[i].centre), outline.discs[i].radius * object.radius};
  const double hole = outline.hole * object.radius;

  Coverage out;
  const auto clip = [](double v, int64_t size) { return std::clamp<int64_t>(static_cast<int64_t>(v), 0, size); };
  out.x0 = clip(std::floor(object.cx - object.radius), width);
  out.y0 = clip(std::floor(object.cy - object.radius), height);
  out.width = clip(std::ceil(object.cx + object.radius), width) - out.x0;
  out.height = clip(std::ceil(object.cy + object.radius), height) - out.y0;
  out.value.assign(static_cast<size_t>(out.width * out.height), 0.0f);

  for (int64_t line = 0; line < out.height * kLinesPerPixel; ++line) {
    const double y = static_cast<double>(out.y0) + (static_cast<double>(line) + 0.5) / kLinesPerPixel;
    Spans spans;
    std::array<double, 16> crossings;
    size_t crossing_count = 0;
    for (size_t i = 0; i < corner_count; ++i) {
      const Point& p = corners[i];
      const Point& q = corners[i + 1 == corner_count ? 0 : i + 1];
      if ((p.y <= y) != (q.y <= y)) crossings[crossing_count++] = p.x + (y - p.y) / (q.y - p.y) * (q.x - p.x);
    }
    std::sort(crossings.begin(), crossings.begin() + crossing_count);
    for (size_t i = 0; i + 1 < crossing_count; i += 2) spans.add(crossings[i], crossings[i + 1]);
    for (size_t i = 0; i < disc_count; ++i) {
      const double half = half_chord(discs[i].radius, y - discs[i].centre.y);
      spans.add(discs[i].centre.x - half, discs[i].centre.x + half);
    }
    if (disc_count > 0) spans.merge();
    if (hole > 0) {
      const double half = half_chord(hole, y - object.cy);
      if (half > 0) spans.cut(object.cx - half, object.cx + half);
    }
    const std::span<float> row(out.value.data() + line / kLinesPerPixel * out.width, static_cast<size_t>(out.width));
    const auto left = static_cast<double>(out.x0);
    for (size_t i = 0; i < spans.count; ++i)
      add_span(row, spans.items[i].begin - left, spans.items[i].end - left, 1.0f / kLinesPerPixel);
  }
  return out;
}

Image render(const Scene& scene) {
  const int64_t side = scene.side;
  check(side > 0 && side <= 4096, "render: the side must be in 1..4096, got ", side);
  std::vector<float> canvas(static_cast<size_t>(side * side * 3));  // (side, side, 3)
  const double angle = scene.gradient_angle * std::numbers::pi / 180;
  const double half = static_cast<double>(side) / 2;
  const double dx = scene.gradient * std::cos(angle) / half, dy = scene.gradient * std::sin(angle) / half;
  for (int64_t y = 0; y < side; ++y) {
    for (int64_t x = 0; x < side; ++x) {
      const double grey =
          kGround + dx * (static_cast<double>(x) + 0.5 - half) + dy * (static_cast<double>(y) + 0.5 - half);
      std::fill_n(canvas.begin() + (y * side + x) * 3, 3, static_cast<float>(grey));
    }
  }
  for (const SceneObject& object : scene.objects) {
    const auto rgb = colour_rgb(object.colour);
    const Coverage coverage = object_coverage(object, side, side);
    for (int64_t y = 0; y < coverage.height; ++y) {
      float* row = canvas.data() + ((coverage.y0 + y) * side + coverage.x0) * 3;
      const float* share = coverage.value.data() + y * coverage.width;
      for (int64_t x = 0; x < coverage.width; ++x)
        for (size_t k = 0; k < 3; ++k, ++row) *row += share[x] * (static_cast<float>(rgb[k]) - *row);
    }
  }
  Image image(side, side);
  for (size_t i = 0; i < canvas.size(); ++i)
    image.rgb[i] = static_cast<uint8_t>(std::clamp(canvas[i], 0.0f, 255.0f) + 0.5f);
  return image;
}

int64_t single_class(int64_t index) { return index % kShapeClasses; }

Scene draw_single(uint64_t seed, int64_t index, int64_t side) {
  check(index >= 0, "draw_single: the index must not be negative, got ", index);
  check_usage(side >= 16 && side <= 4096, "Shapes: the side must be in 16..4096 pixels, got ", side);
  Rng rng(derive_seed(seed, static_cast<uint64_t>(index)), Draw::kScene);
  const double unit = static_cast<double>(side) / static_cast<double>(kShapesSide);
  Scene scene;
  scene.side = side;
  scene.gradient = rng.uniform(0, kMaxGradient);
  scene.gradient_angle = rng.uniform(0, 360);
  SceneObject object;
  object.figure = class_figure(single_class(index));
  object.colour = class_colour(single_class(index));
  object.radius = rng.uniform(kMinRadius, kMaxRadius) * unit;
  const double margin = object.radius + unit;
  object.cx = rng.uniform(margin, static_cast<double>(side) - margin);
  object.cy = rng.uniform(margin, static_cast<double>(side) - margin);
  object.rotation = rng.uniform(-kMaxRotation, kMaxRotation);
  scene.objects.push_back(object);
  return scene;
}

Json scene_to_json(const Scene& scene) {
  Json objects = Json::array();
  for (const SceneObject& o : scene.objects)
    objects.push_back({{"shape", enum_name(o.figure)},
                       {"color", enum_name(o.colour)},
                       {"cx", o.cx},
                       {"cy", o.cy},
                       {"radius", o.radius},
                       {"rotation", o.rotation}});
  return {{"side", scene.side},
          {"background", {{"grey", kGround}, {"gradient", scene.gradient}, {"gradient_angle", scene.gradient_angle}}},
          {"objects", std::move(objects)}};
}

LabelledImages render_singles(uint64_t seed, std::span<const int64_t> indices, int64_t side) {
  const auto count = static_cast<int64_t>(indices.size());
  LabelledImages out{at::empty({count, 3, side, side}, at::kByte), at::empty({count}, at::kLong)};
  uint8_t* pixels = out.images.data_ptr<uint8_t>();
  int64_t* labels = out.labels.data_ptr<int64_t>();
  const int64_t plane = side * side;
  at::parallel_for(0, count, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t index = indices[static_cast<size_t>(i)];
      const Image image = render(draw_single(seed, index, side));
      uint8_t* out_planes = pixels + i * 3 * plane;
      for (int64_t p = 0; p < plane; ++p)
        for (int64_t k = 0; k < 3; ++k) out_planes[k * plane + p] = image.rgb[static_cast<size_t>(p * 3 + k)];
      labels[i] = single_class(index);
    }
  });
  return out;
}

}  // namespace crescendo
