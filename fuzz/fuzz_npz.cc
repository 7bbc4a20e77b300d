// ZIP and .npy: the input is an archive, or, where it begins with NumPy's magic, an array. Checksums of stored members
// are not asked for, because the fuzzer cannot guess them.
#include "crescendo/io/npz.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crescendo;
  const Bytes bytes = fuzz_bytes(data, size);
  if (size > 0 && data[0] == 0x93) return fuzz([&] { touch(parse_npy(bytes)); });
  return fuzz([&] {
    const NpzReader reader(ZipReader(bytes, /*inflate_limit=*/1 << 20));
    for (const auto& name : reader.names()) fuzz([&] { touch(reader.read(name, /*verify=*/false)); });
  });
}
