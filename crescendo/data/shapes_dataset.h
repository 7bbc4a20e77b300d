// Shapes as a data set in memory, and as folders of PNG files.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "crescendo/data/captions.h"
#include "crescendo/data/dataset.h"

namespace crescendo {

// Pictures are rendered when they are asked for: 0.03 ms each, less than reading a file.
class ShapesDataset : public Dataset {
 public:
  ShapesDataset(int64_t count, uint64_t seed, int64_t side);
  int64_t size() const override { return count_; }
  const std::vector<std::string>& classes() const override { return classes_; }
  Sample get(int64_t index) const override;
  int64_t label(int64_t index) const override;
  LabelledImages batch(std::span<const int64_t> indices) const override;

 private:
  int64_t count_;
  uint64_t seed_;
  int64_t side_;
  std::vector<std::string> classes_;
};

struct ShapesFolderOptions {
  int64_t count = 0;
  uint64_t seed = 0;
  int64_t side = kShapesSide;
};

// Writes out/<class name>/NNNNNN.png and out/metadata.jsonl, a line of every drawn parameter a picture. The folder must
// be new or empty; it appears when all is written. `on_progress` may return false to stop early: what was finished is
// kept then. Returns the number of pictures.
int64_t write_shapes_folder(const std::filesystem::path& out, const ShapesFolderOptions& options,
                            const std::function<bool(int64_t done)>& on_progress = {});

// The same for the scenes of captions.h: out/NNNNNN.png beside out/NNNNNN.txt with the caption, and metadata.jsonl with
// GenEval's metadata and every drawn parameter.
int64_t write_scenes_folder(const std::filesystem::path& out, const ShapesFolderOptions& options, Split split,
                            const std::function<bool(int64_t done)>& on_progress = {});

}  // namespace crescendo
