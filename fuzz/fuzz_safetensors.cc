// safetensors: the input is a file.
#include "crescendo/io/safetensors.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crescendo;
  return fuzz([&] {
    for (const auto& entry : parse_safetensors(fuzz_bytes(data, size)).tensors) touch(entry.second);
  });
}
