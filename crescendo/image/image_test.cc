#include "crescendo/image/image.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <png.h>
#include <webp/encode.h>

#include <cstdio>
// clang-format off
#include <jpeglib.h>
// clang-format on

#include <filesystem>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/rng.h"
#include "crescendo/image/grid.h"

namespace crescendo {
namespace {

Image random_image(int64_t width, int64_t height, uint64_t seed = 1) {
  Image image(width, height);
  Rng rng(seed, Draw::kOther);
  for (auto& v : image.rgb) v = static_cast<uint8_t>(rng.below(256));
  return image;
}

// A PNG of any colour type, `rows` as libpng wants them.
std::string raw_png(uint32_t width, uint32_t height, int depth, int type, std::vector<uint8_t> bytes, bool interlaced,
                    const std::vector<png_color>& palette = {}, std::vector<uint8_t> palette_alpha = {}) {
  std::string out;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &out,
      [](png_structp p, png_bytep data, size_t size) {
        static_cast<std::string*>(png_get_io_ptr(p))->append(reinterpret_cast<char*>(data), size);
      },
      nullptr);
  png_set_IHDR(png, info, width, height, depth, type, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!palette.empty()) png_set_PLTE(png, info, palette.data(), static_cast<int>(palette.size()));
  if (!palette_alpha.empty())
    png_set_tRNS(png, info, palette_alpha.data(), static_cast<int>(palette_alpha.size()), nullptr);
  png_write_info(png, info);
  std::vector<png_bytep> rows;
  for (uint32_t y = 0; y < height; ++y) rows.push_back(bytes.data() + y * (bytes.size() / height));
  png_write_image(png, rows.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return out;
}

std::string raw_jpeg(int width, int height, int channels, J_COLOR_SPACE space, std::vector<uint8_t> bytes) {
  jpeg_error_mgr errors;
  jpeg_compress_struct jpeg{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &data, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = channels;
  jpeg.in_color_space = space;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, 100, TRUE);
  jpeg_start_compress(&jpeg, TRUE);
  for (int y = 0; y < height; ++y) {
    JSAMPROW row = bytes.data() + y * width * channels;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  std::string out(reinterpret_cast<char*>(data), size);
  std::free(data);
  return out;
}

std::vector<int> pixel_of(const Image& image, int64_t x, int64_t y) {
  const uint8_t* p = image.pixel(x, y);
  return {p[0], p[1], p[2]};
}

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Image, PngRoundTripIsExact) {
  for (const auto& [width, height] : {std::pair{1, 1}, std::pair{7, 5}, std::pair{64, 33}}) {
    const Image image = random_image(width, height);
    EXPECT_EQ(decode_image(encode_png(image), "x"), image);
  }
}

TEST(Image, ColourTypesBecomeRgbAsPillowMakesThem) {
  using V = std::vector<int>;
  const Image grey4 = decode_image(raw_png(2, 1, 4, PNG_COLOR_TYPE_GRAY, {0x1F}, false), "x");
  EXPECT_EQ(pixel_of(grey4, 0, 0), (V{17, 17, 17}));
  EXPECT_EQ(pixel_of(grey4, 1, 0), (V{255, 255, 255}));
  // 16-bit grey is clipped; 16-bit colour keeps the high byte.
  const Image grey16 = decode_image(raw_png(2, 1, 16, PNG_COLOR_TYPE_GRAY, {0, 40, 1, 0}, false), "x");
  EXPECT_EQ(pixel_of(grey16, 0, 0), (V{40, 40, 40}));
  EXPECT_EQ(pixel_of(grey16, 1, 0), (V{255, 255, 255}));
  const Image rgb16 = decode_image(raw_png(1, 1, 16, PNG_COLOR_TYPE_RGB, {10, 255, 20, 0, 30, 128}, false), "x");
  EXPECT_EQ(pixel_of(rgb16, 0, 0), (V{10, 20, 30}));
  const Image alpha = decode_image(raw_png(1, 1, 8, PNG_COLOR_TYPE_RGB_ALPHA, {10, 20, 30, 0}, false), "x");
  EXPECT_EQ(pixel_of(alpha, 0, 0), (V{10, 20, 30}));
  const Image grey_alpha = decode_image(raw_png(1, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, {99, 7}, false), "x");
  EXPECT_EQ(pixel_of(grey_alpha, 0, 0), (V{99, 99, 99}));
  const Image palette = decode_image(
      raw_png(2, 1, 1, PNG_COLOR_TYPE_PALETTE, {0x40}, false, {png_color{1, 2, 3}, png_color{4, 5, 6}}), "x");
  EXPECT_EQ(pixel_of(palette, 0, 0), (V{1, 2, 3}));
  EXPECT_EQ(pixel_of(palette, 1, 0), (V{4, 5, 6}));
  // A palette's transparency is dropped, and a number that it lacks is a grey.
  const Image clear =
      decode_image(raw_png(3, 1, 8, PNG_COLOR_TYPE_PALETTE, {0, 1, 7}, false, {{1, 2, 3}, {4, 5, 6}}, {0, 128}), "x");
  EXPECT_EQ(clear.rgb, (std::vector<uint8_t>{1, 2, 3, 4, 5, 6, 7, 7, 7}));
  const Image image = random_image(13, 9);
  EXPECT_EQ(decode_image(raw_png(13, 9, 8, PNG_COLOR_TYPE_RGB, image.rgb, true), "x"), image);
}

TEST(Image, JpegOfEveryKind) {
  const Image rgb = decode_image(raw_jpeg(8, 8, 3, JCS_RGB, std::vector<uint8_t>(8 * 8 * 3, 200)), "x");
  for (const int v : pixel_of(rgb, 3, 3)) EXPECT_NEAR(v, 200, 1);
  const Image grey = decode_image(raw_jpeg(8, 8, 1, JCS_GRAYSCALE, std::vector<uint8_t>(64, 77)), "x");
  EXPECT_EQ(pixel_of(grey, 1, 1), (std::vector<int>{77, 77, 77}));
  std::vector<uint8_t> inks;
  for (int i = 0; i < 64; ++i) inks.insert(inks.end(), {255, 128, 0, 128});  // inverted, as Adobe stores them
  const Image cmyk = decode_image(raw_jpeg(8, 8, 4, JCS_CMYK, inks), "x");
  EXPECT_NEAR(pixel_of(cmyk, 4, 4)[0], 128, 2);
  EXPECT_NEAR(pixel_of(cmyk, 4, 4)[1], 64, 2);
  EXPECT_NEAR(pixel_of(cmyk, 4, 4)[2], 0, 2);
}

// Lossless; 4 channels keep the colour of what is transparent.
std::string raw_webp(int width, int height, int channels, const std::vector<uint8_t>& bytes) {
  WebPConfig config;
  WebPPicture picture;
  WebPMemoryWriter out;
  EXPECT_TRUE(WebPConfigInit(&config) && WebPPictureInit(&picture));
  WebPMemoryWriterInit(&out);
  config.lossless = config.exact = 1;
  picture.use_argb = 1;
  picture.width = width;
  picture.height = height;
  picture.writer = WebPMemoryWrite;
  picture.custom_ptr = &out;
  EXPECT_TRUE(channels == 4 ? WebPPictureImportRGBA(&picture, bytes.data(), width * 4)
                            : WebPPictureImportRGB(&picture, bytes.data(), width * 3));
  EXPECT_TRUE(WebPEncode(&config, &picture));
  const std::string encoded(reinterpret_cast<const char*>(out.mem), out.size);
  WebPPictureFree(&picture);
  WebPMemoryWriterClear(&out);
  return encoded;
}

TEST(Image, WebpOfEveryKind) {
  const Image image = random_image(13, 7);
  EXPECT_EQ(decode_image(raw_webp(13, 7, 3, image.rgb), "x"), image);
  std::vector<uint8_t> rgba;
  for (size_t i = 0; i < image.rgb.size(); i += 3)
    rgba.insert(rgba.end(), {image.rgb[i], image.rgb[i + 1], image.rgb[i + 2], static_cast<uint8_t>(i % 5 * 60)});
  EXPECT_EQ(decode_image(raw_webp(13, 7, 4, rgba), "x"), image);  // alpha dropped, not blended
  const std::vector<uint8_t> grey(32 * 32 * 3, 100);
  uint8_t* lossy = nullptr;
  const size_t size = WebPEncodeRGB(grey.data(), 32, 32, 32 * 3, 75, &lossy);
  ASSERT_GT(size, 0u);
  const Image decoded = decode_image({reinterpret_cast<const char*>(lossy), size}, "x");
  WebPFree(lossy);
  EXPECT_EQ(decoded.width, 32);
  for (const int v : pixel_of(decoded, 20, 20)) EXPECT_NEAR(v, 100, 2);
}

TEST(Image, AnimatedWebpIsRefused) {
  std::string bytes("RIFF\x16\0\0\0WEBPVP8X\x0A\0\0\0\x02\0\0\0\x07\0\0\x07\0\0", 30);
  EXPECT_NE(error_of([&] { decode_image(bytes, "moving.webp"); }).find("moving.webp: an animated WebP"),
            std::string::npos);
}

TEST(Image, APngWithoutItsEndIsWholeWhereItsPixelsAre) {
  const Image image = random_image(9, 4);
  const std::string png = encode_png(image);
  EXPECT_EQ(decode_image(png.substr(0, png.size() - 12), "x"), image);
  EXPECT_NE(error_of([&] { decode_image(png.substr(0, png.size() - 24), "cut"); }).find("cut"), std::string::npos);
}

TEST(Image, OtherFormatsAreNamed) {
  const auto error = [](std::string_view bytes) { return error_of([&] { decode_image(bytes, "photo.jpg"); }); };
  EXPECT_NE(error("GIF89a").find("GIF"), std::string::npos);
  EXPECT_NE(error("\1\1\1\1ftypheic").find("HEIC"), std::string::npos);
  EXPECT_NE(error("hello").find("neither"), std::string::npos);
}

TEST(Image, DamagedFilesAreErrorsThatNameTheFile) {
  const std::string png = encode_png(random_image(32, 32));
  const std::string jpeg = raw_jpeg(64, 64, 3, JCS_RGB, random_image(64, 64).rgb);
  const std::string webp = raw_webp(64, 64, 3, random_image(64, 64).rgb);
  for (const std::string& whole : {png, jpeg, webp}) {
    for (const size_t keep : {size_t{0}, size_t{1}, size_t{9}, size_t{30}, whole.size() / 2, whole.size() * 9 / 10})
      EXPECT_NE(error_of([&] { decode_image(whole.substr(0, keep), "photo-7"); }).find("photo-7"), std::string::npos)
          << keep;
  }
  // Any single damaged byte gives a picture or an Error, never a crash.
  for (const std::string& whole : {png, jpeg, webp}) {
    for (size_t i = 0; i < whole.size(); i += 7) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ 0x5A);
      error_of([&] { decode_image(damaged, "x"); });
    }
  }
  std::string huge = png;
  for (const size_t i : {16, 20}) huge.replace(i, 4, std::string("\x00\x0F\x00\x00", 4));
  EXPECT_NE(error_of([&] { decode_image(huge, "bomb"); }), "");
  EXPECT_NE(error_of([] { read_image("/nonexistent/a.png"); }).find("/nonexistent/a.png"), std::string::npos);
}

