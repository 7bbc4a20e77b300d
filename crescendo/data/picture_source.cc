#include "crescendo/data/picture_source.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <set>
#include <span>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/hash.h"
#include "crescendo/core/log.h"
#include "crescendo/data/dataset.h"
#include "crescendo/data/picture_files.h"
#include "crescendo/data/readable.h"
#include "crescendo/image/resize.h"
#include "crescendo/io/npz.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

// Size and time of a file's last change; what cannot be asked counts as zero, as reading will tell.
void add_file(Hash64& hash, const fs::path& path) {
  std::error_code no_size, no_time;
  const auto size = fs::file_size(path, no_size);
  const auto time = fs::last_write_time(path, no_time);
  hash.add(no_size ? uint64_t{0} : static_cast<uint64_t>(size));
  hash.add(no_time ? uint64_t{0} : static_cast<uint64_t>(time.time_since_epoch().count()));
}

bool is_lossless(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".png" || extension == ".PNG";
}

class FolderPictures : public PictureSource {
 public:
  FolderPictures(const fs::path& root, bool below) : root_(root) {
    const PictureFiles found = find_pictures(root, below);
    files_ = found.pictures;
    check(!files_.empty(), root.string(), ": holds no pictures (.png, .jpg, .jpeg, .webp)",
          found.unread.empty() ? "" : ", but " + found.unread_text());
    if (!found.unread.empty()) log_warning(concat(root.string(), ": ", found.unread_text(), ", left out"));
    std::set<std::string> folders;
    std::vector<std::string> of;
    for (const fs::path& file : files_) {
      const fs::path inside = file.lexically_relative(root);
      if (std::next(inside.begin()) == inside.end()) return;  // a picture of no class: none has one
      of.push_back(inside.begin()->string());
      folders.insert(of.back());
    }
    classes_.assign(folders.begin(), folders.end());
    for (const std::string& folder : of)
      labels_.push_back(std::lower_bound(classes_.begin(), classes_.end(), folder) - classes_.begin());
  }

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  Image get(int64_t index) const override { return read_image(files_.at(static_cast<size_t>(index))); }
  std::string name(int64_t index) const override { return files_.at(static_cast<size_t>(index)).string(); }
  bool has_labels() const override { return !labels_.empty(); }
  int64_t label(int64_t index) const override { return labels_.empty() ? -1 : labels_.at(static_cast<size_t>(index)); }
  std::vector<std::string> classes() const override { return classes_; }
  uint64_t identity() const override {
    Hash64 hash;
    for (const fs::path& file : files_) {
      hash.add(file.lexically_relative(root_).string());
      add_file(hash, file);
    }
    return hash.value();
  }
  bool lossy() const override { return !std::all_of(files_.begin(), files_.end(), is_lossless); }

 private:
  fs::path root_;
  std::vector<fs::path> files_;
  std::vector<std::string> classes_;
  std::vector<int64_t> labels_;
};

class ArrayPictures : public PictureSource {
 public:
  explicit ArrayPictures(const fs::path& path) : path_(path) {
    std::string array = "the array";
    if (path.extension() == ".npy") {
      const NpyHeader header = parse_npy_header(map_bytes(path));
      check_layout(header, array);
      mapped_ = !header.fortran_order;
      pixels_ = read_npy(path);
    } else {
      array = "arr_0";
      const NpzReader npz = NpzReader::open(path);
      check(npz.contains("arr_0"), path.string(), ": holds no pictures: there is no arr_0",
            npz.contains("mu") ? ", but the statistics mu and sigma" : "");
      const NpyHeader header = npz.header("arr_0");
      check_layout(header, array);
      mapped_ = !header.fortran_order && npz.stored("arr_0");
      pixels_ = npz.read("arr_0", /*verify=*/false);  // the checksum would read all of it
      if (npz.contains("arr_1")) read_labels(npz.read("arr_1"));
    }
  }

  int64_t size() const override { return pixels_.size(0); }
  Image get(int64_t index) const override {
    check(index >= 0 && index < size(), path_.string(), ": has no picture ", index, ", only ", size());
    Image image(pixels_.size(2), pixels_.size(1));
    const auto bytes = std::as_bytes(std::span(pixels_.data_ptr<uint8_t>(), static_cast<size_t>(pixels_.numel())))
                           .subspan(static_cast<size_t>(index) * image.rgb.size(), image.rgb.size());
    std::memcpy(image.rgb.data(), bytes.data(), bytes.size());
    if (mapped_) release_pages(bytes);  // the whole may be larger than the memory
    return image;
  }
  std::string name(int64_t index) const override { return concat(path_.string(), " picture ", index); }
  bool has_labels() const override { return !labels_.empty(); }
  int64_t label(int64_t index) const override { return labels_.empty() ? -1 : labels_.at(static_cast<size_t>(index)); }
  uint64_t identity() const override {
    Hash64 hash;
    hash.add(path_.filename().string());
    add_file(hash, path_);
    return hash.value();
  }

