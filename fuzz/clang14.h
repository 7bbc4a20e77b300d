// Included in front of every file of a fuzz build. libstdc++ 12 makes vectors and strings constexpr in C++20; Clang 14
// then instantiates their members early, and LibTorch 1.13's headers have vectors of a class that is not complete yet.
// Here they are as in C++17.
#define _GLIBCXX20_CONSTEXPR
#include <type_traits>
#undef __cpp_lib_is_constant_evaluated
#include <string>
