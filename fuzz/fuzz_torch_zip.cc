// Pickle and PyTorch's ZIP. An input that begins with "PK" is a file. Any other is the pickle of a checkpoint whose
// storages "0", "1", .. are the pieces behind it: u16 size, pickle, (u8 size, storage).. The archive is made here,
// because the fuzzer cannot guess checksums. What is read must survive being written and read again.
#include <sstream>

#include "crescendo/io/torch_zip.h"
#include "fuzz/fuzz.h"

namespace crescendo {
namespace {

std::string archive_of(std::string_view input) {
  std::ostringstream out;
  ZipWriter zip(out, {.alignment = 64});
  const auto take = [&](size_t size) {
    const std::string_view piece = input.substr(0, size);
    input.remove_prefix(piece.size());
    return piece;
  };
  const size_t low = static_cast<unsigned char>(take(1)[0]);
  const size_t high = static_cast<unsigned char>(take(1)[0]);
  zip.add("a/data.pkl", take(low | high << 8));
  for (int key = 0; !input.empty(); ++key) {
    const size_t size = static_cast<unsigned char>(take(1)[0]);
    zip.add("a/data/" + std::to_string(key), take(size));
  }
  zip.finish();
  return out.str();
}

void check_rewritten(const PickleValue& value) {
  Json json;
  std::vector<Tensor> storages;
  std::string pickle;
  try {
    json = to_json(value);
    pickle = write_pickle(value, [&](const Tensor& tensor) {
      storages.push_back(tensor);
      return std::to_string(storages.size() - 1);
    });
  } catch (const Error&) {
    return;  // bytes, sets and big ints cannot be written, nor what shares too much
  }
  PickleOptions options;
  options.load_storage = [&](const StorageId& id) {
    return storages.at(std::stoul(id.key)).contiguous().reshape({id.numel});
  };
  const PickleValue again = parse_pickle(own_bytes(pickle, "rewritten"), options);
  if (to_json(again).dump(-1, ' ', false, Json::error_handler_t::replace) !=
      json.dump(-1, ' ', false, Json::error_handler_t::replace))
    __builtin_trap();
}

}  // namespace
}  // namespace crescendo

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crescendo;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with("PK")) return fuzz([&] { touch(parse_torch_file(fuzz_bytes(data, size))); });
  if (size < 2) return 0;
  PickleValue value;
  bool read = false;
  fuzz([&] {
    value = parse_torch_file(own_bytes(archive_of(input), "input"));
    read = true;
  });
  if (!read) return 0;
  touch(value);
  fuzz([&] { tensors_at(value, "model", "input"); });
  fuzz([&] { args_at(value); });
  check_rewritten(value);  // an Error here is a finding: what was read is valid
  return 0;
}
