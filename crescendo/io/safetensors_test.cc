#include "crescendo/io/safetensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "crescendo/core/file.h"
#include "crescendo/core/json.h"
#include "crescendo/io/test_support.h"

namespace crescendo {
namespace {

// A file of the given header text and data.
std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

Safetensors parse(const std::string& content) { return parse_safetensors(own_bytes(content, "x.safetensors")); }

std::string parse_error(const std::string& header, const std::string& data) {
  return error_of([&] { parse(file_of(header, data)); });
}

TensorMap sample_tensors() {
  TensorMap tensors;
  int i = 0;
  for (const auto dtype :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kByte})
    tensors["t" + std::to_string(i++)] = at::arange(0, 15).to(dtype).reshape({3, 5});
  tensors["a bool"] = at::arange(0, 7).remainder(2).to(at::kBool);
  tensors["empty"] = at::empty({0, 4});
  tensors["scalar"] = at::scalar_tensor(2.5f);
  tensors["\"quoted\" \xc3\xa9\n"] = at::ones({3}, at::kByte);
  tensors["special"] = at::tensor({std::numeric_limits<float>::quiet_NaN(), -0.0f,
                                   std::numeric_limits<float>::infinity(), std::numeric_limits<float>::denorm_min()});
  return tensors;
}

TEST(Safetensors, RoundTripIsBitExact) {
  TemporaryDirectory folder;
  const TensorMap tensors = sample_tensors();
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"config", "{\"a\": 1}"}};
  write_safetensors(folder / "x.safetensors", tensors, metadata);
  const Safetensors back = read_safetensors(folder / "x.safetensors");
  EXPECT_EQ(back.metadata, metadata);
  ASSERT_EQ(back.tensors.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) EXPECT_TRUE(identical(tensor, back.tensors.at(name))) << name;
}

TEST(Safetensors, WritesAnAlignedHeaderWithSortedKeys) {
  TemporaryDirectory folder;
  write_safetensors(folder / "x.safetensors", {{"b", at::ones({3}, at::kByte)}, {"a", at::ones({2})}});
  const std::string content = read_file(folder / "x.safetensors");
  const auto size = *reinterpret_cast<const uint64_t*>(content.data());
  EXPECT_EQ(size % 8, 0u);
  EXPECT_EQ(
      content.substr(8, size).substr(0, 109),
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})"
      "  ");
  EXPECT_EQ(content.size(), 8 + size + 11);
}

TEST(Safetensors, StridedTensorsAreWrittenDense) {
  TemporaryDirectory folder;
  const Tensor t = at::arange(0, 12, at::kFloat).reshape({3, 4}).t();
  write_safetensors(folder / "x.safetensors", {{"t", t}});
  EXPECT_TRUE(identical(read_safetensors(folder / "x.safetensors").tensors.at("t"), t));
}

TEST(Safetensors, TensorsOutliveTheFile) {
  TemporaryDirectory folder;
  Tensor t;
  {
    write_safetensors(folder / "x.safetensors", {{"t", at::full({1000}, 3.0f)}});
    t = read_safetensors(folder / "x.safetensors").tensors.at("t");
    std::filesystem::remove(folder / "x.safetensors");
  }
  EXPECT_EQ(t.sum().item<float>(), 3000.0f);
}

TEST(Safetensors, WritingToTheMappedTensorsDoesNotReachTheFile) {
  TemporaryDirectory folder;
  write_safetensors(folder / "x.safetensors", {{"t", at::zeros({4})}});
  read_safetensors(folder / "x.safetensors").tensors.at("t").fill_(7);
  EXPECT_EQ(read_safetensors(folder / "x.safetensors").tensors.at("t").sum().item<float>(), 0.0f);
}

TEST(Safetensors, UnalignedDataIsCopied) {
  // Header of odd length: the data begins at an odd address.
  std::string header = R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  for (int padding = 0; padding < 8; ++padding, header += ' ') {
    const float values[2] = {1.5f, -2.0f};
    const auto file = parse(file_of(header, std::string(reinterpret_cast<const char*>(values), 8)));
    const Tensor t = file.tensors.at("t");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(t.data_ptr()) % alignof(float), 0u);
    EXPECT_EQ(t[0].item<float>(), 1.5f);
    EXPECT_EQ(t[1].item<float>(), -2.0f);
  }
}

