#include "crescendo/image/image.h"

#include <ATen/ATen.h>
#include <png.h>
#include <webp/decode.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs FILE
#include <cstring>
#include <optional>

// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/finite.h"
#include "crescendo/core/utf8.h"

namespace crescendo {

namespace {

constexpr std::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);
constexpr std::string_view kJpegSignature("\xFF\xD8\xFF", 3);

bool is_webp(std::string_view bytes) {  // "RIFF", four bytes of size, "WEBP"
  return bytes.starts_with("RIFF") && bytes.substr(0, 12).ends_with("WEBP");
}

void check_size(int64_t width, int64_t height, const std::string& name) {
  check(width > 0 && height > 0 && width <= kMaxImagePixels / height, name, ": a picture of ", width, " x ", height,
        " pixels; at most ", kMaxImagePixels, " pixels are read");
}

//----------------------------------------------------------------------------
// PNG. libpng reports errors by longjmp, which must not skip C++ destructors: functions that call setjmp keep nothing
// but plain values, and everything with a destructor lives in the struct that they work on.

struct PngReader {
  std::string_view bytes;
  std::string name;
  size_t position = 0;
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::string error;
  std::vector<uint8_t> pixels;
  std::vector<png_bytep> rows;
  int64_t width = 0, height = 0;
  int channels = 0;
  bool grey16 = false;
  bool ended = false;            // the file ends where more was to come
  std::vector<uint8_t> palette;  // (256, 3) where pixels are indices