 private:
  void check_layout(const NpyHeader& header, const std::string& array) const {
    const std::vector<int64_t>& s = header.shape;
    std::string shape;
    for (const int64_t n : s) shape += (shape.empty() ? "" : ", ") + std::to_string(n);
    check(header.dtype == at::kByte && s.size() == 4 && s[3] == 3, path_.string(), ": ", array,
          " must be pictures (N, height, width, 3) of uint8, got (", shape, ") of ", dtype_name(header.dtype));
    check(s[0] > 0 && s[1] > 0 && s[2] > 0 && s[1] <= kMaxImagePixels / s[2], path_.string(), ": ", array,
          " holds no pictures that can be read: its shape is (", shape, ")");
  }
  void read_labels(const Tensor& given) {
    check(given.dim() == 1 && given.size(0) == size() && !given.is_floating_point(), path_.string(),
          ": arr_1 must hold the class of each of the ", size(), " pictures as whole numbers, got ", given.sizes(),
          " of ", dtype_name(given.scalar_type()));
    const Tensor wide = given.to(at::kLong).contiguous();
    labels_.assign(wide.data_ptr<int64_t>(), wide.data_ptr<int64_t>() + wide.numel());
    check(std::all_of(labels_.begin(), labels_.end(), [](int64_t l) { return l >= 0; }), path_.string(),
          ": arr_1 holds a negative class");
  }

  fs::path path_;
  Tensor pixels_;        // (N, H, W, 3) uint8
  bool mapped_ = false;  // pixels_ are a file's pages
  std::vector<int64_t> labels_;
};

class DrawnPictures : public PictureSource {
 public:
  DrawnPictures(std::string spec, int64_t side) : spec_(std::move(spec)), set_(open_dataset(spec_, side)) {}
  int64_t size() const override { return set_->size(); }
  Image get(int64_t index) const override { return tensor_to_image(set_->get(index).image); }
  std::string name(int64_t index) const override { return concat(spec_, " ", index); }
  bool has_labels() const override { return !set_->classes().empty(); }
  int64_t label(int64_t index) const override { return has_labels() ? set_->label(index) : -1; }
  std::vector<std::string> classes() const override { return set_->classes(); }
  uint64_t identity() const override { return Hash64().add(spec_).value(); }

 private:
  std::string spec_;
  std::unique_ptr<Dataset> set_;
};

// Some of the pictures of another source, cropped where a side is asked.
class ChosenPictures : public PictureSource {
 public:
  ChosenPictures(std::unique_ptr<PictureSource> all, std::vector<int64_t> chosen, int64_t side)
      : all_(std::move(all)), chosen_(std::move(chosen)), side_(side) {}
  int64_t size() const override { return static_cast<int64_t>(chosen_.size()); }
  Image get(int64_t index) const override {
    Image image = all_->get(at(index));
    return side_ > 0 ? centre_crop(image, side_) : image;
  }
  std::string name(int64_t index) const override { return all_->name(at(index)); }
  bool has_labels() const override { return all_->has_labels(); }
  int64_t label(int64_t index) const override { return all_->label(at(index)); }
  std::vector<std::string> classes() const override { return all_->classes(); }
  uint64_t identity() const override {
    Hash64 hash;
    hash.add(all_->identity()).add(static_cast<uint64_t>(side_));
    for (const int64_t i : chosen_) hash.add(static_cast<uint64_t>(i));
    return hash.value();
  }
  bool lossy() const override { return all_->lossy(); }

 private:
  int64_t at(int64_t index) const { return chosen_.at(static_cast<size_t>(index)); }
  std::unique_ptr<PictureSource> all_;
  std::vector<int64_t> chosen_;  // numbers in `all_`
  int64_t side_;
};

bool is_drawn(const std::string& spec) {
  return spec == "shapes" || spec == "scenes" || spec.starts_with("shapes:") || spec.starts_with("scenes:");
}

}  // namespace

bool holds_pictures(const std::string& npz) { return NpzReader::open(npz).contains("arr_0"); }

std::unique_ptr<PictureSource> open_pictures(const std::string& spec, const PictureOptions& options) {
  check_usage(options.skip_bad >= 0, "`skip_bad` must be at least 0, got ", options.skip_bad);
  check_usage(options.side >= 0, "`side` must be at least 0, got ", options.side);
  if (is_drawn(spec)) {
    auto drawn = std::make_unique<DrawnPictures>(spec, options.side > 0 ? options.side : kShapesSide);
    if (options.count <= 0 || options.count >= drawn->size()) return drawn;
    std::vector<int64_t> first(static_cast<size_t>(options.count));
    std::iota(first.begin(), first.end(), int64_t{0});
    return std::make_unique<ChosenPictures>(std::move(drawn), std::move(first), 0);
  }
  const fs::path path = spec;
  const std::string extension = path.extension().string();
  std::unique_ptr<PictureSource> all;
  if (fs::is_directory(path)) {
    all = std::make_unique<FolderPictures>(path, options.below);
  } else {
    check_usage(fs::exists(path), spec, ": there is no such file or folder of pictures");
    check_usage(extension == ".npz" || extension == ".npy", spec,
                ": pictures are read from a folder, an .npz with arr_0, an .npy, shapes or scenes");
    all = std::make_unique<ArrayPictures>(path);
  }
  int64_t count = all->size();
  if (options.count > 0) {
    check(count >= options.count, spec, ": holds ", count, " pictures, ", options.count, " were asked for");
    count = options.count;
  }
  std::vector<int64_t> chosen(static_cast<size_t>(count));
  std::iota(chosen.begin(), chosen.end(), int64_t{0});
  if (fs::is_directory(path)) {
    chosen = readable_of(count, options.skip_bad, [&](int64_t i) { all->get(i); });
    if (static_cast<int64_t>(chosen.size()) == all->size() && options.side == 0) return all;
  } else if (count == all->size() && options.side == 0) {
    return all;
  }
  return std::make_unique<ChosenPictures>(std::move(all), std::move(chosen), options.side);
}

}  // namespace crescendo