TEST(Safetensors, HeaderErrorsSayWhatIsWrong) {
  EXPECT_CONTAINS(error_of([] { parse(""); }), "not a safetensors file");
  EXPECT_CONTAINS(error_of([] { parse(std::string(8, '\xff')); }), "above the limit");
  EXPECT_CONTAINS(error_of([] { parse(std::string("\x40\0\0\0\0\0\0\0{}", 10)); }), "exceeds the file's 10 bytes");
  EXPECT_CONTAINS(parse_error("[]", ""), "must begin with '{'");
  EXPECT_CONTAINS(parse_error("{\"a\":", ""), "not valid JSON at byte");
  EXPECT_CONTAINS(parse_error("{} {}", ""), "not valid JSON");
  EXPECT_CONTAINS(parse_error("{\"a\":3}", ""), "'a' must be an object");
  EXPECT_CONTAINS(parse_error(R"({"a":{"dtype":"F32","shape":[]}})", ""),
                  "must have dtype, shape and two data_offsets");
  EXPECT_CONTAINS(parse_error(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0]}})", ""), "two data_offsets");
  EXPECT_CONTAINS(parse_error(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4,8]}})", "1234"), "two numbers");
  EXPECT_CONTAINS(parse_error(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "1234"), "negative");
  EXPECT_CONTAINS(parse_error(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "1234"), "1.0");
  EXPECT_CONTAINS(parse_error(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", "1234"), "a list");
  EXPECT_CONTAINS(parse_error(R"({"a":{"dtype":"F8_E5M2","shape":[4],"data_offsets":[0,4]}})", "1234"),
                  "unknown dtype 'F8_E5M2'");
  EXPECT_CONTAINS(parse_error(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"extra":1}})", "1"),
                  "unknown key 'extra'");
  EXPECT_CONTAINS(parse_error(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "1"), "twice");
  EXPECT_CONTAINS(parse_error(R"({"__metadata__":{"a":1}})", ""), "must be a string");
  EXPECT_CONTAINS(parse_error(R"({"__metadata__":{"a":"1","a":"2"}})", ""), "twice");
  EXPECT_CONTAINS(parse_error(R"({"__metadata__":{},"__metadata__":{}})", ""), "twice");
}

TEST(Safetensors, OffsetErrorsSayWhatIsWrong) {
  const auto two = [](const char* a, const char* b) {
    return std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + a +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  EXPECT_NO_THROW(parse(file_of(two("[0,4]", "[4,8]"), "12345678")));
  EXPECT_NO_THROW(parse(file_of(two("[4,8]", "[0,4]"), "12345678")));
  EXPECT_CONTAINS(parse_error(two("[0,4]", "[2,6]"), "123456"), "inside the tensor before it");
  EXPECT_CONTAINS(parse_error(two("[0,4]", "[0,4]"), "1234"), "inside the tensor before it");
  EXPECT_CONTAINS(parse_error(two("[0,4]", "[5,9]"), "123456789"), "hole after byte 4");
  EXPECT_CONTAINS(parse_error(two("[1,5]", "[5,9]"), "123456789"), "hole after byte 0");
  EXPECT_CONTAINS(parse_error(two("[0,4]", "[4,8]"), "123456789"), "1 bytes after the last tensor");
  EXPECT_CONTAINS(parse_error(two("[0,4]", "[4,8]"), "1234567"), "leave the 7 bytes");
  EXPECT_CONTAINS(parse_error(two("[4,0]", "[4,8]"), "12345678"), "leave the");
  EXPECT_CONTAINS(parse_error(two("[0,3]", "[3,7]"), "1234567"), "ask for 4 bytes, data_offsets give 3");
  EXPECT_CONTAINS(parse_error(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                              R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                              "12"),
                  "twice");
  EXPECT_CONTAINS(parse_error(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", "\x02"), "neither 0 nor 1");
}

TEST(Safetensors, ElementCountsThatOverflowAreRefused) {
  const auto with_shape = [](const std::string& shape) {
    return parse_error(R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,0]}})", "");
  };
  EXPECT_CONTAINS(with_shape("[9223372036854775808]"), "does not fit in 63 bits");                // 2^63
  EXPECT_CONTAINS(with_shape("[4294967296,4294967296]"), "more elements than 63 bits");           // 2^64 wraps to 0
  EXPECT_CONTAINS(with_shape("[4611686018427387904]"), "more elements than 63 bits");             // 2^62 floats
  EXPECT_CONTAINS(with_shape("[0,4294967296,4294967296]"), "more elements than 63 bits");         // hidden by a zero
  EXPECT_CONTAINS(with_shape("[18446744073709551616]"), "18446744073709551616 stands in shape");  // 2^64
  std::string dims = "[1";
  for (int i = 0; i < 64; ++i) dims += ",1";
  EXPECT_CONTAINS(with_shape(dims + "]"), "more than 64 dimensions");
}

