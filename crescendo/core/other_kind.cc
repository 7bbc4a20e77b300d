#include "crescendo/core/other_kind.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace crescendo {

namespace {

using namespace std::string_view_literals;

struct Magic {
  size_t offset;
  std::string_view bytes;
  std::string_view kind;
};
constexpr std::array kMagics = {
    Magic{0, "\x1f\x8b"sv, "a gzip archive; unpack it first"},
    Magic{0, "\x28\xb5\x2f\xfd"sv, "a zstd archive; unpack it first"},
    Magic{0, "\xfd\x37zXZ"sv, "an xz archive; unpack it first"},
    Magic{0, "BZh"sv, "a bzip2 archive; unpack it first"},
    Magic{0, "7z\xbc\xaf\x27\x1c"sv, "a 7z archive; unpack it first"},
    Magic{0, "Rar!\x1a\x07"sv, "a RAR archive; unpack it first"},
    Magic{
        257, "ustar"sv,
        "a tar archive; unpack it first, or if it is a checkpoint of PyTorch before 0.1.10, save it again with a newer "
        "PyTorch"},
    Magic{0, "GGUF"sv, "a GGUF file, whose weights are those of another program; the original checkpoint is needed"},
    Magic{0, "lmgg"sv, "a GGML file, whose weights are those of another program; the original checkpoint is needed"},
    Magic{4, "TFL3"sv, "a TensorFlow Lite model; a PyTorch checkpoint or safetensors is needed"},
    Magic{0, "\x89HDF\r\n\x1a\n"sv,
          "an HDF5 file, such as Keras writes; a PyTorch checkpoint or safetensors is needed"},
    Magic{0, "\x89PNG\r\n\x1a\n"sv, "a PNG picture"},
    Magic{0, "\xff\xd8\xff"sv, "a JPEG picture"},
    Magic{0, "%PDF-"sv, "a PDF document"},
    Magic{0,
          "\x7f"
          "ELF"sv,
          "a program"},
};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// Without a byte-order mark and white space in front.
std::string_view trimmed(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  return text;
}

std::string lfs_pointer(std::string_view head) {
  std::string size;
  if (const size_t at = head.find("\nsize "); at != std::string_view::npos)
    for (size_t i = at + 6; i < head.size() && std::isdigit(static_cast<unsigned char>(head[i])); ++i) size += head[i];
  return "a Git LFS pointer, not the file itself" + (size.empty() ? "" : " of " + size + " bytes") +
         "; fetch that, e.g. with `git lfs pull`";
}

// ONNX is a protocol buffer: ir_version, then the producer's name or, in some, the graph.
bool is_onnx(std::string_view head) {
  return head.size() > 16 && head[0] == 8 && head[1] >= 1 && head[1] <= 16 && head[2] == 0x12 &&
         (head.substr(4).starts_with("pytorch") || head.substr(4).starts_with("onnx") ||
          head.find("onnx") != std::string_view::npos);
}

// saved_model.pb begins with the schema's version and a graph; a frozen graph with its first node.
bool is_tensorflow(std::string_view head) {
  return head.size() > 16 && ((head[0] == 8 && head[1] == 1 && head[2] == 0x12) || head[0] == 0x0a) &&
         (head.find("Placeholder") != std::string_view::npos || head.find("Const") != std::string_view::npos ||
          head.find("serve") != std::string_view::npos || head.find("tensorflow") != std::string_view::npos);
}

}  // namespace

std::string other_kind(std::string_view head, uint64_t size) {
  if (size == 0) return "an empty file; fetch it again";
  if (head.starts_with("version https://git-lfs")) return lfs_pointer(head);
  for (const Magic& magic : kMagics)
    if (head.size() >= magic.offset && head.substr(magic.offset).starts_with(magic.bytes))
      return std::string(magic.kind);
  const std::string begin = lower(trimmed(head).substr(0, 64));
  for (const char* tag : {"<!doctype html", "<html", "<head", "<body", "<script", "<!--", "<meta"})
    if (begin.starts_with(tag)) return "a web page, not what it should lead to; fetch the file itself";
  if (begin.starts_with("<?xml")) return "an XML text, such as a server's message; fetch the file itself";
  if (is_onnx(head)) return "an ONNX model; a PyTorch checkpoint or safetensors is needed";
  if (is_tensorflow(head)) return "a TensorFlow model; a PyTorch checkpoint or safetensors is needed";
  if (std::all_of(head.begin(), head.end(), [](char c) { return c == 0; }))
    return "zeros, at least at the beginning: a download that was never filled; fetch it again";
  return "";
}

std::string other_kind_or_text(std::string_view head, uint64_t size) {
  if (std::string kind = other_kind(head, size); !kind.empty()) return kind;
  const bool text = std::all_of(head.begin(), head.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 ? byte < 0x7f : byte == '\n' || byte == '\r' || byte == '\t';
  });
  if (!text) return "";
  std::string begin(trimmed(head).substr(0, 60));
  begin = begin.substr(0, begin.find_first_of("\r\n"));
  const bool json = begin.starts_with('{') || begin.starts_with('[');
  return (json ? "a JSON text" : "a text") + std::string(" that begins '") + begin +
         "', such as a server's message; fetch the file itself";
}

}  // namespace crescendo
