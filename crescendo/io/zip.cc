#include "crescendo/io/zip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <ostream>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

// Records of APPNOTE.TXT (PKWARE), sections 4.3.7 to 4.3.16.
constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocatorSignature = 0x07064b50;
constexpr size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20;
constexpr uint16_t kZip64Field = 1;
constexpr uint16_t kPaddingField = 0x4246;  // "FB", the field PyTorch pads with
constexpr uint16_t kFlagEncrypted = 1, kFlagSizesFollow = 8, kFlagUtf8 = 0x800;
constexpr uint64_t kMax32 = std::numeric_limits<uint32_t>::max();
constexpr uint64_t kMax16 = std::numeric_limits<uint16_t>::max();
// Deflate packs at most 258 bytes into two bits and a little; 1032 is its well-known bound.
constexpr uint64_t kMaxDeflateRatio = 1032;

struct Directory {
  uint64_t begin, size, count;
};

// The end record is the last thing in the file but for its comment, whose length must fit exactly.
std::optional<size_t> find_end(std::span<const std::byte> data) {
  if (data.size() < kEndSize) return std::nullopt;
  size_t end = data.size() - kEndSize;
  const size_t lowest = end > kMax16 ? end - kMax16 : 0;
  while (load_le<uint32_t>(data, end) != kEndSignature ||
         load_le<uint16_t>(data, end + 20) != data.size() - end - kEndSize) {
    if (end == lowest) return std::nullopt;
    --end;
  }
  return end;
}

Directory find_directory(const Bytes& archive) {
  const auto data = archive.data;
  check(data.size() >= kEndSize, archive.name, ": not a ZIP archive: it has only ", data.size(), " bytes");
  const std::optional<size_t> found = find_end(data);
  check(found.has_value(), archive.name, ": no ZIP directory at the end; the file is cut short or no ZIP archive");
  const size_t end = *found;
  uint64_t disk = load_le<uint16_t>(data, end + 4), directory_disk = load_le<uint16_t>(data, end + 6);
  uint64_t count_here = load_le<uint16_t>(data, end + 8), count = load_le<uint16_t>(data, end + 10);
  uint64_t size = load_le<uint32_t>(data, end + 12), begin = load_le<uint32_t>(data, end + 16);
  size_t records_begin = end;
  if (end >= kLocatorSize && load_le<uint32_t>(data, end - kLocatorSize) == kLocatorSignature) {
    const size_t locator = end - kLocatorSize;
    const auto end64 = load_le<uint64_t>(data, locator + 8);
    check(load_le<uint32_t>(data, locator + 4) == 0 && load_le<uint32_t>(data, locator + 16) <= 1, archive.name,
          ": archives of several disks are not supported");
    check(locator >= kEnd64Size && end64 <= locator - kEnd64Size && load_le<uint32_t>(data, end64) == kEnd64Signature &&
              load_le<uint64_t>(data, end64 + 4) == locator - end64 - 12,
          archive.name, ": the ZIP64 end record is damaged");
    // The 64-bit record stands for every field that is all ones; the others must agree with it.
    const auto merge = [&](uint64_t& field, uint64_t wide, uint64_t all_ones) {
      check(field == all_ones || field == wide, archive.name, ": the two ZIP end records disagree");
      field = wide;
    };
    merge(disk, load_le<uint32_t>(data, end64 + 16), kMax16);
    merge(directory_disk, load_le<uint32_t>(data, end64 + 20), kMax16);
    merge(count_here, load_le<uint64_t>(data, end64 + 24), kMax16);
    merge(count, load_le<uint64_t>(data, end64 + 32), kMax16);
    merge(size, load_le<uint64_t>(data, end64 + 40), kMax32);
    merge(begin, load_le<uint64_t>(data, end64 + 48), kMax32);
    records_begin = end64;
  }
  check(disk == 0 && directory_disk == 0 && count_here == count, archive.name,
        ": archives of several disks are not supported");
  check(begin <= records_begin && size == records_begin - begin, archive.name, ": the ZIP directory (", size,
        " bytes at ", begin, ") does not end where the end record begins (", records_begin, ")");
  check(count <= size / kCentralSize, archive.name, ": the ZIP directory is too small for its ", count, " members");
  return {begin, size, count};
}

// Replaces the fields that are all ones by those of the ZIP64 extra field, in their fixed order.
void apply_zip64(std::span<const std::byte> extra, std::initializer_list<uint64_t*> fields, const std::string& where) {
  if (std::none_of(fields.begin(), fields.end(), [](const uint64_t* f) { return *f == kMax32; })) return;
  for (size_t at = 0; at + 4 <= extra.size();) {
    const auto id = load_le<uint16_t>(extra, at);
    const size_t size = load_le<uint16_t>(extra, at + 2);
    check(size <= extra.size() - at - 4, where, ": an extra field leaves its record");
    if (id != kZip64Field) {
      at += 4 + size;
      continue;
    }
    auto rest = extra.subspan(at + 4, size);
    for (uint64_t* field : fields) {
      if (*field != kMax32) continue;
      check(rest.size() >= 8, where, ": the ZIP64 field is too short");
      *field = load_le<uint64_t>(rest, 0);
      rest = rest.subspan(8);
    }
    return;
  }
  // A size of exactly 2^32 - 1 without the field is legal.
}