TEST(Image, PngTextSurvives) {
  const PngText text = {{"parameters", "a red circle\nsteps 10"},
                        {"Title",
                         "Gr\xC3\xBC\xC3\x9F"
                         "e"},
                        {"crescendo", "{\"prompt\": \"\xE7\xBA\xA2\xE8\x89\xB2\"}"},
                        {"empty", ""}};
  const std::string bytes = encode_png(random_image(4, 4), text);
  EXPECT_EQ(decode_png_text(bytes, "x"), text);
  EXPECT_NE(bytes.find("tEXtTitle\0Gr\xFC\xDF"
                       "e"),
            std::string::npos);
  EXPECT_NE(bytes.find("iTXtcrescendo"), std::string::npos);
  EXPECT_NE(error_of([] { encode_png(Image(1, 1), {{"", "x"}}); }), "");
  EXPECT_NE(error_of([] { encode_png(Image(1, 1), {{"k", "\xFF\xFE"}}); }).find("UTF-8"), std::string::npos);
}

TEST(Image, WritesWhollyOrNotAtAll) {
  const auto folder = std::filesystem::temp_directory_path() / "crescendo_image_test";
  make_directories(folder);
  const Image image = random_image(5, 6);
  write_png(folder / "a.png", image, {{"k", "v"}});
  EXPECT_EQ(read_image(folder / "a.png"), image);
  EXPECT_EQ(read_png_text(folder / "a.png"), (PngText{{"k", "v"}}));
  EXPECT_NE(error_of([&] { write_png(folder / "a.png", Image()); }), "");
  EXPECT_EQ(read_image(folder / "a.png"), image);
  std::filesystem::remove_all(folder);
}

