// Shapes: a data set made by the program, (seed, index) -> scene -> picture (3, side, side).
//
// Ten colours by eight shapes on a grey background with a faint gradient. A picture of the class-conditional set holds
// one object, wholly inside; scenes of several objects with captions are drawn in captions.h. Edges are anti-aliased.
// Every parameter is a pure function of (seed, index), so a set needs no files and any part of it can be made anywhere.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "crescendo/core/enums.h"
#include "crescendo/core/json.h"
#include "crescendo/image/image.h"

namespace crescendo {

enum class Colour { kRed, kOrange, kYellow, kGreen, kBlue, kPurple, kPink, kBrown, kBlack, kWhite };
constexpr auto enum_table(Colour) {
  return std::array{EnumName{Colour::kRed, "red"},       EnumName{Colour::kOrange, "orange"},
                    EnumName{Colour::kYellow, "yellow"}, EnumName{Colour::kGreen, "green"},
                    EnumName{Colour::kBlue, "blue"},     EnumName{Colour::kPurple, "purple"},
                    EnumName{Colour::kPink, "pink"},     EnumName{Colour::kBrown, "brown"},
                    EnumName{Colour::kBlack, "black"},   EnumName{Colour::kWhite, "white"}};
}

enum class Figure { kCircle, kSquare, kTriangle, kStar, kCross, kRing, kDiamond, kHeart };
constexpr auto enum_table(Figure) {
  return std::array{EnumName{Figure::kCircle, "circle"},     EnumName{Figure::kSquare, "square"},
                    EnumName{Figure::kTriangle, "triangle"}, EnumName{Figure::kStar, "star"},
                    EnumName{Figure::kCross, "cross"},       EnumName{Figure::kRing, "ring"},
                    EnumName{Figure::kDiamond, "diamond"},   EnumName{Figure::kHeart, "heart"}};
}

constexpr int64_t kColours = 10;
constexpr int64_t kFigures = 8;
constexpr int64_t kShapeClasses = kColours * kFigures;
constexpr uint8_t kGround = 0x99;  // grey level of the background where the gradient is zero
constexpr int64_t kShapesSide = 64;
constexpr double kMinRadius = 10;    // pixels at a side of 64
constexpr double kMaxRadius = 24;    // pixels at a side of 64
constexpr double kMaxRotation = 12;  // degrees to either side, too few to make a square of a diamond
constexpr double kMaxGradient = 8;   // grey levels from the middle to the end

// sRGB bytes of a colour.
std::array<uint8_t, 3> colour_rgb(Colour colour);

// Class id = colour * 8 + figure; "red circle" is 0, "white heart" 79.
int64_t shapes_class(Colour colour, Figure figure);
Colour class_colour(int64_t id);
Figure class_figure(int64_t id);
std::string shapes_class_name(int64_t id);
std::vector<std::string> shapes_class_names();

struct SceneObject {
  Figure figure = Figure::kCircle;
  Colour colour = Colour::kRed;
  double cx = 0, cy = 0;  // pixels from the top left corner
  double radius = 0;      // of the circle around the figure, pixels
  double rotation = 0;    // degrees, clockwise
};

struct Scene {
  int64_t side = kShapesSide;
  double gradient = 0;        // grey levels that the background gains from the middle to the edge
  double gradient_angle = 0;  // degrees, clockwise from the right
  std::vector<SceneObject> objects;
};

// How much of each pixel an object covers, 0..1, in the smallest rectangle of whole pixels around it.
struct Coverage {
  int64_t x0 = 0, y0 = 0, width = 0, height = 0;
  std::vector<float> value;  // (height, width)
};

// Exact along x, eight lines a pixel along y. Cut at a picture of `width` x `height`.
Coverage object_coverage(const SceneObject& object, int64_t width, int64_t height);

// Later objects cover earlier ones.
Image render(const Scene& scene);

// Picture `index` of the class-conditional set; its class is index mod 80.
Scene draw_single(uint64_t seed, int64_t index, int64_t side = kShapesSide);
int64_t single_class(int64_t index);

Json scene_to_json(const Scene& scene);

struct LabelledImages {
  Tensor images;  // (N, 3, side, side) uint8
  Tensor labels;  // (N) int64
};
LabelledImages render_singles(uint64_t seed, std::span<const int64_t> indices, int64_t side = kShapesSide);

}  // namespace crescendo