void append_le(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

bool has_zip_directory(const Bytes& archive) { return find_end(archive.data).has_value(); }

uint32_t crc32_of(std::span<const std::byte> data, uint32_t crc) {
  return static_cast<uint32_t>(::crc32_z(crc, reinterpret_cast<const unsigned char*>(data.data()), data.size()));
}

ZipReader::ZipReader(Bytes archive, uint64_t inflate_limit)
    : archive_(std::move(archive)), inflate_limit_(inflate_limit) {
  const auto data = archive_.data;
  const Directory directory = find_directory(archive_);
  std::vector<std::pair<uint64_t, uint64_t>> ranges;  // header begin, content end
  members_.reserve(directory.count);
  uint64_t at = directory.begin;
  const uint64_t directory_end = directory.begin + directory.size;
  for (uint64_t i = 0; i < directory.count; ++i) {
    const std::string entry_name = archive_.name + ": ZIP member " + std::to_string(i);
    check(directory_end - at >= kCentralSize && load_le<uint32_t>(data, at) == kCentralSignature, entry_name,
          ": its directory entry is damaged");
    const auto flags = load_le<uint16_t>(data, at + 8);
    const auto method = load_le<uint16_t>(data, at + 10);
    ZipMember member;
    member.crc32 = load_le<uint32_t>(data, at + 16);
    member.packed_size = load_le<uint32_t>(data, at + 20);
    member.size = load_le<uint32_t>(data, at + 24);
    const size_t name_size = load_le<uint16_t>(data, at + 28);
    const size_t extra_size = load_le<uint16_t>(data, at + 30);
    const size_t comment_size = load_le<uint16_t>(data, at + 32);
    const auto disk = load_le<uint16_t>(data, at + 34);
    uint64_t header = load_le<uint32_t>(data, at + 42);
    check(directory_end - at - kCentralSize >= name_size + extra_size + comment_size, entry_name,
          ": its directory entry leaves the directory");
    const auto name_bytes = data.subspan(at + kCentralSize, name_size);
    member.name.assign(reinterpret_cast<const char*>(name_bytes.data()), name_size);
    // A NUL within the name would cut the message short.
    const std::string where = archive_.name + ": ZIP member '" + member.name.c_str() + "'";
    check(name_size > 0 && member.name.find('\0') == std::string::npos, where, " has no usable name");
    apply_zip64(data.subspan(at + kCentralSize + name_size, extra_size), {&member.size, &member.packed_size, &header},
                where);
    at += kCentralSize + name_size + extra_size + comment_size;

    check((flags & kFlagEncrypted) == 0, where, " is encrypted");
    check(method == 0 || method == 8, where, " is packed by method ", method, "; stored (0) and deflated (8) are read");
    check(disk == 0, where, " lies on another disk");
    member.deflated = method == 8;
    check(member.deflated || member.packed_size == member.size, where,
          " is stored, but its two sizes differ: ", member.size, " and ", member.packed_size);
    check(!member.deflated || member.size / kMaxDeflateRatio <= member.packed_size + 1, where, " claims to inflate ",
          member.packed_size, " bytes to ", member.size, ", which no deflate stream can");

    check(header <= directory.begin && directory.begin - header >= kLocalSize &&
              load_le<uint32_t>(data, header) == kLocalSignature,
          where, ": no member begins at offset ", header);
    const size_t local_name_size = load_le<uint16_t>(data, header + 26);
    const size_t local_extra_size = load_le<uint16_t>(data, header + 28);
    check(directory.begin - header - kLocalSize >= local_name_size + local_extra_size, where,
          ": its header leaves the archive");
    member.data_begin = header + kLocalSize + local_name_size + local_extra_size;
    check(member.packed_size <= directory.begin - member.data_begin, where, " says it has ", member.packed_size,
          " bytes, the archive has room for ", directory.begin - member.data_begin);
    const auto local_name = data.subspan(header + kLocalSize, local_name_size);
    check(std::equal(local_name.begin(), local_name.end(), name_bytes.begin(), name_bytes.end()) &&
              load_le<uint16_t>(data, header + 8) == method,
          where, ": its header and its directory entry disagree");
    if ((load_le<uint16_t>(data, header + 6) & kFlagSizesFollow) == 0) {
      uint64_t local_size = load_le<uint32_t>(data, header + 22), local_packed = load_le<uint32_t>(data, header + 18);
      apply_zip64(data.subspan(header + kLocalSize + local_name_size, local_extra_size), {&local_size, &local_packed},
                  where);
      check(local_size == member.size && local_packed == member.packed_size &&
                load_le<uint32_t>(data, header + 14) == member.crc32,
            where, ": its header and its directory entry disagree about sizes or checksum");
    }
    ranges.emplace_back(header, member.data_begin + member.packed_size);
    members_.push_back(std::move(member));
  }
  check(at == directory_end, archive_.name, ": ", directory_end - at,
        " bytes after the last entry of the ZIP directory");
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i)
    check(ranges[i].first >= ranges[i - 1].second, archive_.name, ": ZIP members overlap at offset ", ranges[i].first);
  for (size_t i = 0; i < members_.size(); ++i)
    check(index_.emplace(members_[i].name, i).second, archive_.name, ": ZIP member '", members_[i].name,
          "' stands there twice");
}

