// Vectors of numbers, which become registers of the instruction set that a function is compiled for. Included where
// such functions are defined only.
#pragma once

#define CRESCENDO_INLINE [[gnu::always_inline]] inline

namespace crescendo::vectors {

template <class T, int kLanes>
struct VectorOf {
  using Type [[gnu::vector_size(sizeof(T) * kLanes)]] = T;
  using InMemory [[gnu::vector_size(sizeof(T) * kLanes), gnu::aligned(1), gnu::may_alias]] = T;
};
template <class T, int kLanes>
using Vector = typename VectorOf<T, kLanes>::Type;
// To and from anywhere in memory.
template <class T, int kLanes>
CRESCENDO_INLINE Vector<T, kLanes> load(const void* numbers) {
  return *static_cast<const typename VectorOf<T, kLanes>::InMemory*>(numbers);
}
template <class T, int kLanes>
CRESCENDO_INLINE void put(T* numbers, Vector<T, kLanes> v) {
  *reinterpret_cast<typename VectorOf<T, kLanes>::InMemory*>(numbers) = v;
}

}  // namespace crescendo::vectors
