#include "crescendo/io/npz.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ostream>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"

namespace crescendo {

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxHeader = 1 << 20;
constexpr size_t kMaxDims = 64;

struct Descr {
  std::string_view code;
  at::ScalarType dtype;
};
constexpr std::array kDescrs = {
    Descr{"f2", at::kHalf}, Descr{"f4", at::kFloat}, Descr{"f8", at::kDouble},
    Descr{"i1", at::kChar}, Descr{"i2", at::kShort}, Descr{"i4", at::kInt},
    Descr{"i8", at::kLong}, Descr{"u1", at::kByte},  Descr{"b1", at::kBool},
};

// Reads the header's Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class LiteralParser {
 public:
  LiteralParser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  void parse(NpyHeader& header) {
    expect('{');
    unsigned seen = 0;
    while (!take('}')) {
      const std::string key = string();
      expect(':');
      const unsigned bit = key == "descr" ? 1 : key == "fortran_order" ? 2 : key == "shape" ? 4 : 0;
      check(bit != 0 && (seen & bit) == 0, file_, ": the .npy header has the unexpected key '", key, "'");
      seen |= bit;
      if (bit == 1) descr(header);
      if (bit == 2) header.fortran_order = boolean();
      if (bit == 4) shape(header);
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    check(seen == 7, file_, ": the .npy header must have descr, fortran_order and shape");
    skip_space();
    check(text_.empty(), file_, ": text after the .npy header's dict");
  }

 private:
  void skip_space() { text_.remove_prefix(std::min(text_.find_first_not_of(" \n\t\r"), text_.size())); }
  bool take(char c) {
    skip_space();
    if (!text_.starts_with(c)) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char c) { check(take(c), file_, ": the .npy header is damaged: '", c, "' is missing"); }
  std::string string() {
    skip_space();
    check(!text_.empty() && (text_[0] == '\'' || text_[0] == '"'), file_, ": the .npy header is damaged");
    const size_t end = text_.find(text_[0], 1);
    check(end != std::string_view::npos, file_, ": the .npy header is damaged: a quote is missing");
    std::string out(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return out;
  }
  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"})
      if (text_.starts_with(word)) {
        text_.remove_prefix(word.size());
        return word == "True";
      }
    fail(file_, ": fortran_order must be True or False");
  }
  void descr(NpyHeader& header) {
    skip_space();
    check(!text_.starts_with('['), file_, ": structured arrays are not supported");
    const std::string code = string();
    const char order = code.empty() ? ' ' : code[0];
    for (const auto& known : kDescrs)
      if (code.size() == 3 && code.substr(1) == known.code &&
          std::string_view("<>=|").find(order) != std::string::npos) {
        header.dtype = known.dtype;
        header.swap = order == '>' && known.code[1] != '1';
        return;
      }
    fail(file_, ": the array has dtype '", code, "'; read are f2 f4 f8 i1 i2 i4 i8 u1 and bool");
  }
  void shape(NpyHeader& header) {
    expect('(');
    while (!take(')')) {
      skip_space();
      int64_t size = 0;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), size);
      check(error == std::errc() && size >= 0, file_, ": the .npy header has a shape that is no tuple of sizes");
      check(header.shape.size() < kMaxDims, file_, ": the array has more than ", kMaxDims, " dimensions");
      text_.remove_prefix(static_cast<size_t>(end - text_.data()));
      header.shape.push_back(size);
      if (!take(',')) {
        expect(')');
        break;
      }
    }
  }

  std::string_view text_;
  const std::string& file_;
};

std::string npy_header(at::ScalarType dtype, const std::vector<int64_t>& shape) {
  const auto known =
      std::find_if(kDescrs.begin(), kDescrs.end(), [&](const Descr& descr) { return descr.dtype == dtype; });
  check(known != kDescrs.end(), "npy: NumPy has no dtype for ", dtype_name(dtype), "; convert the tensor first");
  std::string text = std::string("{'descr': '") + (known->code[1] == '1' ? '|' : '<') + std::string(known->code) +
                     "', 'fortran_order': False, 'shape': (";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  text += shape.size() == 1 ? ",), }" : "), }";
  // Data begins at a multiple of 64, and the text ends in a newline.
  text.append((64 - (kMagic.size() + 4 + text.size() + 1) % 64) % 64, ' ');
  text += '\n';
  check(text.size() <= 0xffff, "npy: the header is too long");
  std::string out(kMagic);
  out += std::string("\x01\x00", 2);
  out.push_back(static_cast<char>(text.size() & 0xff));
  out.push_back(static_cast<char>(text.size() >> 8));
  return out + text;
}

std::vector<int64_t> shape_of(const Tensor& tensor) { return tensor.sizes().vec(); }

std::span<const std::byte> bytes_of(const Tensor& dense) {
  return {static_cast<const std::byte*>(dense.data_ptr()), dense.nbytes()};
}

Tensor dense_on_cpu(const Tensor& tensor, const std::string& name) {
  check(tensor.defined() && tensor.layout() == at::kStrided, "npy: '", name, "' is no dense tensor");
  return tensor.detach().cpu().contiguous();
}

}  // namespace