  PngReader(std::string_view data, std::string what) : bytes(data), name(std::move(what)) {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    info = png ? png_create_info_struct(png) : nullptr;
    if (!info) png_destroy_read_struct(&png, nullptr, nullptr);
    check(info != nullptr, name, ": libpng ", PNG_LIBPNG_VER_STRING, " could not be started");
    png_set_read_fn(png, this, on_read);
  }
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  static void on_error(png_structp p, png_const_charp message) {
    static_cast<PngReader*>(png_get_error_ptr(p))->error = message;
    png_longjmp(p, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp p, png_bytep out, size_t size) {
    auto* self = static_cast<PngReader*>(png_get_io_ptr(p));
    self->ended = size > self->bytes.size() - self->position;
    if (self->ended) png_error(p, "the file ends too early");
    std::memcpy(out, self->bytes.data() + self->position, size);
    self->position += size;
  }

  // False where libpng gave up; `error` then says why.
  bool read_header() {
    if (setjmp(png_jmpbuf(png))) return false;
    png_read_info(png, info);
    width = png_get_image_width(png, info);
    height = png_get_image_height(png, info);
    return true;
  }
  bool read_layout() {
    if (setjmp(png_jmpbuf(png))) return false;
    const int type = png_get_color_type(png, info);
    const int depth = png_get_bit_depth(png, info);
    grey16 = type == PNG_COLOR_TYPE_GRAY && depth == 16;
    if (type == PNG_COLOR_TYPE_PALETTE) {
      png_set_packing(png);
      read_palette();
    }
    if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    if (depth == 16 && !grey16) png_set_strip_16(png);
    if (type & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    channels = png_get_channels(png, info);
    return true;
  }
  // A number that the file's palette lacks is a grey of that level. Transparency (tRNS) is not asked for.
  void read_palette() {
    for (int i = 0; i < 3 * 256; ++i) palette[static_cast<size_t>(i)] = static_cast<uint8_t>(i / 3);
    png_colorp colours = nullptr;
    int count = 0;
    png_get_PLTE(png, info, &colours, &count);
    for (int i = 0; i < count; ++i) {
      uint8_t* rgb = &palette[static_cast<size_t>(3 * i)];
      rgb[0] = colours[i].red;
      rgb[1] = colours[i].green;
      rgb[2] = colours[i].blue;
    }
  }
  bool read_pixels() {
    if (setjmp(png_jmpbuf(png))) return false;
    png_read_image(png, rows.data());
    return true;
  }
  bool read_end() {
    if (setjmp(png_jmpbuf(png))) return false;
    png_read_end(png, info);
    return true;
  }
  void require(bool ok) { check(ok, name, ": not a readable PNG: ", error); }

  void read() {
    require(read_header());
    check_size(width, height, name);
    if (png_get_color_type(png, info) == PNG_COLOR_TYPE_PALETTE) palette.resize(3 * 256);
    require(read_layout());
    const size_t row_bytes = png_get_rowbytes(png, info);
    pixels.resize(row_bytes * static_cast<size_t>(height));
    rows.resize(static_cast<size_t>(height));
    for (size_t y = 0; y < rows.size(); ++y) rows[y] = pixels.data() + y * row_bytes;
    require(read_pixels());
    require(read_end() || ended);  // the pixels are whole: Pillow minds no end that is missing
  }
};

Image decode_png(std::string_view bytes, const std::string& name) {
  PngReader reader(bytes, name);
  reader.read();
  Image image(reader.width, reader.height);
  const size_t count = static_cast<size_t>(image.width * image.height);
  const uint8_t* in = reader.pixels.data();
  if (reader.grey16) {
    for (size_t i = 0; i < count; ++i) std::memset(image.rgb.data() + 3 * i, in[2 * i] == 0 ? in[2 * i + 1] : 255, 3);
  } else if (!reader.palette.empty()) {
    for (size_t i = 0; i < count; ++i) std::memcpy(image.rgb.data() + 3 * i, &reader.palette[3 * size_t{in[i]}], 3);
  } else if (reader.channels == 1) {
    for (size_t i = 0; i < count; ++i) std::memset(image.rgb.data() + 3 * i, in[i], 3);
  } else {
    check(reader.channels == 3, name, ": a PNG of ", reader.channels, " channels after expansion");
    std::memcpy(image.rgb.data(), in, 3 * count);
  }
  return image;
}

struct PngWriter {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::string error;
  std::string out;
  std::vector<std::string> stored;  // what `texts` points into
  std::vector<png_text> texts;

  PngWriter() {
    png = png_create_write_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    info = png ? png_create_info_struct(png) : nullptr;
    if (!info) png_destroy_write_struct(&png, nullptr);
    check(info != nullptr, "libpng ", PNG_LIBPNG_VER_STRING, " could not be started");
    png_set_write_fn(png, this, on_write, on_flush);
  }
  ~PngWriter() { png_destroy_write_struct(&png, &info); }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;

  static void on_error(png_structp p, png_const_charp message) {
    static_cast<PngWriter*>(png_get_error_ptr(p))->error = message;
    png_longjmp(p, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_write(png_structp p, png_bytep data, size_t size) {
    static_cast<PngWriter*>(png_get_io_ptr(p))->out.append(reinterpret_cast<const char*>(data), size);
  }
  static void on_flush(png_structp) {}

  bool write(const Image& image) {
    if (setjmp(png_jmpbuf(png))) return false;
    png_set_IHDR(png, info, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height), 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (!texts.empty()) png_set_text(png, info, texts.data(), static_cast<int>(texts.size()));
    png_write_info(png, info);
    for (int64_t y = 0; y < image.height; ++y) png_write_row(png, image.pixel(0, y));
    png_write_end(png, nullptr);
    return true;
  }
};

// UTF-8 as Latin-1, or nothing where a character lies outside it (or is a control character that tEXt forbids).
std::optional<std::string> utf8_to_latin1(std::string_view text, const std::string& what) {
  std::string out;
  bool fits = true;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text.substr(i));
    check(step.valid, what, " is not UTF-8 at byte ", i);
    check(text[i] != '\0', what, " holds a zero byte, which a PNG cannot store");
    // Two bytes led by C2 or C3 say U+0080 to U+00FF.
    const auto lead = static_cast<unsigned char>(text[i]);
    const unsigned code = step.length == 1 ? lead
                          : step.length == 2 && lead <= 0xC3
                              ? (lead & 3u) << 6 | (static_cast<unsigned char>(text[i + 1]) & 0x3Fu)
                              : 0x100;
    fits = fits && code <= 0xFF && !(code >= 0x7F && code < 0xA0);
    if (fits) out.push_back(static_cast<char>(code));
    i += step.length;
  }
  return fits ? std::optional(out) : std::nullopt;
}

std::string latin1_to_utf8(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x80) {
      out.push_back(c);
    } else {
      out.push_back(static_cast<char>(0xC0 | code >> 6));
      out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
    }
  }
  return out;
}

//----------------------------------------------------------------------------
// JPEG, with the same care about longjmp.

struct JpegReader {
  jpeg_error_mgr manager;  // first, so that the error callbacks find the reader behind it
  jmp_buf jump;
  jpeg_decompress_struct jpeg{};
  char message[JMSG_LENGTH_MAX] = "";
  std::vector<uint8_t> pixels;
  int64_t width = 0, height = 0;

