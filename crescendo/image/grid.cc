#include "crescendo/image/grid.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "crescendo/core/check.h"
#include "crescendo/image/resize.h"

namespace crescendo {

namespace {

// The letters ' ' to '~': 35 bits each, seven rows of five from the top left, the first pixel in the highest bit.
// clang-format off
constexpr std::array<uint64_t, 95> kLetters = {
    0x000000000, 0x108421004, 0x294000000, 0x295F57D4A, 0x11F4717C4, 0x674222173, 0x32544564D, 0x108000000,  //  !"#$%&'
    0x088842082, 0x208210888, 0x009575480, 0x0084F9080, 0x000001088, 0x0000F8000, 0x00000018C, 0x044222110,  // ()*+,-./
    0x3A33AE62E, 0x11842108E, 0x3A211111F, 0x3A213062E, 0x08CA97C42, 0x7E1E0862E, 0x1910F462E, 0x7C2221108,  // 01234567
    0x3A317462E, 0x3A317844C, 0x018C03180, 0x008401088, 0x088882082, 0x001F07C00, 0x208208888, 0x3A2111004,  // 89:;<=>?
    0x3A37ADE0E, 0x3A31FC631, 0x7A31F463E, 0x3A308422E, 0x7A318C63E, 0x7E10F421F, 0x7E10F4210, 0x3A30BC62E,  // @ABCDEFG
    0x4631FC631, 0x38842108E, 0x1C4210A4C, 0x4654C5251, 0x42108421F, 0x4775AC631, 0x4735ACE31, 0x3A318C62E,  // HIJKLMNO
    0x7A31F4210, 0x3A318D64D, 0x7A31F5251, 0x3E107043E, 0x7C8421084, 0x46318C62E, 0x46318A944, 0x4631AD771,  // PQRSTUVW
    0x462A22A31, 0x462A21084, 0x7C222221F, 0x39084210E, 0x410820841, 0x38421084E, 0x115100000, 0x00000001F,  // XYZ[(backslash)]^_
    0x208000000, 0x000E0BE2F, 0x421E8C63E, 0x000F8420F, 0x042F8C62F, 0x000E8FE0E, 0x191E42108, 0x000F8BC2E,  // `abcdefg
    0x421E8C631, 0x100C2108E, 0x080610A4C, 0x4212A6292, 0x30842108E, 0x001AAD6B5, 0x001E8C631, 0x000E8C62E,  // hijklmno
    0x001E8FA10, 0x000F8BC21, 0x0016C4210, 0x000F8383E, 0x211E42106, 0x00118C62F, 0x00118C544, 0x0011AD6AA,  // pqrstuvw
    0x001151151, 0x00118BC2E, 0x001F1111F, 0x0C8441083, 0x108421084, 0x608411098, 0x0008A8800,  // xyz{|}~
};
// clang-format on
constexpr uint64_t kUnknownLetter = 0x7C6318C7F;  // a box
constexpr int64_t kLetterStep = 6;                // five pixels and a gap
constexpr int64_t kMostScale = 16;

// Share of pixel (dx, dy) of a letter enlarged by `scale` that is ink. The letter's bits are points of a field between
// which it is bilinear; ink is where the field exceeds a half, with an edge one pixel wide.
double letter_coverage(uint64_t bits, int64_t dx, int64_t dy, int64_t scale) {
  const auto bit = [&](int64_t column, int64_t row) {
    return column >= 0 && column < 5 && row >= 0 && row < 7 ? static_cast<double>(bits >> (34 - row * 5 - column) & 1)
                                                            : 0.0;
  };
  const double size = static_cast<double>(scale);
  const double u = (static_cast<double>(dx) + 0.5) / size - 0.5, v = (static_cast<double>(dy) + 0.5) / size - 0.5;
  const double left = std::floor(u), top = std::floor(v);
  const auto column = static_cast<int64_t>(left), row = static_cast<int64_t>(top);
  const double above = std::lerp(bit(column, row), bit(column + 1, row), u - left);
  const double below = std::lerp(bit(column, row + 1), bit(column + 1, row + 1), u - left);
  return std::clamp((std::lerp(above, below, v - top) - 0.5) * size + 0.5, 0.0, 1.0);
}

// UTF-8 continuation bytes are no letters of their own.
bool starts_letter(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

int64_t letters_of(std::string_view text) { return std::count_if(text.begin(), text.end(), starts_letter); }

// Breaks at spaces, and inside a word only where it is wider than the line. At least one line.
std::vector<std::string> wrap(const std::string& text, int64_t letters_per_line) {
  std::vector<std::string> lines(1);
  int64_t used = 0;
  const auto add_word = [&](std::string_view word) {
    const int64_t length = letters_of(word);
    if (used > 0 && used + 1 + length > letters_per_line) {
      lines.emplace_back();
      used = 0;
    }
    if (used > 0) {
      lines.back().push_back(' ');
      ++used;
    }
    for (const char c : word) {
      if (starts_letter(c) && used == letters_per_line) {
        lines.emplace_back();
        used = 0;
      }
      lines.back().push_back(c);
      used += starts_letter(c);
    }
  };
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    if (end > begin) add_word(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

void paste(Image& canvas, int64_t x, int64_t y, const Image& image) {
  for (int64_t row = 0; row < image.height; ++row)
    std::memcpy(canvas.pixel(x, y + row), image.pixel(0, row), static_cast<size_t>(image.width * 3));
}

}  // namespace

int64_t text_width(std::string_view text, int64_t scale) {
  const int64_t letters = letters_of(text);
  return letters == 0 ? 0 : (letters * kLetterStep - 1) * scale;
}

void draw_text(Image& image, int64_t x, int64_t y, std::string_view text, uint8_t grey, int64_t scale) {
  for (const char c : text) {
    if (!starts_letter(c)) continue;
    const uint64_t bits = c >= ' ' && c <= '~' ? kLetters[static_cast<size_t>(c - ' ')] : kUnknownLetter;
    for (int64_t dy = 0; dy < 7 * scale; ++dy) {
      for (int64_t dx = 0; dx < 5 * scale; ++dx) {
        if (x + dx < 0 || x + dx >= image.width || y + dy < 0 || y + dy >= image.height) continue;
        const double ink = letter_coverage(bits, dx, dy, scale);
        for (int64_t channel = 0; channel < 3; ++channel) {
          uint8_t& value = image.pixel(x + dx, y + dy)[channel];
          value = static_cast<uint8_t>(std::lround(value + (grey - value) * ink));
        }
      }
    }
    x += kLetterStep * scale;
  }
}

Image make_grid(std::span<const Image> originals, const GridOptions& options) {
  check(options.padding >= 0 && options.scale >= 1 && options.scale <= kMostScale, "make_grid: padding ",
        options.padding, ", scale ", options.scale, " (1 to ", kMostScale, ")");
  std::vector<Image> images;
  for (const Image& image : originals)
    images.push_back(options.scale == 1 ? image
                                        : resize(image, image.width * options.scale, image.height * options.scale,
                                                 Resampling::kBicubic));
  const auto count = static_cast<int64_t>(images.size());
  check(count > 0, "make_grid: no pictures to show");
  const int64_t columns = options.columns > 0 ? std::min(options.columns, count)
                                              : static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  const int64_t rows = (count + columns - 1) / columns;
  const auto label_count_fits = [](const std::vector<std::string>& labels, int64_t n) {
    return labels.empty() || static_cast<int64_t>(labels.size()) == n;
  };
  check(label_count_fits(options.captions, count) && label_count_fits(options.column_labels, columns) &&
            label_count_fits(options.row_labels, rows),
        "make_grid: ", options.captions.size(), " captions, ", options.column_labels.size(), " column labels and ",
        options.row_labels.size(), " row labels for ", count, " pictures in ", rows, " rows and ", columns, " columns");
  int64_t width = 0, height = 0;
  for (const Image& image : images) {
    width = std::max(width, image.width);
    height = std::max(height, image.height);
  }

  const int64_t scale = options.scale;
  const int64_t line_step = (kTextHeight + 2) * scale;
  const int64_t letters_per_line = std::max<int64_t>(1, (width + scale) / (kLetterStep * scale));
  const auto wrap_all = [&](const std::vector<std::string>& texts, size_t& most_lines) {
    std::vector<std::vector<std::string>> wrapped;
    for (const auto& text : texts) {
      wrapped.push_back(wrap(text, letters_per_line));
      most_lines = std::max(most_lines, wrapped.back().size());
    }
    return wrapped;
  };
  size_t caption_lines = 0, column_lines = 0;
  const auto captions = wrap_all(options.captions, caption_lines);
  const auto column_labels = wrap_all(options.column_labels, column_lines);
  int64_t left = 0;
  for (const auto& label : options.row_labels) left = std::max(left, text_width(label, scale) + 2 * scale);

  const int64_t cell_width = width + 2 * options.padding;
  const int64_t cell_height = height + 2 * options.padding + static_cast<int64_t>(caption_lines) * line_step;
  const int64_t top = static_cast<int64_t>(column_lines) * line_step;
  const int64_t all_width = left + columns * cell_width, all_height = top + rows * cell_height;
  check(all_height <= kMaxImagePixels / all_width, "make_grid: the grid would have ", all_width, " x ", all_height,
        " pixels");
  Image canvas(all_width, all_height);
  std::fill(canvas.rgb.begin(), canvas.rgb.end(), options.background);

  const auto draw_centred = [&](const std::vector<std::string>& lines, int64_t x, int64_t y) {
    for (const auto& line : lines) {
      draw_text(canvas, x + (width - text_width(line, scale)) / 2, y, line, options.ink, scale);
      y += line_step;
    }
  };
  for (size_t c = 0; c < column_labels.size(); ++c)
    draw_centred(column_labels[c], left + static_cast<int64_t>(c) * cell_width + options.padding, scale);
  for (size_t r = 0; r < options.row_labels.size(); ++r)
    draw_text(canvas, scale,
              top + static_cast<int64_t>(r) * cell_height + options.padding + (height - kTextHeight * scale) / 2,
              options.row_labels[r], options.ink, scale);
  for (int64_t i = 0; i < count; ++i) {
    const Image& image = images[static_cast<size_t>(i)];
    const int64_t x = left + i % columns * cell_width + options.padding;
    const int64_t y = top + i / columns * cell_height + options.padding;
    paste(canvas, x + (width - image.width) / 2, y + (height - image.height) / 2, image);
    if (!captions.empty()) draw_centred(captions[static_cast<size_t>(i)], x, y + height + 2 * scale);
  }
  return canvas;
}

}  // namespace crescendo
