// The weights of the small models in shared/fixtures, and what the published code answers.
#pragma once

#include "crescendo/io/safetensors.h"
#include "crescendo/io/torch_zip.h"
#include "tests/support.h"

namespace crescendo::test {

inline TensorMap fixture_expected(const std::string& name) {
  return read_safetensors(shared_path("fixtures/" + name + "/expected.safetensors")).tensors;
}

// The averaged weights of its checkpoint, those whose names begin with `prefix`.
inline TensorMap fixture_weights(const std::string& name, const std::string& prefix = "") {
  const auto path = shared_path("fixtures/" + name + "/checkpoint-last.pth");
  TensorMap out;
  for (const auto& [key, tensor] : tensors_at(read_torch_file(path), "model_ema", path.string()))
    if (key.starts_with(prefix)) out[key] = tensor;
  return out;
}

}  // namespace crescendo::test
