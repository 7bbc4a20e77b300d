// Weights and pictures of the Inception tests: the formula of tests/golden/make_inception_goldens.py.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "crescendo/core/tensor.h"
#include "crescendo/image/image.h"

namespace crescendo {

// SplitMix64 over counters that begin at a hash of the name (FNV-1a).
class NamedBits {
 public:
  explicit NamedBits(std::string_view name) {
    for (const char c : name) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  }
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_ = 0xCBF29CE484222325u;
};

inline Tensor formula_uniform(const std::string& name, at::IntArrayRef shape, double low, double high) {
  NamedBits bits(name);
  Tensor out = at::empty(shape, at::kFloat);
  float* p = out.data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i)
    p[i] = static_cast<float>(low + (high - low) * (static_cast<double>(bits.next() >> 40) / 16777216.0));
  return out;
}

inline Image formula_picture(int64_t width, int64_t height) {
  NamedBits bits("picture " + std::to_string(width) + " x " + std::to_string(height));
  Image image(width, height);
  for (uint8_t& v : image.rgb) v = static_cast<uint8_t>(bits.next() >> 56);
  return image;
}

// A convolution and its batch norm under the published names.
inline void add_formula_layer(TensorMap& out, const std::string& name, std::vector<int64_t> shape) {
  const double bound = std::sqrt(6.0 / static_cast<double>(shape[1] * shape[2] * shape[3]));
  out[name + ".conv.weight"] = formula_uniform(name + ".conv.weight", shape, -bound, bound);
  for (const char* part : {".bn.weight", ".bn.running_var"})
    out[name + part] = formula_uniform(name + part, {shape[0]}, 0.5, 1.5);
  for (const char* part : {".bn.bias", ".bn.running_mean"})
    out[name + part] = formula_uniform(name + part, {shape[0]}, -0.1, 0.1);
}

// All of the network's, stated block by block after the table of the published model, apart from the network's code.
inline TensorMap formula_inception() {
  TensorMap w;
  const auto add = [&](const std::string& name, int64_t in, int64_t out, int64_t h, int64_t width) {
    add_formula_layer(w, name, {out, in, h, width});
  };
  add("Conv2d_1a_3x3", 3, 32, 3, 3);
  add("Conv2d_2a_3x3", 32, 32, 3, 3);
  add("Conv2d_2b_3x3", 32, 64, 3, 3);
  add("Conv2d_3b_1x1", 64, 80, 1, 1);
  add("Conv2d_4a_3x3", 80, 192, 3, 3);
  const auto dbl = [&](const std::string& block, int64_t in) {
    add(block + ".branch3x3dbl_1", in, 64, 1, 1);
    add(block + ".branch3x3dbl_2", 64, 96, 3, 3);
    add(block + ".branch3x3dbl_3", 96, 96, 3, 3);
  };
  const auto a = [&](const std::string& block, int64_t in, int64_t pool) {
    add(block + ".branch1x1", in, 64, 1, 1);
    add(block + ".branch5x5_1", in, 48, 1, 1);
    add(block + ".branch5x5_2", 48, 64, 5, 5);
    dbl(block, in);
    add(block + ".branch_pool", in, pool, 1, 1);
  };
  a("Mixed_5b", 192, 32);
  a("Mixed_5c", 256, 64);
  a("Mixed_5d", 288, 64);
  add("Mixed_6a.branch3x3", 288, 384, 3, 3);
  dbl("Mixed_6a", 288);
  const auto c = [&](const std::string& block, int64_t inner) {
    add(block + ".branch1x1", 768, 192, 1, 1);
    add(block + ".branch7x7_1", 768, inner, 1, 1);
    add(block + ".branch7x7_2", inner, inner, 1, 7);
    add(block + ".branch7x7_3", inner, 192, 7, 1);
    add(block + ".branch7x7dbl_1", 768, inner, 1, 1);
    add(block + ".branch7x7dbl_2", inner, inner, 7, 1);
    add(block + ".branch7x7dbl_3", inner, inner, 1, 7);
    add(block + ".branch7x7dbl_4", inner, inner, 7, 1);
    add(block + ".branch7x7dbl_5", inner, 192, 1, 7);
    add(block + ".branch_pool", 768, 192, 1, 1);
  };
  c("Mixed_6b", 128);
  c("Mixed_6c", 160);
  c("Mixed_6d", 160);
  c("Mixed_6e", 192);
  add("Mixed_7a.branch3x3_1", 768, 192, 1, 1);
  add("Mixed_7a.branch3x3_2", 192, 320, 3, 3);
  add("Mixed_7a.branch7x7x3_1", 768, 192, 1, 1);
  add("Mixed_7a.branch7x7x3_2", 192, 192, 1, 7);
  add("Mixed_7a.branch7x7x3_3", 192, 192, 7, 1);
  add("Mixed_7a.branch7x7x3_4", 192, 192, 3, 3);
  const auto e = [&](const std::string& block, int64_t in) {
    add(block + ".branch1x1", in, 320, 1, 1);
    add(block + ".branch3x3_1", in, 384, 1, 1);
    add(block + ".branch3x3_2a", 384, 384, 1, 3);
    add(block + ".branch3x3_2b", 384, 384, 3, 1);
    add(block + ".branch3x3dbl_1", in, 448, 1, 1);
    add(block + ".branch3x3dbl_2", 448, 384, 3, 3);
    add(block + ".branch3x3dbl_3a", 384, 384, 1, 3);
    add(block + ".branch3x3dbl_3b", 384, 384, 3, 1);
    add(block + ".branch_pool", in, 192, 1, 1);
  };
  e("Mixed_7b", 1280);
  e("Mixed_7c", 2048);
  w["fc.weight"] = formula_uniform("fc.weight", {1008, 2048}, -0.1, 0.1);
  w["fc.bias"] = formula_uniform("fc.bias", {1008}, -0.1, 0.1);
  return w;
}

}  // namespace crescendo
