// Contact sheets: many pictures in one, with captions in a built-in 5x7 letter set.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crescendo/image/image.h"

namespace crescendo {

struct GridOptions {
  int64_t columns = 0;                     // 0: as square as it goes
  int64_t padding = 2;                     // pixels around each picture
  int64_t scale = 1;                       // pictures are enlarged by this, and a letter is 5 x 7 pixels times it
  uint8_t background = 255;                // grey level
  uint8_t ink = 0;                         // grey level of the text
  std::vector<std::string> captions;       // one below each picture, wrapped to its width; empty: none
  std::vector<std::string> column_labels;  // above the columns; empty: none
  std::vector<std::string> row_labels;     // left of the rows; empty: none
};

// Pictures row by row in cells of one size (that of the largest); smaller ones stand in the middle of their cell.
Image make_grid(std::span<const Image> images, const GridOptions& options = {});

// Draws one line of text with its top left corner at (x, y); what falls outside is cut. Letters of scale 2 and more have
// smooth outlines. Characters outside ASCII show as a small box.
void draw_text(Image& image, int64_t x, int64_t y, std::string_view text, uint8_t grey, int64_t scale = 1);
int64_t text_width(std::string_view text, int64_t scale = 1);
constexpr int64_t kTextHeight = 7;  // times the scale

}  // namespace crescendo
