// ZIP archives, as far as PyTorch and NumPy use them: stored and deflated members, ZIP64, no encryption, one disk.
//
// The reader trusts nothing: the central directory must end where the end record begins, local headers must agree
// with it, members must lie inside the file and must not overlap, names must be unique. Opening reads the directory and
// the local headers only; a stored member is handed out as a view of the mapped file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "crescendo/io/bytes.h"

namespace crescendo {

struct ZipMember {
  std::string name;
  bool deflated = false;
  uint32_t crc32 = 0;
  uint64_t size = 0;         // of the content
  uint64_t packed_size = 0;  // in the archive
  uint64_t data_begin = 0;   // offset in the archive
};

// CRC-32 of `data`, carried on from `crc`.
uint32_t crc32_of(std::span<const std::byte> data, uint32_t crc = 0);

// Whether the record at the end of an archive is there, which a download that was cut short lacks.
bool has_zip_directory(const Bytes& archive);

class ZipReader {
 public:
  // Members that would inflate to more than this are refused: a few MB of archive can hold a TB of zeros.
  static constexpr uint64_t kDefaultInflateLimit = uint64_t{8} << 30;

  explicit ZipReader(Bytes archive, uint64_t inflate_limit = kDefaultInflateLimit);
  ZipReader(ZipReader&&) = default;  // a copy would leave index_ viewing the original
  ZipReader& operator=(ZipReader&&) = default;
  static ZipReader open(const std::filesystem::path& path) { return ZipReader(map_bytes(path)); }

  const std::string& name() const { return archive_.name; }
  const std::vector<ZipMember>& members() const { return members_; }
  // Null where the archive has no such member.
  const ZipMember* find(std::string_view name) const;
  const ZipMember& at(std::string_view name) const;

  // The content: a view for stored members, an owned buffer for deflated ones. The checksum of a deflated member is
  // always verified; that of a stored one only on demand, because it means reading every byte.
  Bytes content(const ZipMember& member, bool verify) const;

 private:
  Bytes archive_;
  uint64_t inflate_limit_;
  std::vector<ZipMember> members_;
  std::unordered_map<std::string_view, size_t> index_;  // the keys view members_
};

enum class Zip64 { kWhenNeeded, kAlways };

struct ZipWriterOptions {
  uint64_t alignment = 1;  // content begins at a multiple of this (PyTorch: 64)
  Zip64 zip64 = Zip64::kWhenNeeded;
};

// Writes stored members to a seekable stream, whose position at the start is 0. Time stamps are fixed, so that equal
// content gives equal archives.
class ZipWriter {
 public:
  explicit ZipWriter(std::ostream& out, ZipWriterOptions options = {}) : out_(out), options_(options) {}

  void add(const std::string& name, std::span<const std::byte> content);
  void add(const std::string& name, std::string_view content);

  // A member in pieces. `size` is what the pieces come to; a member of 4 GiB or more gets its ZIP64 field from it.
  void begin(const std::string& name, uint64_t size);
  void append(std::span<const std::byte> piece);
  void end();

  // Writes the central directory; the archive is complete only then.
  void finish();

 private:
  struct Entry {
    ZipMember member;
    uint64_t header_begin = 0;
    bool zip64 = false;
  };
  void write(std::string_view bytes);
  std::string local_header(const Entry& entry) const;

  std::ostream& out_;
  ZipWriterOptions options_;
  std::vector<Entry> entries_;
  std::unordered_set<std::string> names_;
  uint64_t position_ = 0;
  uint64_t appended_ = 0;
  bool open_ = false;
};

}  // namespace crescendo
