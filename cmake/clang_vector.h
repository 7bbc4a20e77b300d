// Included before everything else when Clang reads the code (script/tidy).
//
// LibTorch 1.13 has a std::vector of a class that is not complete yet. With GCC 12's library in C++20 every function of
// std::vector is constexpr, and Clang 14 instantiates those where they are only named, which an incomplete class does
// not survive. Here std::vector is read once without constexpr. For reading only: std::fill over the bits of a
// std::vector<bool> would not link.
#include <string>
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR
#define __fill_a1 __fill_a1_of_bits
#include <vector>
#undef __fill_a1
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR constexpr
