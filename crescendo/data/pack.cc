#include "crescendo/data/pack.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/rng.h"
#include "crescendo/io/npz.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

struct Stopped {};  // leaves a file or folder that is being written, which removes it

std::string padded(int64_t number, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%0*lld", digits, static_cast<long long>(number));
  return text;
}

}  // namespace

bool pack_pictures(const PictureSource& pictures, const fs::path& npz, const PackOptions& options,
                   const OnPicture& on_picture) try {
  const int64_t count = pictures.size();
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  if (options.shuffle_seed) Rng(*options.shuffle_seed, Draw::kShuffle).shuffle(std::span(order));
  const int64_t first = order.front();
  const Image model = pictures.get(first);
  write_file_atomically(npz, [&](std::ostream& out) {
    NpzWriter writer(out, Zip64::kAlways);
    writer.begin("arr_0", at::kByte, {count, model.height, model.width, 3});
    int64_t done = 0;
    for (const int64_t i : order) {
      Image image = pictures.get(i);
      check(image.width == model.width && image.height == model.height, pictures.name(i), ": is ", image.width, " x ",
            image.height, " pixels, ", pictures.name(first), " is ", model.width, " x ", model.height,
            "; an .npz holds pictures of one size: give a `side` to crop them to");
      writer.append(at::from_blob(image.rgb.data(), {image.height, image.width, 3}, at::kByte));
      if (!on_picture(++done)) throw Stopped();
    }
    writer.end();
    if (options.labels && pictures.has_labels()) {
      const Tensor labels = at::empty({count}, at::kLong);
      std::transform(order.begin(), order.end(), labels.data_ptr<int64_t>(),
                     [&](int64_t i) { return pictures.label(i); });
      writer.add("arr_1", labels);
    }
    writer.finish();
  });
  return true;
} catch (const Stopped&) {
  return false;
}

bool unpack_pictures(const PictureSource& pictures, const fs::path& dir, bool by_class,
                     const OnPicture& on_picture) try {
  check_usage(!by_class || pictures.has_labels(), "these pictures have no classes (an .npz keeps them in arr_1), so ",
              "`by_class` cannot be");
  const int64_t count = pictures.size();
  const int digits = std::max(5, static_cast<int>(std::to_string(count - 1).size()));
  write_folder_atomically(dir, [&](const fs::path& folder) {
    for (int64_t i = 0; i < count; ++i) {
      const fs::path place = by_class ? folder / padded(pictures.label(i), 4) : folder;
      if (by_class) make_directories(place);
      write_file_plainly(place / (padded(i, digits) + ".png"), encode_png(pictures.get(i)));
      if (!on_picture(i + 1)) throw Stopped();
    }
  });
  return true;
} catch (const Stopped&) {
  return false;
}

}  // namespace crescendo