  JpegReader() {
    jpeg.err = jpeg_std_error(&manager);
    manager.error_exit = on_error;
    manager.emit_message = on_message;
    jpeg.client_data = this;
  }
  ~JpegReader() { jpeg_destroy_decompress(&jpeg); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  static void on_error(j_common_ptr j) {
    auto* self = static_cast<JpegReader*>(j->client_data);
    j->err->format_message(j, self->message);
    std::longjmp(self->jump, 1);
  }
  // libjpeg pads a truncated file with grey and only warns. Other warnings are about damage that viewers tolerate.
  static void on_message(j_common_ptr j, int level) {
    if (level == -1 && j->err->msg_code == JWRN_JPEG_EOF) on_error(j);
  }

  bool read_header(std::string_view bytes) {
    if (setjmp(jump)) return false;
    jpeg_create_decompress(&jpeg);
    jpeg.client_data = this;  // cleared by the call above
    jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    jpeg_read_header(&jpeg, TRUE);
    width = jpeg.image_width;
    height = jpeg.image_height;
    if (jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK)
      jpeg.out_color_space = JCS_CMYK;
    else if (jpeg.jpeg_color_space == JCS_GRAYSCALE)
      jpeg.out_color_space = JCS_GRAYSCALE;
    else
      jpeg.out_color_space = JCS_RGB;
    return true;
  }
  bool start() {
    if (setjmp(jump)) return false;
    jpeg_start_decompress(&jpeg);
    return true;
  }
  bool read_pixels() {
    if (setjmp(jump)) return false;
    const size_t row_bytes = static_cast<size_t>(jpeg.output_width) * static_cast<size_t>(jpeg.output_components);
    while (jpeg.output_scanline < jpeg.output_height) {
      JSAMPROW row = pixels.data() + jpeg.output_scanline * row_bytes;
      jpeg_read_scanlines(&jpeg, &row, 1);
    }
    return true;
  }
};

uint8_t multiply_bytes(int a, int b) {  // round(a * b / 255)
  const int t = a * b + 128;
  return static_cast<uint8_t>((t + (t >> 8)) >> 8);
}

Image decode_jpeg(std::string_view bytes, const std::string& name) {
  JpegReader reader;
  const auto require = [&](bool ok) { check(ok, name, ": not a readable JPEG: ", reader.message); };
  require(reader.read_header(bytes));
  check_size(reader.width, reader.height, name);
  require(reader.start());
  const int channels = reader.jpeg.output_components;
  Image image(reader.width, reader.height);
  reader.pixels.resize(static_cast<size_t>(reader.width * reader.height * channels));
  require(reader.read_pixels());
  const size_t count = static_cast<size_t>(image.width * image.height);
  const uint8_t* in = reader.pixels.data();
  if (channels == 3) {
    image.rgb = std::move(reader.pixels);
  } else if (channels == 1) {
    for (size_t i = 0; i < count; ++i) std::memset(image.rgb.data() + 3 * i, in[i], 3);
  } else {
    check(channels == 4, name, ": a JPEG of ", channels, " channels");
    // Adobe stores CMYK inverted (255 = no ink), so a channel is simply the product with black.
    for (size_t i = 0; i < count; ++i) {
      for (int c = 0; c < 3; ++c) {
        const int black = in[4 * i + 3];
        image.rgb[3 * i + c] = static_cast<uint8_t>(black - multiply_bytes(255 - in[4 * i + c], black));
      }
    }
  }
  return image;
}

//----------------------------------------------------------------------------
// WebP, lossy and lossless

Image decode_webp(std::string_view bytes, const std::string& name) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPBitstreamFeatures features{};
  check(WebPGetFeatures(data, bytes.size(), &features) == VP8_STATUS_OK, name,
        ": not a readable WebP: its header is damaged or cut short");
  check(!features.has_animation, name, ": an animated WebP; single pictures are read: save its frames one by one");
  check_size(features.width, features.height, name);
  Image image(features.width, features.height);
  check(WebPDecodeRGBInto(data, bytes.size(), image.rgb.data(), image.rgb.size(), features.width * 3) != nullptr, name,
        ": not a readable WebP: its data is damaged or cut short");
  return image;
}

// The name of a format that is not read; empty where it is none of the usual ones.
std::string_view other_format(std::string_view bytes) {
  if (bytes.starts_with("GIF8")) return "GIF";
  if (bytes.starts_with("BM")) return "BMP";
  if (bytes.starts_with(std::string_view("II*\0", 4)) || bytes.starts_with(std::string_view("MM\0*", 4))) return "TIFF";
  const std::string_view brand = bytes.substr(std::min<size_t>(bytes.size(), 4), 8);
  if (brand == "ftypavif" || brand == "ftypavis") return "AVIF";
  if (brand == "ftypheic" || brand == "ftypheix" || brand == "ftypmif1") return "HEIC";
  if (brand == "JXL \r\n\x87\n" || bytes.starts_with("\xFF\x0A")) return "JPEG XL";
  if (brand.starts_with("jP  ")) return "JPEG 2000";
  return {};
}

}  // namespace