const ZipMember* ZipReader::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &members_[it->second];
}

const ZipMember& ZipReader::at(std::string_view name) const {
  const ZipMember* member = find(name);
  check(member != nullptr, archive_.name, ": the archive has no member '", name, "'");
  return *member;
}

Bytes ZipReader::content(const ZipMember& member, bool verify) const {
  const std::string where = archive_.name + ": " + member.name;
  Bytes out = archive_.part(member.data_begin, member.packed_size, where);
  if (member.deflated) {
    check(member.size <= inflate_limit_, where, " would inflate to ", member.size, " bytes, the limit is ",
          inflate_limit_);
    std::string content(member.size, '\0');
    z_stream stream{};
    check(::inflateInit2(&stream, -MAX_WBITS) == Z_OK, where, ": zlib cannot start");
    // zlib counts in 32 bits, so both sides are handed over in pieces.
    auto input = out.data;
    std::span<char> output(content);
    int status = Z_OK;
    while (status == Z_OK) {
      const auto in_piece = static_cast<uInt>(std::min<size_t>(input.size(), kMax32));
      const auto out_piece = static_cast<uInt>(std::min<size_t>(output.size(), kMax32));
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(input.data()));
      stream.avail_in = in_piece;
      stream.next_out = reinterpret_cast<Bytef*>(output.data());
      stream.avail_out = out_piece;
      status = ::inflate(&stream, Z_NO_FLUSH);
      const size_t consumed = in_piece - stream.avail_in, produced = out_piece - stream.avail_out;
      if (status == Z_OK && consumed == 0 && produced == 0) break;
      input = input.subspan(consumed);
      output = output.subspan(produced);
    }
    ::inflateEnd(&stream);
    check(status == Z_STREAM_END && output.empty() && input.empty(), where, ": the deflated data is damaged");
    out = own_bytes(std::move(content), where);
  }
  if (verify || member.deflated) check(crc32_of(out.data) == member.crc32, where, ": the checksum does not match");
  return out;
}

void ZipWriter::write(std::string_view bytes) {
  out_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  position_ += bytes.size();
}

std::string ZipWriter::local_header(const Entry& entry) const {
  const ZipMember& member = entry.member;
  std::string extra;
  if (entry.zip64) {
    append_le(extra, kZip64Field, 2);
    append_le(extra, 16, 2);
    append_le(extra, member.size, 8);
    append_le(extra, member.packed_size, 8);
  }
  const uint64_t alignment = options_.alignment;
  uint64_t begin = entry.header_begin + kLocalSize + member.name.size() + extra.size();
  if (alignment > 1 && begin % alignment != 0) {
    begin += 4;
    const uint64_t padding = (alignment - begin % alignment) % alignment;
    append_le(extra, kPaddingField, 2);
    append_le(extra, padding, 2);
    extra.append(padding, 'Z');
  }
  std::string out;
  append_le(out, kLocalSignature, 4);
  append_le(out, entry.zip64 ? 45 : 20, 2);
  append_le(out, kFlagUtf8, 2);
  append_le(out, 0, 2);       // stored
  append_le(out, 0, 2);       // 00:00:00
  append_le(out, 0x0021, 2);  // 1980-01-01
  append_le(out, member.crc32, 4);
  append_le(out, entry.zip64 ? kMax32 : member.packed_size, 4);
  append_le(out, entry.zip64 ? kMax32 : member.size, 4);
  append_le(out, member.name.size(), 2);
  append_le(out, extra.size(), 2);
  return out + member.name + extra;
}