TEST(Safetensors, EveryTruncationAndBitFlipIsHandled) {
  TemporaryDirectory folder;
  write_safetensors(folder / "x",
                    {{"w", at::arange(0, 6, at::kFloat).reshape({2, 3})}, {"m", at::ones({3}, at::kBool)}},
                    {{"k", "v"}});
  const std::string good = read_file(folder / "x");
  for (size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(accepts([&] { parse(good.substr(0, size)); })) << size;
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    accepts([&] {
      for (const auto& entry : parse(bad).tensors) touch(entry.second);
    });
  }
}

TEST(Safetensors, TypesThatAreNotReadMayBePassedOver) {
  const std::string content = file_of(
      R"({"a":{"dtype":"U16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[],"data_offsets":[4,8]},)"
      R"("c":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[8,9]}})",
      std::string(9, '\0'));
  const Safetensors file = parse_safetensors(own_bytes(content, "x"), UnreadTypes::kPassOver);
  EXPECT_EQ(file.tensors.size(), 1u);
  EXPECT_EQ(file.unread, (std::map<std::string, std::string>{{"a", "U16"}, {"c", "F8_E4M3"}}));
  const std::string wrong = file_of(R"({"a":{"dtype":"U16","shape":[3],"data_offsets":[0,4]}})", "1234");
  EXPECT_CONTAINS(error_of([&] { parse_safetensors(own_bytes(wrong, "x"), UnreadTypes::kPassOver); }),
                  "ask for 6 bytes");
  EXPECT_CONTAINS(error_of([&] { parse(content); }), "unknown dtype 'U16'");
}

TEST(Safetensors, WhatIsNoneIsNamed) {
  EXPECT_CONTAINS(error_of([] { parse("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n"); }),
                  "a Git LFS pointer, not the file itself of 123 bytes; fetch that, e.g. with `git lfs pull`");
  EXPECT_CONTAINS(error_of([] { parse("<!DOCTYPE html><html>"); }), "a web page");
  const std::string header = R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})";
  EXPECT_CONTAINS(parse_error(header, "1234"),
                  concat("it has ", 8 + header.size() + 4, " bytes, its header announces ", 8 + header.size() + 9));
}