NpyHeader parse_npy_header(const Bytes& bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data.data()), bytes.size());
  check(text.size() >= 10 && text.starts_with(kMagic), bytes.name, ": not an .npy array");
  const int version = static_cast<unsigned char>(text[6]);
  check(version >= 1 && version <= 3, bytes.name, ": .npy version ", version, " is not known");
  size_t length, begin;
  if (version == 1) {
    length = load_le<uint16_t>(bytes.data, 8);
    begin = 10;
  } else {
    check(text.size() >= 12, bytes.name, ": the .npy header is cut short");
    length = load_le<uint32_t>(bytes.data, 8);
    begin = 12;
  }
  check(length <= kMaxHeader && length <= text.size() - begin, bytes.name, ": the .npy header of ", length,
        " bytes leaves the file's ", text.size());
  NpyHeader header;
  LiteralParser(text.substr(begin, length), bytes.name).parse(header);
  header.data_begin = begin + length;
  return header;
}

Tensor parse_npy(const Bytes& bytes) {
  const NpyHeader header = parse_npy_header(bytes);
  Bytes data = bytes.part(header.data_begin, bytes.size() - header.data_begin, bytes.name);
  if (header.swap) {
    const size_t width = at::elementSize(header.dtype);
    check(data.size() % width == 0, bytes.name, ": the data ends within an element");
    std::string swapped(reinterpret_cast<const char*>(data.data.data()), data.size());
    for (size_t i = 0; i < swapped.size(); i += width)
      std::reverse(swapped.begin() + static_cast<std::ptrdiff_t>(i),
                   swapped.begin() + static_cast<std::ptrdiff_t>(i + width));
    data = own_bytes(std::move(swapped), bytes.name);
  }
  if (!header.fortran_order || header.shape.size() < 2) return tensor_over(data, header.shape, header.dtype);
  std::vector<int64_t> reversed(header.shape.rbegin(), header.shape.rend());
  std::vector<int64_t> order(reversed.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(order.size() - 1 - i);
  return tensor_over(data, reversed, header.dtype).permute(order).contiguous();
}

Tensor read_npy(const std::filesystem::path& path) { return parse_npy(map_bytes(path)); }

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  const Tensor dense = dense_on_cpu(tensor, path.string());
  const std::string header = npy_header(dense.scalar_type(), shape_of(dense));
  write_file_atomically(path, [&](std::ostream& out) {
    out.write(header.data(), static_cast<std::streamsize>(header.size()));
    out.write(static_cast<const char*>(dense.data_ptr()), static_cast<std::streamsize>(dense.nbytes()));
  });
}

NpzReader::NpzReader(ZipReader archive) : archive_(std::move(archive)) {}

std::vector<std::string> NpzReader::names() const {
  std::vector<std::string> names;
  for (const auto& member : archive_.members())
    if (member.name.ends_with(".npy")) names.push_back(member.name.substr(0, member.name.size() - 4));
  return names;
}

bool NpzReader::contains(const std::string& name) const { return archive_.find(name + ".npy") != nullptr; }

const ZipMember& NpzReader::member(const std::string& name) const {
  if (const ZipMember* found = archive_.find(name + ".npy")) return *found;
  std::string list;
  for (const auto& known : names()) {
    list += (list.empty() ? "" : ", ") + known;
    if (list.size() > 200) break;
  }
  fail(archive_.name(), ": no array '", name, "'; the file has ", list.empty() ? "none" : list);
}

NpyHeader NpzReader::header(const std::string& name) const {
  return parse_npy_header(archive_.content(member(name), /*verify=*/false));
}

Tensor NpzReader::read(const std::string& name, bool verify) const {
  return parse_npy(archive_.content(member(name), verify));
}

TensorMap read_npz(const std::filesystem::path& path) {
  const NpzReader reader = NpzReader::open(path);
  TensorMap out;
  for (const auto& name : reader.names()) out.emplace(name, reader.read(name));
  check(!out.empty(), path.string(), ": the archive holds no .npy array");
  return out;
}

void write_npz(const std::filesystem::path& path, const TensorMap& tensors) {
  write_file_atomically(path, [&](std::ostream& out) {
    NpzWriter writer(out);
    for (const auto& [name, tensor] : tensors) writer.add(name, tensor);
    writer.finish();
  });
}

void NpzWriter::add(const std::string& name, const Tensor& tensor) {
  check(tensor.defined(), "npy: '", name, "' is undefined");
  begin(name, tensor.scalar_type(), shape_of(tensor));
  append(tensor);
  end();
}

void NpzWriter::begin(const std::string& name, at::ScalarType dtype, const std::vector<int64_t>& shape) {
  const std::string header = npy_header(dtype, shape);
  const auto numel = checked_numel(shape);
  const auto size = numel ? checked_bytes(*numel, dtype) : std::nullopt;
  check(size.has_value(), "npy: '", name, "' has a shape that is no shape");
  dtype_ = dtype;
  zip_.begin(name + ".npy", header.size() + static_cast<uint64_t>(*size));
  zip_.append(std::as_bytes(std::span(header.data(), header.size())));
}

void NpzWriter::append(const Tensor& piece) {
  const Tensor dense = dense_on_cpu(piece, "piece");
  check(dense.scalar_type() == dtype_, "npy: a piece has dtype ", dtype_name(dense.scalar_type()), ", the array ",
        dtype_name(dtype_));
  zip_.append(bytes_of(dense));
}

}  // namespace crescendo
