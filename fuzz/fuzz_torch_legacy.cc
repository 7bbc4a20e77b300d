// PyTorch's stream before 1.6: the input is a file; where it lacks the magic number, it is what follows the magic, the
// protocol and the system.
#include "crescendo/io/torch_zip.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crescendo;
  static const std::string head("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.",
                                25);
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  return fuzz([&] {
    if (input.starts_with(head.substr(0, 4)))
      touch(parse_torch_legacy(fuzz_bytes(data, size)));
    else
      touch(parse_torch_legacy(own_bytes(head + std::string(input), "input")));
  });
}
