// Pictures in an order, at their own sizes and with their classes where these are known: what metrics look at.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "crescendo/image/image.h"

namespace crescendo {

// All functions may be called from several threads at once.
class PictureSource {
 public:
  virtual ~PictureSource() = default;
  virtual int64_t size() const = 0;
  virtual Image get(int64_t index) const = 0;  // an unreadable picture is an error that names it
  virtual std::string name(int64_t index) const = 0;
  virtual bool has_labels() const { return false; }
  virtual int64_t label(int64_t) const { return -1; }              // class of a picture; -1 without classes
  virtual std::vector<std::string> classes() const { return {}; }  // their names, where they have some
  // A hash of what tells these pictures from others, without reading them: names, sizes and times of files.
  virtual uint64_t identity() const = 0;
  // Whether files in a lossy format are among them, which move the numbers.
  virtual bool lossy() const { return false; }
};

struct PictureOptions {
  int64_t side = 0;      // 0: as they are; else ADM's centre crop to this
  int64_t skip_bad = 0;  // so many unreadable pictures are left out, with a warning
  int64_t count = 0;     // 0: all; else the first so many
  bool below = true;     // of a folder: also pictures in folders below it
};

// What `spec` may name:
//   DIR            its .png, .jpg, .jpeg and the like at any depth, sorted; where every picture lies in a folder below
//                  DIR, the first folder on its way is its class
//   FILE.npz       arr_0 (N, H, W, 3) uint8, as ADM's samples; classes in arr_1 (N) where it is there. A stored array
//                  stays on disk, whatever its size
//   FILE.npy       such an array by itself
//   shapes[:count=800,seed=0], scenes[...]    the program's own sets (data/dataset.h); a folder so called is ./shapes
// Every file is read once before this returns; those that cannot be are named together.
std::unique_ptr<PictureSource> open_pictures(const std::string& spec, const PictureOptions& options = {});

// Whether an .npz holds pictures (arr_0), whatever else it holds.
bool holds_pictures(const std::string& npz);

}  // namespace crescendo
