#include "crescendo/io/npz.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <sstream>

#include "crescendo/core/file.h"
#include "crescendo/io/test_support.h"

namespace crescendo {
namespace {

std::string npy(const std::string& header, const std::string& data, int version = 1) {
  std::string out = "\x93NUMPY";
  out.push_back(static_cast<char>(version));
  out.push_back('\0');
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) out.push_back(static_cast<char>(header.size() >> (8 * i)));
  return out + header + data;
}
std::string npy_of(const std::string& descr, const std::string& shape, const std::string& data, bool fortran = false) {
  return npy(
      "{'descr': " + descr + ", 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape + ", }\n",
      data);
}
Tensor parse(const std::string& content) { return parse_npy(own_bytes(content, "x.npy")); }
std::string parse_error(const std::string& content) {
  return error_of([&] { parse(content); });
}
template <class T>
std::string raw(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

TEST(Npy, RoundTripOfEveryType) {
  TemporaryDirectory folder;
  for (const auto dtype :
       {at::kHalf, at::kFloat, at::kDouble, at::kChar, at::kShort, at::kInt, at::kLong, at::kByte, at::kBool}) {
    for (const auto& tensor : {at::arange(0, 2).to(dtype), at::arange(0, 2).repeat({3, 4}).to(dtype),
                               at::ones({}, dtype), at::zeros({0, 3}, dtype)}) {
      write_npy(folder / "x.npy", tensor);
      EXPECT_TRUE(identical(read_npy(folder / "x.npy"), tensor)) << describe_tensor(tensor);
    }
  }
}

TEST(Npy, WritesWhatNumPyWrites) {
  TemporaryDirectory folder;
  write_npy(folder / "x.npy", at::tensor({1.0f, 2.0f, 3.0f}));
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
  header += std::string(128 - 10 - 1 - header.size(), ' ') + "\n";
  EXPECT_EQ(read_file(folder / "x.npy"), npy(header, raw<float>({1, 2, 3})));
}

TEST(Npy, VersionsAndOrders) {
  const std::string data = raw<int32_t>({1, 2, 3, 4, 5, 6});
  const Tensor expected = at::arange(1, 7, at::kInt).reshape({2, 3});
  EXPECT_TRUE(identical(parse(npy_of("'<i4'", "(2, 3)", data)), expected));
  EXPECT_TRUE(identical(parse(npy_of("'=i4'", "(2,3)", data)), expected));
  EXPECT_TRUE(identical(parse(npy("{\"shape\": (2, 3,), 'fortran_order':False,'descr':'<i4'}", data, 2)), expected));
  EXPECT_TRUE(identical(parse(npy("{'shape': (2, 3), 'fortran_order': False, 'descr': '<i4', }", data, 3)), expected));
  // Column by column: [[1, 3, 5], [2, 4, 6]].
  const Tensor fortran = parse(npy_of("'<i4'", "(2, 3)", data, /*fortran=*/true));
  EXPECT_TRUE(fortran.is_contiguous());
  EXPECT_TRUE(identical(fortran, at::arange(1, 7, at::kInt).reshape({3, 2}).t()));
}

TEST(Npy, BigEndianIsConverted) {
  EXPECT_TRUE(identical(parse(npy_of("'>i2'", "(2,)", std::string("\x01\x02\xff\xfe", 4))),
                        at::tensor({0x0102, -2}, at::kShort)));
  EXPECT_TRUE(identical(parse(npy_of("'>f8'", "()", std::string("\x3f\xf8\0\0\0\0\0\0", 8))),
                        at::scalar_tensor(1.5, at::kDouble)));
  EXPECT_TRUE(identical(parse(npy_of("'>u1'", "(2,)", "\x01\x02")), at::tensor({1, 2}, at::kByte)));
}

TEST(Npy, ErrorsSayWhatIsWrong) {
  const std::string data(8, '\0');
  EXPECT_CONTAINS(parse_error("hello, world"), "not an .npy array");
  EXPECT_CONTAINS(parse_error(npy("{}", "", 4)), "version 4");
  EXPECT_CONTAINS(parse_error(npy("{}", "")), "must have descr");
  EXPECT_CONTAINS(parse_error(npy("[]", "")), "'{' is missing");
  EXPECT_CONTAINS(parse_error(npy_of("'<f4'", "(2,)", data) + "x"), "has 9 bytes, its shape asks for 8");
  EXPECT_CONTAINS(parse_error(npy_of("'<f4'", "(3,)", data)), "asks for 12");
  EXPECT_CONTAINS(parse_error(npy_of("'<f4'", "(-1,)", data)), "no tuple of sizes");
  EXPECT_CONTAINS(parse_error(npy_of("'<f4'", "(2 3)", data)), "')' is missing");
  EXPECT_CONTAINS(parse_error(npy_of("'<f4'", "(9223372036854775807,)", "")), "more than 2^63");
  EXPECT_CONTAINS(parse_error(npy_of("'<f4'", "(9223372036854775808,)", "")), "no tuple of sizes");
  EXPECT_CONTAINS(parse_error(npy_of("'<f4'", "(0, 4294967296, 4294967296)", "")), "more than 2^63");
  EXPECT_CONTAINS(parse_error(npy_of("'|O'", "(1,)", data)), "dtype '|O'");
  EXPECT_CONTAINS(parse_error(npy_of("'<U2'", "(1,)", data)), "dtype '<U2'");
  EXPECT_CONTAINS(parse_error(npy_of("'<u4'", "(2,)", data)), "dtype '<u4'");
  EXPECT_CONTAINS(parse_error(npy_of("[('a', '<f4')]", "(2,)", data)), "structured");
  EXPECT_CONTAINS(parse_error(npy_of("'|b1'", "(1,)", "\x02")), "neither 0 nor 1");
  EXPECT_CONTAINS(parse_error(npy("{'descr': '<f4', 'descr': '<f4'}", "")), "unexpected key 'descr'");
  EXPECT_CONTAINS(parse_error(npy("{'strides': 3}", "")), "unexpected key 'strides'");
  std::string dims;
  for (int i = 0; i < 65; ++i) dims += "1,";
  EXPECT_CONTAINS(parse_error(npy_of("'<f4'", "(" + dims + ")", "1234")), "more than 64 dimensions");
  TemporaryDirectory folder;
  EXPECT_CONTAINS(error_of([&] { write_npy(folder / "x", at::zeros({2}, at::kBFloat16)); }), "bfloat16");
}

TEST(Npy, EveryTruncationAndBitFlipIsHandled) {
  const std::string good = npy_of("'<f4'", "(2, 3)", raw<float>({1, 2, 3, 4, 5, 6}), true);
  for (size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(accepts([&] { parse(good.substr(0, size)); })) << size;
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    accepts([&] { touch(parse(bad)); });
  }
}

TEST(Npz, RoundTrip) {
  TemporaryDirectory folder;
  const TensorMap tensors = {{"moments", at::arange(0, 24, at::kFloat).reshape({2, 3, 4})},
                             {"moments_flip", at::arange(0, 24, at::kFloat).reshape({4, 6}).t()},
                             {"n", at::scalar_tensor(3, at::kLong)}};
  write_npz(folder / "x.npz", tensors);
  const TensorMap back = read_npz(folder / "x.npz");
  ASSERT_EQ(back.size(), 3u);
  for (const auto& [name, tensor] : tensors) EXPECT_TRUE(identical(tensor, back.at(name))) << name;

  const NpzReader reader = NpzReader::open(folder / "x.npz");
  EXPECT_TRUE(reader.contains("n"));
  EXPECT_FALSE(reader.contains("m"));
  EXPECT_EQ(reader.header("moments").shape, (std::vector<int64_t>{2, 3, 4}));
  EXPECT_CONTAINS(error_of([&] { reader.read("mu"); }), "no array 'mu'; the file has moments, moments_flip, n");
}

TEST(Npz, ArraysInPieces) {
  TemporaryDirectory folder;
  for (const auto zip64 : {Zip64::kWhenNeeded, Zip64::kAlways}) {
    write_file_atomically(folder / "x.npz", [&](std::ostream& out) {
      NpzWriter writer(out, zip64);
      writer.begin("arr_0", at::kByte, {5, 2, 2, 3});
      for (int i = 0; i < 5; ++i) writer.append(at::full({1, 2, 2, 3}, i, at::kByte));
      writer.end();
      writer.add("labels", at::arange(0, 5));
      writer.finish();
    });
    const TensorMap back = read_npz(folder / "x.npz");
    EXPECT_TRUE(identical(back.at("arr_0"), at::arange(0, 5).to(at::kByte).reshape({5, 1, 1, 1}).repeat({1, 2, 2, 3})));
    EXPECT_TRUE(identical(back.at("labels"), at::arange(0, 5)));
  }
  EXPECT_CONTAINS(error_of([&] {
                    write_file_atomically(folder / "y.npz", [](std::ostream& out) {
                      NpzWriter writer(out);
                      writer.begin("a", at::kByte, {4});
                      writer.append(at::zeros({4}));
                    });
                  }),
                  "a piece has dtype float32");
  EXPECT_FALSE(std::filesystem::exists(folder / "y.npz"));
}

TEST(Npz, ChecksumErrorsAreFound) {
  TemporaryDirectory folder;
  write_npz(folder / "x.npz", {{"a", at::full({4}, 1.0f)}});
  std::string content = read_file(folder / "x.npz");
  content[content.find(raw<float>({1.0f})) + 1] ^= 1;
  write_file_atomically(folder / "x.npz", content);
  EXPECT_CONTAINS(error_of([&] { read_npz(folder / "x.npz"); }), "checksum");
  EXPECT_NO_THROW(NpzReader::open(folder / "x.npz").read("a", /*verify=*/false));
}

TEST(Npz, ReadsWhatNumPyWrote) {
  // np.savez_compressed(mu=arange(3.), sigma=eye(2, dtype=f4, order='F')) and arrays of types that are refused.
  const TensorMap back = read_npz("tests/golden/io_numpy.npz");
  EXPECT_TRUE(identical(back.at("mu"), at::arange(0, 3, at::kDouble)));
  EXPECT_TRUE(identical(back.at("sigma"), at::tensor({1.0f, 2.0f, 3.0f, 4.0f}).reshape({2, 2})));
  EXPECT_TRUE(identical(back.at("arr_0"), at::tensor({1, 2}, at::kByte)));
}

}  // namespace
}  // namespace crescendo
