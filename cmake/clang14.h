// Included in front of every file that Clang compiles or checks. libstdc++ 12 makes vectors and strings constexpr in
// C++20; Clang 14 then instantiates their members early, and LibTorch 1.13 has vectors of a class not complete yet.
#define _GLIBCXX20_CONSTEXPR
#include <type_traits>
#undef __cpp_lib_is_constant_evaluated
#include <string>