TEST(Safetensors, WriterRefusesWhatTheFormatCannotHold) {
  TemporaryDirectory folder;
  const auto write = [&](const TensorMap& tensors, const std::map<std::string, std::string>& metadata = {}) {
    return error_of([&] { write_safetensors(folder / "x", tensors, metadata); });
  };
  EXPECT_CONTAINS(write({{"c", at::zeros({2}, at::kComplexFloat)}}), "'c'");
  EXPECT_CONTAINS(write({{"u", Tensor()}}), "undefined");
  EXPECT_CONTAINS(write({{"__metadata__", at::zeros({2})}}), "cannot be the name");
  EXPECT_CONTAINS(write({{"\xff", at::zeros({2})}}), "UTF-8");
  EXPECT_CONTAINS(write({}, {{"k", "\xc3"}}), "UTF-8");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, ShardedModels) {
  TemporaryDirectory folder;
  write_safetensors(folder / "a.safetensors", {{"x", at::ones({2})}, {"y", at::zeros({2})}}, {{"format", "pt"}});
  write_safetensors(folder / "b.safetensors", {{"z", at::full({2}, 3)}});
  const auto index = folder / "model.safetensors.index.json";
  Json map = {{"x", "a.safetensors"}, {"y", "a.safetensors"}, {"z", "b.safetensors"}};
  write_json(index, {{"metadata", {{"total_size", 24}}}, {"weight_map", map}});
  for (const auto& path : {folder.path(), index}) {
    const auto model = read_safetensors(path);
    EXPECT_EQ(model.tensors.size(), 3u);
    EXPECT_EQ(model.metadata.at("format"), "pt");
    EXPECT_EQ(model.tensors.at("z").sum().item<float>(), 6.0f);
  }
  map["w"] = "b.safetensors";
  write_json(index, {{"weight_map", map}});
  EXPECT_CONTAINS(error_of([&] { read_safetensors(index); }), "'w' is not in its shard b.safetensors");
  map["w"] = "../b.safetensors";
  write_json(index, {{"weight_map", map}});
  EXPECT_CONTAINS(error_of([&] { read_safetensors(index); }), "plain file name");
  map["w"] = "c.safetensors";
  write_json(index, {{"weight_map", map}});
  EXPECT_CONTAINS(error_of([&] { read_safetensors(index); }), "shard c.safetensors is missing");
  write_json(index, Json::array());
  EXPECT_CONTAINS(error_of([&] { read_safetensors(index); }), "weight_map");
}

TEST(Safetensors, FoldersAndMissingFiles) {
  TemporaryDirectory folder;
  EXPECT_CONTAINS(error_of([&] { read_safetensors(folder.path()); }), "holds no safetensors file");
  EXPECT_CONTAINS(error_of([&] { read_safetensors(folder / "none.safetensors"); }), "none.safetensors");
  write_safetensors(folder / "one.safetensors", {{"x", at::ones({2})}});
  EXPECT_EQ(read_safetensors(folder.path()).tensors.size(), 1u);
  write_safetensors(folder / "two.safetensors", {{"x", at::ones({2})}});
  EXPECT_CONTAINS(error_of([&] { read_safetensors(folder.path()); }), "2 safetensors files");
  write_safetensors(folder / "diffusion_pytorch_model.safetensors", {{"y", at::ones({2})}});
  EXPECT_EQ(read_safetensors(folder.path()).tensors.begin()->first, "y");
}

TEST(Safetensors, ReadsTheFixtures) {
  CRESCENDO_NEEDS_SHARED("fixtures");
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(test::shared_path("fixtures"))) {
    if (entry.path().extension() != ".safetensors") continue;
    const auto file = read_safetensors(entry.path());
    EXPECT_FALSE(file.tensors.empty()) << entry.path();
    EXPECT_LE(static_cast<uint64_t>(total_bytes(file.tensors)), std::filesystem::file_size(entry.path()));
    for (const auto& tensor : file.tensors) touch(tensor.second);
    ++files;
  }
  EXPECT_GT(files, 0);
}

TEST(TensorMap, Helpers) {
  const TensorMap tensors = {
      {"ema.a", at::ones({2, 3})}, {"ema.b", at::ones({4}, at::kHalf)}, {"model.a", at::ones({1})}};
  const auto ema = with_prefix_removed(tensors, "ema.");
  ASSERT_EQ(ema.size(), 2u);
  EXPECT_EQ(ema.at("b").numel(), 4);
  EXPECT_EQ(total_numel(tensors), 11);
  EXPECT_EQ(total_bytes(tensors), 36);
  EXPECT_EQ(describe_tensor(ema.at("a")), "float32 [2, 3]");
  EXPECT_CONTAINS(error_of([&] { get_tensor(tensors, "ema.aa", "x.pth"); }), "the nearest is 'ema.a'");
}

}  // namespace
}  // namespace crescendo
