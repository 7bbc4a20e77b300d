#include "crescendo/metrics/numpy_random.h"

#include <bit>
#include <limits>
#include <numeric>
#include <utility>

#include "crescendo/core/check.h"

namespace crescendo {

// As numpy's random_interval for ranges of 32 bits: draws are masked to the bits of `most`, and drawn again above it.
int64_t NumpyRandom::up_to(int64_t most) {
  if (most == 0) return 0;
  const uint32_t mask = std::numeric_limits<uint32_t>::max() >> std::countl_zero(static_cast<uint32_t>(most));
  uint32_t value;
  do value = static_cast<uint32_t>(words_()) & mask;
  while (value > static_cast<uint32_t>(most));
  return value;
}

std::vector<int64_t> NumpyRandom::permutation(int64_t n) {
  check(n >= 0 && n <= std::numeric_limits<int32_t>::max(), "a permutation of ", n, " is not supported");
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = n - 1; i > 0; --i) std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(up_to(i))]);
  return order;
}

std::vector<int64_t> NumpyRandom::choice(int64_t n, int64_t k) {
  check(k >= 0 && k <= n, "cannot choose ", k, " different ones of ", n);
  std::vector<int64_t> order = permutation(n);
  order.resize(static_cast<size_t>(k));
  return order;
}

}  // namespace crescendo