void ZipWriter::begin(const std::string& name, uint64_t size) {
  check(!open_, "zip: member '", name, "' begins before '", open_ ? entries_.back().member.name : "", "' has ended");
  check(!name.empty() && name.size() <= kMax16 && name.find('\0') == std::string::npos, "zip: '", name.c_str(),
        "' cannot be the name of a member");
  check(names_.insert(name).second, "zip: member '", name, "' is written twice");
  Entry entry;
  entry.member.name = name;
  entry.member.size = entry.member.packed_size = size;
  entry.header_begin = position_;
  entry.zip64 = options_.zip64 == Zip64::kAlways || size >= kMax32;
  entries_.push_back(entry);
  write(local_header(entry));
  entries_.back().member.data_begin = position_;
  appended_ = 0;
  open_ = true;
}

void ZipWriter::append(std::span<const std::byte> piece) {
  check(open_, "zip: bytes outside a member");
  Entry& entry = entries_.back();
  check(piece.size() <= entry.member.size - appended_, "zip: member '", entry.member.name, "' gets more than its ",
        entry.member.size, " bytes");
  entry.member.crc32 = crc32_of(piece, entry.member.crc32);
  write({reinterpret_cast<const char*>(piece.data()), piece.size()});
  appended_ += piece.size();
}

void ZipWriter::end() {
  check(open_, "zip: no member to end");
  const Entry& entry = entries_.back();
  check(appended_ == entry.member.size, "zip: member '", entry.member.name, "' got ", appended_, " of its ",
        entry.member.size, " bytes");
  open_ = false;
  // The checksum is known only now; it stands in front of the content.
  std::string crc;
  append_le(crc, entry.member.crc32, 4);
  out_.seekp(static_cast<std::streamoff>(entry.header_begin + 14));
  out_.write(crc.data(), 4);
  out_.seekp(static_cast<std::streamoff>(position_));
}

void ZipWriter::add(const std::string& name, std::span<const std::byte> content) {
  begin(name, content.size());
  append(content);
  end();
}

void ZipWriter::add(const std::string& name, std::string_view content) {
  add(name, std::as_bytes(std::span(content.data(), content.size())));
}

void ZipWriter::finish() {
  check(!open_, "zip: finish() within a member");
  const uint64_t directory_begin = position_;
  std::string out;
  for (const Entry& entry : entries_) {
    const ZipMember& member = entry.member;
    std::string extra;
    const bool wide_offset = entry.header_begin >= kMax32;
    if (entry.zip64 || wide_offset) {
      append_le(extra, kZip64Field, 2);
      append_le(extra, (entry.zip64 ? 16 : 0) + (wide_offset ? 8 : 0), 2);
      if (entry.zip64) append_le(extra, member.size, 8), append_le(extra, member.packed_size, 8);
      if (wide_offset) append_le(extra, entry.header_begin, 8);
    }
    append_le(out, kCentralSignature, 4);
    append_le(out, extra.empty() ? 20 : 45, 2);  // made by
    append_le(out, extra.empty() ? 20 : 45, 2);  // needed to read
    append_le(out, kFlagUtf8, 2);
    append_le(out, 0, 2);
    append_le(out, 0, 2);
    append_le(out, 0x0021, 2);
    append_le(out, member.crc32, 4);
    append_le(out, entry.zip64 ? kMax32 : member.packed_size, 4);
    append_le(out, entry.zip64 ? kMax32 : member.size, 4);
    append_le(out, member.name.size(), 2);
    append_le(out, extra.size(), 2);
    append_le(out, 0, 2);  // comment
    append_le(out, 0, 2);  // disk
    append_le(out, 0, 2);  // internal attributes
    append_le(out, 0, 4);  // external attributes
    append_le(out, wide_offset ? kMax32 : entry.header_begin, 4);
    out += member.name + extra;
  }
  write(out);
  const uint64_t directory_size = out.size(), count = entries_.size();
  out.clear();
  const bool zip64 =
      options_.zip64 == Zip64::kAlways || directory_begin >= kMax32 || directory_size >= kMax32 || count >= kMax16;
  if (zip64) {
    const uint64_t end64 = position_;
    append_le(out, kEnd64Signature, 4);
    append_le(out, kEnd64Size - 12, 8);
    append_le(out, 45, 2);
    append_le(out, 45, 2);
    append_le(out, 0, 4);
    append_le(out, 0, 4);
    append_le(out, count, 8);
    append_le(out, count, 8);
    append_le(out, directory_size, 8);
    append_le(out, directory_begin, 8);
    append_le(out, kLocatorSignature, 4);
    append_le(out, 0, 4);
    append_le(out, end64, 8);
    append_le(out, 1, 4);
  }
  append_le(out, kEndSignature, 4);
  append_le(out, 0, 4);  // disks
  append_le(out, std::min(count, kMax16), 2);
  append_le(out, std::min(count, kMax16), 2);
  append_le(out, std::min(directory_size, kMax32), 4);
  append_le(out, std::min(directory_begin, kMax32), 4);
  append_le(out, 0, 2);
  write(out);
}

}  // namespace crescendo
