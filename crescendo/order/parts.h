// Rows in parts, each of which one thread takes through all of the work: so that no thread waits for another between
// two products, each multiplies at the rate of one, and what it computes stays in its cache.
#pragma once

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdint>

namespace crescendo {

// How many parts to make: one for each thread, or so many for each that none has more than `most` rows.
inline int64_t parts_of(int64_t rows, int64_t threads, int64_t most) {
  const int64_t each = std::max<int64_t>(1, (rows + threads * most - 1) / (threads * most));
  return std::clamp<int64_t>(threads * each, 1, std::max<int64_t>(1, rows));
}

// work(part, first, end) for the rows first .. end - 1 of each part, in LibTorch's inference mode, which spares much of
// what a small operation costs; tensors made there may not be changed elsewhere. The first parts, as many as others
// have, are the calling thread's. What one of them throws is thrown when all have ended.
template <class Work>
void in_parts(int64_t rows, int64_t parts, const Work& work) {
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference;
    for (int64_t part = begin; part < end; ++part) work(part, part * rows / parts, (part + 1) * rows / parts);
  });
}

}  // namespace crescendo