TEST(Image, TensorsRoundAsPublished) {
  const Image image = random_image(6, 4);
  const Tensor x = image_to_tensor(image);
  EXPECT_EQ(x.sizes(), (at::IntArrayRef{3, 4, 6}));
  EXPECT_FLOAT_EQ(x[1][2][5].item<float>(), image.pixel(5, 2)[1] / 127.5f - 1);
  EXPECT_EQ(tensor_to_image(x), image);
  EXPECT_EQ(tensor_to_image(image_to_bytes(image).unsqueeze(0)), image);
  const Tensor edge = at::tensor({-3.0f, -1.0f, 0.0f, 1.0f, 2.0f});
  EXPECT_TRUE(at::equal(to_bytes(edge), at::tensor({0, 0, 128, 255, 255}, at::kByte)));
  EXPECT_NE(error_of([] { tensor_to_image(at::zeros({1, 4, 4})); }).find("(3, H, W)"), std::string::npos);
  EXPECT_NE(error_of([] { tensor_to_image(at::full({3, 4, 4}, NAN)); }).find("NaN or infinite"), std::string::npos);
}

TEST(Grid, PlacesPicturesAndWords) {
  std::vector<Image> images(3, Image(8, 8));
  GridOptions options;
  options.columns = 2;
  options.padding = 1;
  const Image plain = make_grid(images, options);
  EXPECT_EQ(plain.width, 20);
  EXPECT_EQ(plain.height, 20);
  EXPECT_EQ(*plain.pixel(1, 1), 0);
  EXPECT_EQ(*plain.pixel(0, 0), 255);
  EXPECT_EQ(*plain.pixel(11, 11), 255);  // no fourth picture
  options.captions = {"a", "b", "red circle"};
  const Image labelled = make_grid(images, options);
  EXPECT_EQ(labelled.width, plain.width);
  EXPECT_GT(labelled.height, plain.height);
  options.row_labels = {"x"};
  EXPECT_NE(error_of([&] { make_grid(images, options); }).find("row labels"), std::string::npos);
  EXPECT_NE(error_of([] { make_grid({}); }), "");
}

