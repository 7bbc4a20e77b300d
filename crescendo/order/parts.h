// Rows in parts, each for a thread of its own: so that no thread waits for another between two products, and each
// multiplies at the rate of one.
#pragma once

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cstdint>

namespace crescendo {

// work(part, first, end) for the rows first .. end - 1 of each part, in LibTorch's inference mode, which spares much of
// what a small operation costs; tensors made there may not be changed elsewhere. Part 0 is the calling thread's. What
// one of them throws is thrown when all have ended.
template <class Work>
void in_parts(int64_t rows, int64_t parts, const Work& work) {
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference;
    for (int64_t part = begin; part < end; ++part) work(part, part * rows / parts, (part + 1) * rows / parts);
  });
}

}  // namespace crescendo
