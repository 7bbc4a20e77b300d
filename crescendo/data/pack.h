// A folder of pictures <-> one .npz, as ADM's evaluation takes samples: arr_0 (N, H, W, 3) uint8, classes in arr_1 (N).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "crescendo/data/picture_source.h"

namespace crescendo {

struct PackOptions {
  // Pictures are put into an order drawn from this seed: ADM's Inception Score takes them in parts as they stand, and
  // is wrong where they are sorted by class. None: the source's order.
  std::optional<uint64_t> shuffle_seed = 0;
  bool labels = true;  // write arr_1 where classes are known
};

// Called after each picture with how many are done; false stops.
using OnPicture = std::function<bool(int64_t done)>;

// A picture at a time; the file has ZIP64 fields throughout, as NumPy writes them. All pictures must be of one size.
// False where it was stopped; no file is left then.
bool pack_pictures(const PictureSource& pictures, const std::filesystem::path& npz, const PackOptions& options,
                   const OnPicture& on_picture);

// Writes picture i to DIR/NNNNN.png, or with `by_class` to DIR/CCCC/NNNNN.png. `dir` must be new or empty. False where
// it was stopped; nothing is left then.
bool unpack_pictures(const PictureSource& pictures, const std::filesystem::path& dir, bool by_class,
                     const OnPicture& on_picture);

}  // namespace crescendo
