// Attention in one pass on a CPU: in fp32 or bf16, with sums and softmax in fp32.
//
// Queries of a head meet all of its keys, as many at a time as have scores that stay in the cache. Both products are
// oneDNN's.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

namespace crescendo {

// Numbers of head h of row n of batch entry b begin at data + b * batch_stride + n * row_stride + h * channels.
template <class T>
struct HeadRows {
  const T* data;
  int64_t batch_stride, row_stride;
};

// out[b, n, h] = softmax over m of (scale q[b, n, h] . k[b, m, h] + bias[b, m]) v[b, m, h], on all of LibTorch's
// threads.
template <class T>
struct Attention {
  int64_t batch, heads, channels;  // of a head
  int64_t queries, keys;           // at least one key
  HeadRows<T> q, k, v;
  float scale;
  const float* bias;  // of every key, a row for each batch entry, `bias_stride` apart; may be null
  int64_t bias_stride;
  T* out;  // (batch, queries, heads, channels), contiguous
};
// Whether there are products of that type for it.
bool attends(c10::ScalarType type);
template <class T>
void attend(const Attention<T>& attention);

}  // namespace crescendo