Image decode_image(std::string_view bytes, const std::string& name) {
  if (bytes.starts_with(kPngSignature)) return decode_png(bytes, name);
  if (bytes.starts_with(kJpegSignature)) return decode_jpeg(bytes, name);
  if (is_webp(bytes)) return decode_webp(bytes, name);
  check(!bytes.empty(), name, ": the file is empty");
  const std::string_view format = other_format(bytes);
  check(format.empty(), name, ": holds a ", format,
        " picture, by its first bytes; PNG, JPEG and WebP are read: convert it");
  fail(name, ": neither a PNG nor a JPEG nor a WebP, by its first bytes");
}

Image read_image(const std::filesystem::path& path) { return decode_image(read_file(path), path.string()); }

std::string encode_png(const Image& image, const PngText& text) {
  check(image.width > 0 && image.height > 0 && image.rgb.size() == static_cast<size_t>(image.width * image.height * 3),
        "encode_png: a picture of ", image.width, " x ", image.height, " pixels with ", image.rgb.size(), " bytes");
  PngWriter writer;
  writer.stored.reserve(2 * text.size());
  for (const auto& [key, value] : text) {
    const auto keyword = utf8_to_latin1(key, "encode_png: the keyword '" + key + "'");
    check(keyword && !keyword->empty() && keyword->size() <= 79 && keyword->front() != ' ' && keyword->back() != ' ',
          "encode_png: a text keyword has 1 to 79 Latin-1 characters and no space at its ends, got '", key, "'");
    const auto latin1 = utf8_to_latin1(value, "encode_png: the text of '" + key + "'");
    writer.stored.push_back(*keyword);
    writer.stored.push_back(latin1 ? *latin1 : value);
    png_text chunk{};
    chunk.compression = latin1 ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    chunk.key = writer.stored[writer.stored.size() - 2].data();
    chunk.text = writer.stored.back().data();
    writer.texts.push_back(chunk);
  }
  check(writer.write(image), "encode_png: libpng: ", writer.error);
  return std::move(writer.out);
}

void write_png(const std::filesystem::path& path, const Image& image, const PngText& text) {
  write_file_atomically(path, encode_png(image, text));
}

PngText decode_png_text(std::string_view bytes, const std::string& name) {
  check(bytes.starts_with(kPngSignature), name, ": not a PNG, by its first bytes");
  PngReader reader(bytes, name);
  reader.read();  // the text chunks may stand behind the pixels
  png_textp chunks = nullptr;
  const int count = png_get_text(reader.png, reader.info, &chunks, nullptr);
  PngText text;
  for (int i = 0; i < count; ++i) {
    const bool international = chunks[i].compression >= PNG_ITXT_COMPRESSION_NONE;
    const std::string value = chunks[i].text ? chunks[i].text : "";
    text.emplace_back(latin1_to_utf8(chunks[i].key), international ? value : latin1_to_utf8(value));
  }
  return text;
}

PngText read_png_text(const std::filesystem::path& path) { return decode_png_text(read_file(path), path.string()); }

//----------------------------------------------------------------------------

Tensor image_to_bytes(const Image& image) {
  const Tensor hwc = at::from_blob(const_cast<uint8_t*>(image.rgb.data()), {image.height, image.width, 3}, at::kByte);
  return hwc.permute({2, 0, 1}).clone(at::MemoryFormat::Contiguous);  // (3, H, W)
}

Tensor from_bytes(const Tensor& bytes) { return bytes.to(at::kFloat).div_(127.5).sub_(1.0); }

Tensor image_to_tensor(const Image& image) { return from_bytes(image_to_bytes(image)); }

Tensor to_bytes(const Tensor& x) { return ((x.to(at::kFloat) + 1) / 2 * 255).clamp(0, 255).round().to(at::kByte); }

Image tensor_to_image(const Tensor& tensor) {
  Tensor x = tensor.dim() == 4 && tensor.size(0) == 1 ? tensor[0] : tensor;
  check(x.dim() == 3 && x.size(0) == 3, "tensor_to_image: the shape must be (3, H, W), got ", tensor.sizes());
  check(all_finite(x),
        "a picture came out with NaN or infinite values, which no file of pictures can hold; look at the "
        "latents that it was decoded from");
  if (x.scalar_type() != at::kByte) x = to_bytes(x);
  x = x.permute({1, 2, 0}).to(at::kCPU).contiguous();  // (H, W, 3)
  Image image(x.size(1), x.size(0));
  std::memcpy(image.rgb.data(), x.data_ptr<uint8_t>(), image.rgb.size());
  return image;
}

}  // namespace crescendo
