#include "crescendo/data/shapes_dataset.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"

namespace crescendo {

namespace fs = std::filesystem;

ShapesDataset::ShapesDataset(int64_t count, uint64_t seed, int64_t side)
    : count_(count), seed_(seed), side_(side), classes_(shapes_class_names()) {
  check_usage(count > 0, "shapes: count must be positive, got ", count);
  check_usage(side >= 16 && side <= 4096, "shapes: the side must be in 16..4096 pixels, got ", side);
}

Sample ShapesDataset::get(int64_t index) const {
  check_index(index);
  return {image_to_bytes(render(draw_single(seed_, index, side_))), single_class(index)};
}

int64_t ShapesDataset::label(int64_t index) const {
  check_index(index);
  return single_class(index);
}

LabelledImages ShapesDataset::batch(std::span<const int64_t> indices) const {
  for (const int64_t index : indices) check_index(index);
  return render_singles(seed_, indices, side_);
}

namespace {

std::string six_digits(int64_t index) {
  const std::string digits = std::to_string(index);
  return std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') + digits;
}

std::string single_file_name(int64_t index) {
  return shapes_class_name(single_class(index)) + "/" + six_digits(index) + ".png";
}

// Writes pictures 0..count-1 in threads; `write` makes the files of one picture in the folder that it is given,
// `describe` its line of metadata.
int64_t write_folder(const fs::path& out, int64_t count, const std::function<void(const fs::path&, int64_t)>& write,
                     const std::function<Json(int64_t)>& describe, const std::function<bool(int64_t)>& on_progress) {
  std::error_code error;
  check_usage(!fs::exists(out, error) || (fs::is_directory(out, error) && fs::is_empty(out, error)), out.string(),
              ": is there already and not an empty folder; choose another, or remove it");
  constexpr int64_t kChunk = 256;
  int64_t done = 0;
  write_folder_atomically(out, [&](const fs::path& folder) {
    std::string metadata;
    while (done < count) {
      const int64_t end = std::min(done + kChunk, count);
      at::parallel_for(done, end, 16, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) write(folder, i);
      });
      for (; done < end; ++done) metadata += json_text(describe(done)) + "\n";
      if (on_progress && !on_progress(done)) break;
    }
    write_file_plainly(folder / "metadata.jsonl", metadata);
  });
  return done;
}

}  // namespace

int64_t write_shapes_folder(const fs::path& out, const ShapesFolderOptions& options,
                            const std::function<bool(int64_t)>& on_progress) {
  check_usage(options.count > 0, "`count` must be positive, got ", options.count);
  const auto draw = [&](int64_t i) { return draw_single(options.seed, i, options.side); };
  return write_folder(
      out, options.count,
      [&](const fs::path& folder, int64_t i) {
        const fs::path file = folder / single_file_name(i);
        make_directories(file.parent_path());
        write_file_plainly(file, encode_png(render(draw(i))));
      },
      [&](int64_t i) -> Json {
        return {{"file_name", single_file_name(i)},
                {"index", i},
                {"seed", options.seed},
                {"class", single_class(i)},
                {"class_name", shapes_class_name(single_class(i))},
                {"scene", scene_to_json(draw(i))}};
      },
      on_progress);
}

int64_t write_scenes_folder(const fs::path& out, const ShapesFolderOptions& options, Split split,
                            const std::function<bool(int64_t)>& on_progress) {
  check_usage(options.count > 0, "`count` must be positive, got ", options.count);
  const auto draw = [&](int64_t i) { return draw_captioned(options.seed, i, {split, options.side}); };
  return write_folder(
      out, options.count,
      [&](const fs::path& folder, int64_t i) {
        const CaptionedScene drawn = draw(i);
        write_file_plainly(folder / (six_digits(i) + ".png"), encode_png(render(drawn.scene)));
        write_file_plainly(folder / (six_digits(i) + ".txt"), drawn.prompt.prompt + "\n");
      },
      [&](int64_t i) -> Json {
        const CaptionedScene drawn = draw(i);
        return {{"image", six_digits(i) + ".png"},
                {"caption", drawn.prompt.prompt},
                {"index", i},
                {"seed", options.seed},
                {"split", enum_name(split)},
                {"geneval", geneval_to_json(drawn.prompt)},
                {"scene", scene_to_json(drawn.scene)}};
      },
      on_progress);
}

}  // namespace crescendo
