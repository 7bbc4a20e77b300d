// The sequences of numpy.random.RandomState, on which published protocols rest: the same numbers for the same seed.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace crescendo {

class NumpyRandom {
 public:
  explicit NumpyRandom(uint32_t seed) : words_(seed) {}
  // RandomState.permutation(n): 0..n-1 in a random order.
  std::vector<int64_t> permutation(int64_t n);
  // RandomState.choice(n, k, replace=False): k different ones of 0..n-1.
  std::vector<int64_t> choice(int64_t n, int64_t k);

 private:
  int64_t up_to(int64_t most);  // in 0..most
  std::mt19937 words_;          // init_genrand(seed), as numpy seeds from a number
};

}  // namespace crescendo
