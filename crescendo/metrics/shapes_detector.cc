#include "crescendo/metrics/shapes_detector.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace crescendo {

namespace {

constexpr int kNone = -1;
constexpr float kMinShare = 0.5f;     // a pixel belongs to an object from half its colour on: the object's true edge
constexpr float kMaxResidual = 64;    // RGB distance to the nearest mixture; the palette's mixtures are 70 apart
constexpr float kFringeShare = 0.1f;  // less than this at the edge is noise
constexpr double kMinArea = 24.0 / (64 * 64);  // of the picture; the smallest object of a scene has twice that

// The line from the ground to each colour, as an offset.
struct Mixture {
  std::array<float, 3> direction;
  float squared;
};

const std::array<Mixture, kColours>& mixtures() {
  static const auto all = [] {
    std::array<Mixture, kColours> m;
    for (int64_t i = 0; i < kColours; ++i) {
      const auto rgb = colour_rgb(static_cast<Colour>(i));
      Mixture& mixture = m[static_cast<size_t>(i)];
      mixture.squared = 0;
      for (size_t k = 0; k < 3; ++k) {
        mixture.direction[k] = static_cast<float>(rgb[k]) - kGround;
        mixture.squared += mixture.direction[k] * mixture.direction[k];
      }
    }
    return m;
  }();
  return all;
}

std::array<float, 3> offset_from_ground(const uint8_t* p) {
  return {static_cast<float>(p[0]) - kGround, static_cast<float>(p[1]) - kGround, static_cast<float>(p[2]) - kGround};
}

float dot(const std::array<float, 3>& a, const std::array<float, 3>& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// The share of `colour` in a pixel, 0..1.
float colour_share(const uint8_t* pixel, int colour) {
  const Mixture& m = mixtures()[static_cast<size_t>(colour)];
  return std::clamp(dot(offset_from_ground(pixel), m.direction) / m.squared, 0.0f, 1.0f);
}

int label_pixel(const uint8_t* pixel) {
  const auto d = offset_from_ground(pixel);
  const float length = dot(d, d);
  float best = kMaxResidual * kMaxResidual;
  int label = kNone;
  for (int c = 0; c < kColours; ++c) {
    const Mixture& m = mixtures()[static_cast<size_t>(c)];
    const float along = dot(d, m.direction);
    if (along <= 0) continue;
    const float share = std::min(along / m.squared, 1.0f);
    const float residual = length - 2 * share * along + share * share * m.squared;
    if (residual < best) {
      best = residual;
      label = share >= kMinShare ? c : kNone;
    }
  }
  return label;
}

std::vector<int> label_pixels(const Image& image) {
  const int64_t w = image.width, h = image.height;
  std::vector<int> labels(static_cast<size_t>(w * h));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = label_pixel(image.rgb.data() + 3 * i);
  // A pixel that seven of its eight neighbours outvote is a speck.
  std::vector<int> smooth = labels;
  for (int64_t y = 1; y + 1 < h; ++y) {
    for (int64_t x = 1; x + 1 < w; ++x) {
      const int64_t i = y * w + x;
      const auto around = [&](int64_t k) {
        static constexpr std::array<int64_t, 8> kDx = {-1, 0, 1, -1, 1, -1, 0, 1}, kDy = {-1, -1, -1, 0, 0, 1, 1, 1};
        return labels[static_cast<size_t>(i + kDy[static_cast<size_t>(k)] * w + kDx[static_cast<size_t>(k)])];
      };
      const int own = labels[static_cast<size_t>(i)];
      const int candidate = around(0) != own ? around(0) : around(1);  // seven of eight include one of any two
      if (candidate == own) continue;
      int votes = 0;
      for (int64_t k = 0; k < 8; ++k) votes += around(k) == candidate;
      if (votes >= 7) smooth[static_cast<size_t>(i)] = candidate;
    }
  }
  return smooth;
}

struct Component {
  int colour = 0;
  int64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;  // of its pixels; x1, y1 exclusive
  Coverage mask;                           // soft edges included
  double area = 0, cx = 0, cy = 0;
};

// One component from `start` on, marked in `owner`; pixels joined at corners belong together.
Component grow(const Image& image, const std::vector<int>& labels, std::vector<int>& owner, int id, int64_t start) {
  const int64_t w = image.width, h = image.height;
  Component c;
  c.colour = labels[static_cast<size_t>(start)];
  c.x0 = w;
  c.y0 = h;
  std::vector<int64_t> stack = {start};
  owner[static_cast<size_t>(start)] = id;
  while (!stack.empty()) {
    const int64_t x = stack.back() % w, y = stack.back() / w;
    stack.pop_back();
    c.x0 = std::min(c.x0, x);
    c.y0 = std::min(c.y0, y);
    c.x1 = std::max(c.x1, x + 1);
    c.y1 = std::max(c.y1, y + 1);
    for (int64_t v = std::max<int64_t>(y - 1, 0); v <= std::min(y + 1, h - 1); ++v) {
      for (int64_t u = std::max<int64_t>(x - 1, 0); u <= std::min(x + 1, w - 1); ++u) {
        const auto i = static_cast<size_t>(v * w + u);
        if (owner[i] >= 0 || labels[i] != c.colour) continue;
        owner[i] = id;
        stack.push_back(v * w + u);
      }
    }
  }
  return c;
}

// Coverage of each pixel by the component: whole inside, the colour's share at the edge and one pixel beyond it.
void measure(const Image& image, const std::vector<int>& labels, const std::vector<int>& owner, int id, Component& c) {
  const int64_t w = image.width, h = image.height;
  Coverage& m = c.mask;
  m.x0 = std::max<int64_t>(c.x0 - 1, 0);
  m.y0 = std::max<int64_t>(c.y0 - 1, 0);
  m.width = std::min(c.x1 + 1, w) - m.x0;
  m.height = std::min(c.y1 + 1, h) - m.y0;
  m.value.assign(static_cast<size_t>(m.width * m.height), 0.0f);
  const auto owned = [&](int64_t x, int64_t y) {
    return x >= 0 && x < w && y >= 0 && y < h && owner[static_cast<size_t>(y * w + x)] == id;
  };
  double sum = 0, sum_x = 0, sum_y = 0;
  for (int64_t y = m.y0; y < m.y0 + m.height; ++y) {
    for (int64_t x = m.x0; x < m.x0 + m.width; ++x) {
      float value = 0;
      const bool cross = owned(x - 1, y) && owned(x + 1, y) && owned(x, y - 1) && owned(x, y + 1);
      if (owned(x, y)) {
        value = cross ? 1.0f : colour_share(image.pixel(x, y), c.colour);
      } else if (labels[static_cast<size_t>(y * w + x)] == kNone) {
        bool near_it = false;
        for (int64_t v = y - 1; v <= y + 1; ++v)
          for (int64_t u = x - 1; u <= x + 1; ++u) near_it = near_it || owned(u, v);
        if (near_it) value = colour_share(image.pixel(x, y), c.colour);
        if (value < kFringeShare) value = 0;
      }
      m.value[static_cast<size_t>((y - m.y0) * m.width + x - m.x0)] = value;
      sum += value;
      sum_x += value * (static_cast<double>(x) + 0.5);
      sum_y += value * (static_cast<double>(y) + 0.5);
    }
  }
  c.area = sum;
  c.cx = sum_x / sum;
  c.cy = sum_y / sum;
}

// Intersection over union of two coverages, `total` being the sum of `a`.
double overlap(const Coverage& a, double total, const Coverage& b) {
  const int64_t x0 = std::max(a.x0, b.x0), x1 = std::min(a.x0 + a.width, b.x0 + b.width);
  const int64_t y0 = std::max(a.y0, b.y0), y1 = std::min(a.y0 + a.height, b.y0 + b.height);
  float common = 0, other = 0;
  for (const float v : b.value) other += v;
  for (int64_t y = y0; y < y1; ++y) {
    const float* p = a.value.data() + (y - a.y0) * a.width + x0 - a.x0;
    const float* q = b.value.data() + (y - b.y0) * b.width + x0 - b.x0;
    for (int64_t i = 0; i < x1 - x0; ++i) common += std::min(p[i], q[i]);
  }
  const double all = total + other - common;
  return all > 0 ? common / all : 0;
}

// Area and centroid of a figure of radius 1, measured on a large one.
struct Moments {
  double area, x, y;
};
const std::array<Moments, kFigures>& figure_moments() {
  static const auto all = [] {
    std::array<Moments, kFigures> out;
    for (int64_t f = 0; f < kFigures; ++f) {
      constexpr double kRadius = 100;
      const Coverage c = object_coverage({static_cast<Figure>(f), Colour::kRed, 128, 128, kRadius, 0}, 256, 256);
      double sum = 0, x = 0, y = 0;
      for (size_t i = 0; i < c.value.size(); ++i) {
        const auto k = static_cast<int64_t>(i);
        sum += c.value[i];
        x += c.value[i] * (static_cast<double>(c.x0 + k % c.width) + 0.5 - 128);
        y += c.value[i] * (static_cast<double>(c.y0 + k / c.width) + 0.5 - 128);
      }
      out[static_cast<size_t>(f)] = {sum / (kRadius * kRadius), x / sum / kRadius, y / sum / kRadius};
    }
    return out;
  }();
  return all;
}

// The figure with the component's area and centroid, turned by `rotation`.
SceneObject fit(const Component& c, Figure figure, double rotation) {
  const Moments& m = figure_moments()[static_cast<size_t>(figure)];
  const double angle = rotation * std::numbers::pi / 180;
  const double radius = std::sqrt(c.area / m.area);
  return {figure,
          static_cast<Colour>(c.colour),
          c.cx - radius * (std::cos(angle) * m.x - std::sin(angle) * m.y),
          c.cy - radius * (std::sin(angle) * m.x + std::cos(angle) * m.y),
          radius,
          rotation};
}

Detection classify(const Image& image, const Component& c) {
  Detection best;
  const auto consider = [&](Detection& into, Figure figure, double rotation) {
    const SceneObject object = fit(c, figure, rotation);
    const double score = overlap(c.mask, c.area, object_coverage(object, image.width, image.height));
    if (score <= into.score) return;
    into.object = object;
    into.score = score;
  };
  for (int64_t f = 0; f < kFigures; ++f) {
    const auto figure = static_cast<Figure>(f);
    Detection candidate;
    if (figure == Figure::kCircle || figure == Figure::kRing) {
      consider(candidate, figure, 0);
    } else {
      for (const double rotation : {-12.0, -4.0, 4.0, 12.0}) consider(candidate, figure, rotation);
      if (candidate.score > best.score * 0.9)
        for (double step = 2; step > 0.4; step /= 2) {
          const double from = candidate.object.rotation;
          consider(candidate, figure, from - step);
          consider(candidate, figure, from + step);
        }
    }
    if (candidate.score > best.score) best = candidate;
  }
  best.area = c.area;
  best.x0 = static_cast<double>(c.x0);
  best.y0 = static_cast<double>(c.y0);
  best.x1 = static_cast<double>(c.x1);
  best.y1 = static_cast<double>(c.y1);
  return best;
}

double deviation(double sum, double squares, double n) {
  return n > 1 ? std::sqrt(std::max(0.0, (squares - sum * sum / n) / (n - 1))) : 0;
}

}  // namespace

std::vector<Detection> detect(const Image& image) {
  const std::vector<int> labels = label_pixels(image);
  std::vector<int> owner(labels.size(), kNone);
  const double min_area = kMinArea * static_cast<double>(image.width * image.height);
  std::vector<Detection> found;
  int id = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == kNone || owner[i] >= 0) continue;
    Component component = grow(image, labels, owner, id, static_cast<int64_t>(i));
    if (static_cast<double>((component.x1 - component.x0) * (component.y1 - component.y0)) >= min_area) {
      measure(image, labels, owner, id, component);
      if (component.area >= min_area) found.push_back(classify(image, component));
    }
    ++id;
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Detection& a, const Detection& b) { return a.score > b.score; });
  return found;
}

