// Data sets: an index -> a picture (3, side, side) with its class and caption.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "crescendo/data/shapes.h"

namespace crescendo {

struct Sample {
  Tensor image;       // (3, side, side) uint8
  int64_t label = 0;  // class id; 0 where there are no classes
};

// What tells a picture of a file from what may stand in its place later, as hashes.
struct PictureIdentity {
  uint64_t name = 0;     // of the file, relative to the set
  uint64_t content = 0;  // size and time of the last change
  uint64_t meaning = 0;  // class and caption
  bool operator==(const PictureIdentity&) const = default;
};

// Users extend this. All functions may be called from several threads at once.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  virtual const std::vector<std::string>& classes() const = 0;  // names by id; empty for a set of captions only
  virtual Sample get(int64_t index) const = 0;                  // an unreadable picture is an error that names it
  virtual int64_t label(int64_t index) const = 0;               // without reading the picture
  // What the picture shows, for text models; the class name unless the set knows better.
  virtual std::string caption(int64_t index) const { return classes().at(static_cast<size_t>(label(index))); }
  // Whether pictures are files, which may be unreadable and change; else the spec determines them.
  virtual bool of_files() const { return false; }
  virtual std::string name(int64_t index) const { return "picture " + std::to_string(index); }  // for messages
  virtual PictureIdentity identity(int64_t index) const { return {static_cast<uint64_t>(index), 0, 0}; }
  // Makes a batch in threads.
  virtual LabelledImages batch(std::span<const int64_t> indices) const;

 protected:
  void check_index(int64_t index) const;
};

// What a spec may say, pictures cropped to `side`:
//   shapes[:count=32000,seed=0]                 one object each, 80 classes
//   scenes[:count=32000,seed=0,split=train,free=0,single=0]  one to four objects with captions; split train, heldout or
//                                               all; free: share of captions in other words than GenEval's; single:
//                                               share of images of one object in place of what would come;
//                                               star=3, cross=2, ...: how often a shape comes, the others being 1
//   DIR                                         DIR/<class>/*.{jpg,png,webp} or DIR/train/<class>/...; or pictures each
//                                               beside a .txt with its caption, in folders or not (image_folder.h)
//   FILE.jsonl                                  lines of {"image": path, "caption": text}
//   FILE.json                                   a list of [path, caption, ...], as FAR's text trainer reads
// A folder that is called "shapes" is reached as "./shapes". Paths in files are relative to the file's folder.
std::unique_ptr<Dataset> open_dataset(const std::string& spec, int64_t side);

// The order in which an epoch visits a set, drawn from (seed, epoch): resuming needs no state.
std::vector<int64_t> epoch_order(int64_t size, uint64_t seed, int64_t epoch);

// Which image of a set is the n-th of a run that goes through it epoch by epoch. Several threads may ask.
class ImageOrder {
 public:
  ImageOrder(int64_t size, uint64_t seed) : size_(size), seed_(seed) {}
  int64_t index_of(int64_t n);

 private:
  int64_t size_;
  uint64_t seed_;
  std::mutex mutex_;
  std::map<int64_t, std::vector<int64_t>> orders_;  // by epoch
};

}  // namespace crescendo
