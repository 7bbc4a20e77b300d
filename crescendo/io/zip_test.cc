#include "crescendo/io/zip.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <sstream>

#include "crescendo/core/file.h"
#include "crescendo/io/test_support.h"

namespace crescendo {
namespace {

ZipReader parse(std::string content, uint64_t limit = 1 << 20) {
  return ZipReader(own_bytes(std::move(content), "x.zip"), limit);
}

std::string text_of(const Bytes& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data.data()), bytes.size());
}

std::string written(const std::vector<std::pair<std::string, std::string>>& members, ZipWriterOptions options = {}) {
  std::ostringstream out;
  ZipWriter zip(out, options);
  for (const auto& [name, content] : members) zip.add(name, content);
  zip.finish();
  return out.str();
}

std::string deflate(const std::string& content) {
  z_stream stream{};
  EXPECT_EQ(::deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(::deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

void put(std::string& at, size_t offset, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) at[offset + static_cast<size_t>(i)] = static_cast<char>(value >> (8 * i));
}
size_t central_of(const std::string& zip, size_t from = 0) { return zip.find("PK\x01\x02", from); }
size_t local_of(const std::string& zip, size_t from = 0) { return zip.find("PK\x03\x04", from); }

// An archive with one deflated member, made from a stored one of the packed bytes.
std::string deflated_archive(const std::string& content, uint64_t claimed_size) {
  std::string zip = written({{"a", deflate(content)}});
  const uint32_t crc = crc32_of(std::as_bytes(std::span(content.data(), content.size())));
  const size_t central = central_of(zip);
  put(zip, 8, 8, 2);
  put(zip, 14, crc, 4);
  put(zip, 22, claimed_size, 4);
  put(zip, central + 10, 8, 2);
  put(zip, central + 16, crc, 4);
  put(zip, central + 24, claimed_size, 4);
  return zip;
}

TEST(Zip, RoundTrip) {
  for (const auto zip64 : {Zip64::kWhenNeeded, Zip64::kAlways})
    for (const uint64_t alignment : {1, 64}) {
      const auto zip = parse(written({{"a/one", "hello"}, {"empty", ""}, {"\xc3\xa9", std::string(1000, 'x')}},
                                     {.alignment = alignment, .zip64 = zip64}));
      ASSERT_EQ(zip.members().size(), 3u);
      EXPECT_EQ(text_of(zip.content(zip.at("a/one"), true)), "hello");
      EXPECT_EQ(text_of(zip.content(zip.at("empty"), true)), "");
      EXPECT_EQ(text_of(zip.content(zip.at("\xc3\xa9"), true)), std::string(1000, 'x'));
      for (const auto& member : zip.members()) EXPECT_EQ(member.data_begin % alignment, 0u);
      EXPECT_EQ(zip.find("two"), nullptr);
      EXPECT_CONTAINS(error_of([&] { zip.at("two"); }), "no member 'two'");
    }
}

TEST(Zip, EmptyArchive) { EXPECT_TRUE(parse(written({})).members().empty()); }

TEST(Zip, MembersInPieces) {
  std::ostringstream out;
  ZipWriter zip(out);
  zip.begin("a", 6);
  const std::string text = "abcdef";
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  zip.append(bytes.first(2));
  EXPECT_CONTAINS(error_of([&] { zip.end(); }), "got 2 of its 6 bytes");
  EXPECT_CONTAINS(error_of([&] { zip.begin("b", 1); }), "before 'a' has ended");
  EXPECT_CONTAINS(error_of([&] { zip.append(bytes); }), "more than its 6 bytes");
  zip.append(bytes.subspan(2));
  zip.end();
  EXPECT_CONTAINS(error_of([&] { zip.append(bytes); }), "outside a member");
  EXPECT_CONTAINS(error_of([&] { zip.begin("a", 1); }), "twice");
  zip.finish();
  const auto reader = parse(out.str());
  EXPECT_EQ(text_of(reader.content(reader.at("a"), true)), text);
}

TEST(Zip, StoredMembersAreViews) {
  const std::string zip = written({{"a", std::string(100, 'x')}});
  const Bytes bytes = own_bytes(zip, "x.zip");
  const ZipReader reader{Bytes(bytes)};
  const Bytes content = reader.content(reader.at("a"), false);
  EXPECT_GE(content.data.data(), bytes.data.data());
  EXPECT_LT(content.data.data(), bytes.data.data() + bytes.size());
}

TEST(Zip, Inflates) {
  std::string content;
  for (int i = 0; i < 5000; ++i) content += std::to_string(i * i);
  const auto zip = parse(deflated_archive(content, content.size()));
  EXPECT_EQ(text_of(zip.content(zip.at("a"), false)), content);
}

TEST(Zip, BombsAreRefused) {
  const std::string zeros(2 << 20, '\0');
  const std::string zip = deflated_archive(zeros, zeros.size());
  const auto small = parse(zip, 1 << 20);
  EXPECT_CONTAINS(error_of([&] { small.content(small.at("a"), false); }), "the limit is 1048576");
  EXPECT_EQ(parse(zip, 4 << 20).content(parse(zip).at("a"), false).size(), zeros.size());
  EXPECT_CONTAINS(error_of([&] { parse(deflated_archive("hello", 100'000'000)); }), "which no deflate stream can");
  // A wrong size within the possible: the stream is longer or shorter than it says.
  for (const uint64_t size : {4, 6, 1000}) {
    const auto wrong = parse(deflated_archive("hello", size));
    EXPECT_CONTAINS(error_of([&] { wrong.content(wrong.at("a"), false); }), "damaged");
  }
}

TEST(Zip, ChecksumsAreVerifiedOnDemand) {
  std::string zip = written({{"a", "hello"}});
  zip[zip.find("hello")] = 'j';
  const auto reader = parse(zip);
  EXPECT_EQ(text_of(reader.content(reader.at("a"), false)), "jello");
  EXPECT_CONTAINS(error_of([&] { reader.content(reader.at("a"), true); }), "checksum");
}

TEST(Zip, DamagedArchivesSayWhatIsWrong) {
  const std::string good = written({{"a", "hello"}, {"b", "world"}});
  const size_t central = central_of(good), second = central_of(good, central + 1), end = good.size() - 22;
  const auto with = [&](size_t offset, uint64_t value, int bytes) {
    std::string bad = good;
    put(bad, offset, value, bytes);
    return error_of([&] { parse(bad); });
  };
  EXPECT_NO_THROW(parse(good));
  EXPECT_CONTAINS(error_of([] { parse("PK"); }), "only 2 bytes");
  EXPECT_CONTAINS(error_of([] { parse(std::string(100, 'x')); }), "no ZIP directory at the end");
  EXPECT_CONTAINS(error_of([&] { parse(good + "x"); }), "no ZIP directory at the end");
  EXPECT_CONTAINS(with(end + 4, 1, 2), "several disks");
  EXPECT_CONTAINS(with(end + 10, 3, 2), "several disks");  // counts differ
  EXPECT_CONTAINS(with(end + 12, 1, 4), "does not end where the end record begins");
  EXPECT_CONTAINS(with(end + 16, central + 1, 4), "does not end where");
  EXPECT_CONTAINS(with(central, 0, 4), "entry is damaged");
  EXPECT_CONTAINS(with(central + 8, 1, 2), "encrypted");
  EXPECT_CONTAINS(with(central + 10, 14, 2), "method 14");
  EXPECT_CONTAINS(with(central + 28, 1000, 2), "leaves the directory");
  EXPECT_CONTAINS(with(central + 34, 1, 2), "another disk");
  EXPECT_CONTAINS(with(central + 24, 6, 4), "two sizes differ");
  EXPECT_CONTAINS(with(central + 42, 1, 4), "no member begins at offset 1");
  EXPECT_CONTAINS(with(central + 42, 0xfffffffe, 4), "no member begins");
  EXPECT_CONTAINS(with(26, 60000, 2), "header leaves the archive");
  EXPECT_CONTAINS(with(14, 0, 4), "disagree about sizes or checksum");
  EXPECT_CONTAINS(with(30, 'c', 1), "disagree");
  EXPECT_CONTAINS(with(central + 46, 0, 1), "no usable name");
  // Both members point to the first one.
  std::string twice = good;
  put(twice, second + 42, 0, 4);
  twice[second + 46] = 'a';
  put(twice, second + 16, load_le<uint32_t>(std::as_bytes(std::span(good)), central + 16), 4);
  EXPECT_CONTAINS(error_of([&] { parse(twice); }), "overlap");
}

TEST(Zip, MemberLargerThanTheFile) {
  std::string bad = written({{"a", "hello"}});
  const size_t central = central_of(bad);
  for (const size_t offset : {size_t{18}, size_t{22}, central + 20, central + 24}) put(bad, offset, 1'000'000, 4);
  EXPECT_CONTAINS(error_of([&] { parse(bad); }), "says it has 1000000 bytes");
  // The same by way of the 64-bit field.
  std::string wide = written({{"a", "hello"}}, {.zip64 = Zip64::kAlways});
  const size_t extra = central_of(wide) + 46 + 1 + 4;
  put(wide, extra, uint64_t{1} << 63, 8);
  put(wide, extra + 8, uint64_t{1} << 63, 8);
  EXPECT_CONTAINS(error_of([&] { parse(wide); }), "says it has 9223372036854775808 bytes");
}

TEST(Zip, MembersOfTheSameNameAreRefused) {
  std::string zip = written({{"a", "hello"}, {"b", "world"}});
  zip[local_of(zip, 1) + 30] = 'a';
  zip[central_of(zip, central_of(zip) + 1) + 46] = 'a';
  EXPECT_CONTAINS(error_of([&] { parse(zip); }), "'a' stands there twice");
}

TEST(Zip, EveryTruncationAndBitFlipIsHandled) {
  for (const auto& good : {written({{"a", "hello"}, {"b/c", "world"}}, {.alignment = 64}),
                           written({{"a", "hello"}}, {.zip64 = Zip64::kAlways}), deflated_archive("aaaaaaaaaa", 10)}) {
    const auto read_all = [](const std::string& content) {
      const auto zip = parse(content);
      for (const auto& member : zip.members()) zip.content(member, true);
    };
    ASSERT_NO_THROW(read_all(good));
    for (size_t size = 0; size < good.size(); ++size)
      EXPECT_FALSE(accepts([&] { read_all(good.substr(0, size)); })) << size;
    for (size_t bit = 0; bit < good.size() * 8; ++bit) {
      std::string bad = good;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
      accepts([&] { read_all(bad); });
    }
  }
}

TEST(Zip, WriterRefusesBadNames) {
  std::ostringstream out;
  ZipWriter zip(out);
  EXPECT_CONTAINS(error_of([&] { zip.add("", "x"); }), "cannot be the name");
  EXPECT_CONTAINS(error_of([&] { zip.add(std::string("a\0b", 3), "x"); }), "cannot be the name");
}

}  // namespace
}  // namespace crescendo