SingleScore score_single(std::span<const Detection> detections, int64_t class_id) {
  if (detections.empty()) return {};
  const auto largest = std::max_element(detections.begin(), detections.end(),
                                        [](const Detection& a, const Detection& b) { return a.area < b.area; });
  return {true, largest->object.colour == class_colour(class_id), largest->object.figure == class_figure(class_id)};
}

Spread measure_spread(std::span<const SceneObject> objects) {
  double x = 0, xx = 0, y = 0, yy = 0, r = 0, rr = 0;
  for (const SceneObject& o : objects) {
    x += o.cx;
    xx += o.cx * o.cx;
    y += o.cy;
    yy += o.cy * o.cy;
    r += o.radius;
    rr += o.radius * o.radius;
  }
  const auto n = static_cast<double>(objects.size());
  return {static_cast<int64_t>(objects.size()), deviation(x, xx, n), deviation(y, yy, n), deviation(r, rr, n)};
}

Spread singles_spread(uint64_t seed, int64_t count, int64_t side) {
  std::vector<SceneObject> objects;
  for (int64_t i = 0; i < count; ++i) objects.push_back(draw_single(seed, i, side).objects[0]);
  return measure_spread(objects);
}

SpreadRatio spread_ratio(const Spread& samples, const Spread& data) {
  const double centre = std::hypot(data.cx_std, data.cy_std);
  return {centre > 0 ? std::hypot(samples.cx_std, samples.cy_std) / centre : 0,
          data.radius_std > 0 ? samples.radius_std / data.radius_std : 0};
}

}  // namespace crescendo
