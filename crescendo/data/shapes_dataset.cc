#include "crescendo/data/shapes_dataset.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <unistd.h>

#include <fstream>

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

// A folder under a working name that takes its true name when all is well, and vanishes when not.
class PendingFolder {
 public:
  explicit PendingFolder(fs::path path) : path_(std::move(path)) {
    if (path_.filename().empty()) path_ = path_.parent_path();  // "out/" names out
    std::error_code error;
    check_usage(!fs::exists(path_, error) || (fs::is_directory(path_, error) && fs::is_empty(path_, error)),
                path_.string(), ": is there already and not an empty folder; choose another, or remove it");
    work_ = path_.string() + concat(".partial-", ::getpid());
    make_directories(work_);
  }
  ~PendingFolder() {
    std::error_code ignored;
    if (!work_.empty()) fs::remove_all(work_, ignored);
  }
  PendingFolder(const PendingFolder&) = delete;
  PendingFolder& operator=(const PendingFolder&) = delete;

  const fs::path& work() const { return work_; }
  void keep() {
    std::error_code error;
    fs::rename(work_, path_, error);
    check(!error, path_.string(), ": cannot be put in place: ", error.message());
    work_.clear();
  }

 private:
  fs::path path_, work_;
};

// Without the fsync of write_file_atomically: the folder as a whole is what appears or not.
void write_plainly(const fs::path& path, std::string_view content) {
  std::ofstream out(path, std::ios::binary);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  check(out.good(), path.string(), ": cannot be written; is the disk full?");
}

std::string file_name(int64_t index) {
  const std::string digits = std::to_string(index);
  return shapes_class_name(single_class(index)) + "/" + std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') +
         digits + ".png";
}

}  // namespace

int64_t write_shapes_folder(const fs::path& out, const ShapesFolderOptions& options,
                            const std::function<bool(int64_t)>& on_progress) {
  check_usage(options.count > 0, "--count must be positive, got ", options.count);
  PendingFolder folder(out);
  for (int64_t id = 0; id < std::min(kShapeClasses, options.count); ++id)
    make_directories(folder.work() / shapes_class_name(id));
  std::string metadata;
  int64_t done = 0;
  constexpr int64_t kChunk = 256;
  while (done < options.count) {
    const int64_t end = std::min(done + kChunk, options.count);
    at::parallel_for(done, end, 16, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i)
        write_plainly(folder.work() / file_name(i), encode_png(render(draw_single(options.seed, i, options.side))));
    });
    for (; done < end; ++done) {
      const Json line = {{"file_name", file_name(done)},
                         {"index", done},
                         {"seed", options.seed},
                         {"class", single_class(done)},
                         {"class_name", shapes_class_name(single_class(done))},
                         {"scene", scene_to_json(draw_single(options.seed, done, options.side))}};
      metadata += line.dump() + "\n";
    }
    if (on_progress && !on_progress(done)) break;
  }
  write_plainly(folder.work() / "metadata.jsonl", metadata);
  folder.keep();
  return done;
}

}  // namespace crescendo