TEST(Grid, EnlargesPicturesAndSmoothsLetters) {
  Image dark(8, 8);
  GridOptions options;
  options.padding = 1;
  options.scale = 2;
  options.captions = {"x"};
  const Image sheet = make_grid(std::vector<Image>{dark}, options);
  EXPECT_EQ(sheet.width, 18);
  EXPECT_EQ(*sheet.pixel(1, 1), 0);
  EXPECT_EQ(*sheet.pixel(16, 16), 0);
  EXPECT_EQ(*sheet.pixel(17, 17), 255);
  // An upright bar keeps its width, and the corners of a diagonal are neither empty nor full.
  Image bar(20, 16), cross(20, 16);
  draw_text(bar, 0, 0, "|", 200, 2);
  draw_text(cross, 0, 0, "X", 200, 2);
  EXPECT_EQ(std::count(bar.pixel(0, 6), bar.pixel(20, 6), 200), 3 * 2);
  const auto partial = std::count_if(cross.rgb.begin(), cross.rgb.end(), [](uint8_t v) { return v > 0 && v < 200; });
  EXPECT_GT(partial, 0);
  options.scale = 0;
  EXPECT_NE(error_of([&] { make_grid(std::vector<Image>{dark}, options); }).find("scale 0"), std::string::npos);
}

TEST(Grid, LettersDiffer) {
  std::vector<std::vector<uint8_t>> seen;
  for (char c = ' '; c <= '~'; ++c) {
    Image image(7, 9);
    draw_text(image, 1, 1, std::string(1, c), 255);
    for (const auto& other : seen) EXPECT_NE(other, image.rgb) << c;
    seen.push_back(image.rgb);
  }
  Image small(3, 3);
  draw_text(small, -2, -2, "W\xC3\xBC", 255);  // cut at the edges
  EXPECT_EQ(text_width("abc"), 17);
}

}  // namespace
}  // namespace crescendo
