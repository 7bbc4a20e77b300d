// Partition of rows among threads: each thread takes a range of rows through all of the work, so that no thread waits
// for another between two products, each multiplies at the rate of one, and its intermediate results stay in its cache.
#pragma once

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdint>

namespace crescendo {

// Number of ranges: one a thread, or the smallest multiple of `threads` for which no range has more than `most` rows.
inline int64_t partition_count(int64_t rows, int64_t threads, int64_t most) {
  const int64_t each = std::max<int64_t>(1, (rows + threads * most - 1) / (threads * most));
  return std::clamp<int64_t>(threads * each, 1, std::max<int64_t>(1, rows));
}

// Calls work(range, first, end) for the rows first .. end - 1 of each range, in LibTorch's inference mode, which saves
// most of the overhead of a small operation; tensors made there may not be changed elsewhere. The calling thread takes
// the first ranges, as many as every other thread. An exception is rethrown after all ranges have ended.
template <class Work>
void for_each_range(int64_t rows, int64_t ranges, const Work& work) {
  at::parallel_for(0, ranges, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference;
    for (int64_t range = begin; range < end; ++range) work(range, range * rows / ranges, (range + 1) * rows / ranges);
  });
}

}  // namespace crescendo
