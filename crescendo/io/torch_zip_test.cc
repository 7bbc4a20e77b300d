#include "crescendo/io/torch_zip.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <sstream>

#include "crescendo/core/file.h"
#include "crescendo/io/test_support.h"

namespace crescendo {
namespace {

using Kind = PickleValue::Kind;

PickleValue parse(const std::string& content) { return parse_torch_file(own_bytes(content, "x.pth")); }
std::string parse_error(const std::string& content) {
  return error_of([&] { parse(content); });
}

// A checkpoint's archive from its members.
std::string archive_of(const std::vector<std::pair<std::string, std::string>>& members) {
  std::ostringstream out;
  ZipWriter zip(out, {.alignment = 64});
  for (const auto& [name, content] : members) zip.add(name, content);
  zip.finish();
  return out.str();
}

std::string text(const std::string& content) {
  const auto size = static_cast<uint32_t>(content.size());
  return "X" + std::string(reinterpret_cast<const char*>(&size), 4) + content;
}
// {"w": tensor of four elements over storage `key`}
std::string one_tensor(const std::string& type, const std::string& location = "cpu", const std::string& key = "0") {
  return "\x80\x02}" + text("w") + "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\n" + type +
         "\n" + text(key) + text(location) + "K\x04tQK" + std::string(1, '\0') +
         "K\x04\x85K\x01\x85\x89"
         "ccollections\nOrderedDict\n)RtRs.";
}
const std::string kFourFloats(16, '\0');

// Everything that tests/golden/make_torch_files.py puts into its files.
void expect_golden(const PickleValue& root) {
  const TensorMap model = tensors_at(root, "model", "golden");
  const Tensor base = at::arange(24, at::kFloat).reshape({4, 6});
  std::map<std::string, Tensor> expected = {{"base", base},
                                            {"transposed", base.t()},
                                            {"part", base.slice(0, 1, 3).slice(1, 2, 5)},
                                            {"expanded", at::full({3, 2}, 7.f)},
                                            {"bool", at::tensor({1, 0, 1}).to(at::kBool)},
                                            {"scalar", at::scalar_tensor(2.5f)},
                                            {"empty", at::empty({0, 3})}};
  for (const auto dtype :
       {at::kDouble, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kByte})
    expected[dtype_name(dtype)] = at::arange(5).to(dtype);
  ASSERT_EQ(model.size(), expected.size());
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(identical(model.at(name), tensor)) << name;

  // One storage, as it was saved.
  const auto* begin = model.at("base").data_ptr<float>();
  EXPECT_EQ(model.at("transposed").data_ptr<float>(), begin);
  EXPECT_EQ(model.at("transposed").strides(), (std::vector<int64_t>{1, 6}));
  EXPECT_EQ(model.at("part").data_ptr<float>(), begin + 8);
  EXPECT_EQ(model.at("expanded").strides(), (std::vector<int64_t>{0, 0}));

  EXPECT_TRUE(identical(tensors_at(root, "model_ema", "golden").at("w"), at::arange(3, at::kFloat)));  // a Parameter
  const TensorMap module = tensors_at(root, "module", "golden");
  EXPECT_EQ(module.size(), 2u);
  EXPECT_TRUE(identical(module.at("weight"), at::tensor({0.5f, -0.25f}).reshape({1, 2})));
  EXPECT_TRUE(identical(root.find("optimizer")->find("state")->entries()[0].second.find("exp_avg")->as_tensor(),
                        at::ones({2})));

  EXPECT_EQ(args_at(root), Json::parse(R"({"lr": 1e-4, "batch": -3, "big": 1099511627776, "name": "fär", "flag": true,
      "nothing": null, "betas": [0.9, 0.95], "sizes": [1, 2], "device": "cuda:0", "dtype": "torch.float16"})"));
  EXPECT_EQ(root.find("args")->type_name(), "argparse.Namespace");
  EXPECT_EQ(root.find("epoch")->as_int(), 399);
  EXPECT_EQ(root.find("best")->as_number(), 0.125);
  EXPECT_EQ(root.find("count")->as_int(), 7);
  EXPECT_EQ(root.find("shape")->items()[1].as_int(), 3);
  EXPECT_EQ(root.find("names")->items().at(0).as_string(), "only");
  EXPECT_EQ(root.find("raw")->as_string(), std::string("\0\xff", 2));
  EXPECT_EQ(root.find("huge")->as_string(), "0x88f924eeceeda7fe92e1f5b1");  // 3^60
}

TEST(TorchZip, ReadsWhatPyTorchWrote) { expect_golden(read_torch_file("tests/golden/io_zip.pth")); }
TEST(TorchLegacy, ReadsWhatPyTorchWrote) { expect_golden(read_torch_file("tests/golden/io_legacy.pth")); }

TEST(TorchFiles, EveryTruncationIsAnError) {
  for (const char* name : {"tests/golden/io_zip.pth", "tests/golden/io_legacy.pth"}) {
    const std::string whole = read_file(name);
    for (size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(parse_error(whole.substr(0, size)).empty());
  }
}

TEST(TorchFiles, EveryDamagedByteIsHandled) {
  for (const char* name : {"tests/golden/io_zip.pth", "tests/golden/io_legacy.pth"}) {
    std::string content = read_file(name);
    size_t refused = 0;
    for (char& byte : content) {
      const char before = byte;
      byte = static_cast<char>(byte ^ 0xff);
      refused += !accepts([&] {
        for (const char* key : {"model", "module"})
          for (const auto& entry : tensors_at(parse(content), key, "x.pth")) touch(entry.second);
      });
      byte = before;
    }
    EXPECT_GT(refused, content.size() / 8);
  }
}

TEST(TorchZip, AnyFolderAndAnyDevice) {
  for (const char* location : {"cpu", "cuda:3", "mps", "xla:0"})
    EXPECT_TRUE(identical(parse(archive_of({{"odd name/data.pkl", one_tensor("FloatStorage", location)},
                                            {"odd name/data/0", kFourFloats}}))
                              .find("w")
                              ->as_tensor(),
                          at::zeros({4})));
}

TEST(TorchZip, SaysWhatIsWrong) {
  const std::string pickle = one_tensor("FloatStorage");
  const auto error = [](const std::vector<std::pair<std::string, std::string>>& members) {
    return parse_error(archive_of(members));
  };
  EXPECT_CONTAINS(error({{"a/data.pkl", pickle}}), "storage 'a/data/0' is missing");
  EXPECT_CONTAINS(error({{"a/data.pkl", pickle}, {"a/data/0", "123"}}), "has 3 bytes, 4 elements of float32 take 16");
  EXPECT_CONTAINS(error({{"a/other", pickle}}), "no FOLDER/data.pkl");
  EXPECT_CONTAINS(error({{"a/b/data.pkl", pickle}}), "no FOLDER/data.pkl");
  EXPECT_CONTAINS(error({{"a/data.pkl", pickle}, {"b/data.pkl", pickle}}), "two pickles, a/data.pkl and b/data.pkl");
  EXPECT_CONTAINS(error({{"a/data.pkl", pickle}, {"a/constants.pkl", ""}}), "TorchScript");
  EXPECT_CONTAINS(error({{"a/data.pkl", pickle}, {"a/byteorder", "big"}, {"a/data/0", kFourFloats}}), "'big'");
  EXPECT_CONTAINS(error({{"a/data.pkl", one_tensor("BoolStorage")}, {"a/data/0", "\1\1\2\1"}}), "neither 0 nor 1");
  EXPECT_CONTAINS(error({{"a/data.pkl", one_tensor("FloatStorage", "cpu", "../../0")}}), "is missing");
  EXPECT_CONTAINS(error({{"a/data.pkl", "cos\nsystem\n."}}), "'os.system'");
}

// Tensors of types that are not read lie among others, in both forms of file.
TEST(TorchFiles, TensorsOfOtherTypesArePassedOver) {
  const std::string head("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.", 25);
  const std::string pickle = one_tensor("ComplexFloatStorage"), four("\4\0\0\0\0\0\0\0", 8);
  for (const std::string& file : {archive_of({{"a/data.pkl", pickle}, {"a/data/0", std::string(32, '\0')}}),
                                  head + pickle + "]" + text("0") + "a." + four + std::string(32, '\0')})
    EXPECT_EQ(parse(file).find("w")->as_string(), "torch.ComplexFloatStorage");
}

TEST(TorchZip, ACutDownloadTellsHowMuchIsMissing) {
  // The archive as PyTorch lays it out: the pickle first, the directory last.
  const std::string whole = archive_of({{"a/data.pkl", one_tensor("FloatStorage")}, {"a/data/0", kFourFloats}});
  const std::string cut = whole.substr(0, whole.find("a/data/0"));
  EXPECT_CONTAINS(parse_error(cut), concat("cut short: it has ", cut.size(), " bytes and should have more than "));
  EXPECT_CONTAINS(parse_error(whole.substr(0, 10)), "it has 10 bytes and should have more than 10");
  // The pickle ends before the padding of what follows it.
  const size_t end = whole.find(one_tensor("FloatStorage")) + one_tensor("FloatStorage").size();
  EXPECT_CONTAINS(parse_error(whole.substr(0, end)),
                  concat("has ", end, " bytes and should have more than ", end + 16));
}

TEST(TorchFiles, WholeObjectsAreRefusedByName) {
  const std::string net = "cfoo\nNet\n)\x81}U\1aK\1sb.";
  EXPECT_CONTAINS(parse_error(archive_of({{"a/data.pkl", net}})), "an object of 'foo.Net', which is not executed");
  EXPECT_CONTAINS(parse_error("\x80\x03]."), "a Python pickle, but the magic number is missing");
}

TEST(TorchFiles, WrongMagicIsNamed) {
  EXPECT_CONTAINS(parse_error(""), "not a PyTorch checkpoint");
  EXPECT_CONTAINS(parse_error("GIF89a"), "neither a ZIP archive nor PyTorch's older stream");
  EXPECT_CONTAINS(parse_error(std::string(257, '\0') + "ustar" + std::string(250, '\0')), "tar archive");
  EXPECT_CONTAINS(error_of([] { parse_torch_legacy(own_bytes("\x80\x02K\1.", "x")); }), "magic number is missing");
}

TEST(TorchLegacy, StoragesMustMatchTheObject) {
  const std::string head("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.", 25);
  const std::string object = one_tensor("FloatStorage"), keys = "]" + text("0") + "a.";
  const std::string four("\4\0\0\0\0\0\0\0", 8), five("\5\0\0\0\0\0\0\0", 8), minus(8, '\xff');
  EXPECT_TRUE(identical(parse(head + object + keys + four + kFourFloats).find("w")->as_tensor(), at::zeros({4})));
  EXPECT_CONTAINS(parse_error(head + object + "]."), "used but not listed");
  EXPECT_CONTAINS(parse_error(head + object + keys + five + kFourFloats + "1234"), "has 5 elements, 4 were announced");
  EXPECT_CONTAINS(parse_error(head + object + keys + minus + kFourFloats), "has -1 elements");
  EXPECT_CONTAINS(parse_error(head + object + keys + four + kFourFloats + "1"), "1 bytes after the last storage");
  EXPECT_CONTAINS(parse_error(head + object + "]" + text("1") + "a." + four + kFourFloats), "listed but not used");
  EXPECT_CONTAINS(
      parse_error(head + object + "](" + text("0") + text("0") + "e." + four + kFourFloats + four + kFourFloats),
      "listed twice");
}

TEST(TorchZipWriter, ThereAndBackIsBitExact) {
  TemporaryDirectory folder;
  const TensorMap golden = tensors_at(read_torch_file("tests/golden/io_zip.pth"), "model", "golden");
  write_torch_zip(folder / "x.pth",
                  PickleValue::dict({{PickleValue::string("model"), PickleValue::state_dict(golden)}}));
  const TensorMap back = tensors_at(read_torch_file(folder / "x.pth"), "model", "x.pth");
  ASSERT_EQ(back.size(), golden.size());
  for (const auto& [name, tensor] : golden) {
    EXPECT_TRUE(identical(back.at(name), tensor)) << name;
    EXPECT_TRUE(back.at(name).is_contiguous()) << name;
    // Mapped in place: what PyTorch aligns to 64 bytes in the file is so in memory.
    if (tensor.numel() > 0) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(back.at(name).data_ptr()) % 64, 0u) << name;
    }
  }
}

TEST(TorchZipWriter, TiedWeightsStayTied) {
  TemporaryDirectory folder;
  const Tensor tied = at::arange(6, at::kFloat);
  write_torch_zip(folder / "x.pth", PickleValue::state_dict({{"a", tied}, {"b", tied}, {"part", tied.slice(0, 0, 3)}}));
  const TensorMap back = tensors_at(read_torch_file(folder / "x.pth"), "", "x.pth");
  EXPECT_EQ(back.at("a").data_ptr(), back.at("b").data_ptr());
  EXPECT_NE(back.at("a").data_ptr(), back.at("part").data_ptr());
}

TEST(TorchFiles, TensorsAtNamesTheKeysThereAre) {
  const PickleValue root = read_torch_file("tests/golden/io_zip.pth");
  EXPECT_CONTAINS(error_of([&] { tensors_at(root, "ema", "io_zip.pth"); }),
                  "no dict 'ema' among the keys model, model_ema");
  EXPECT_CONTAINS(error_of([&] { tensors_at(root, "args", "io_zip.pth"); }), "holds no tensors");
  EXPECT_EQ(args_at(root, "nothing"), Json());
}

TEST(TorchFiles, Fixtures) {
  CRESCENDO_NEEDS_SHARED("fixtures/far_micro");
  for (const char* name : {"far_micro", "mar_micro", "t2i_micro"}) {
    const PickleValue root = read_torch_file(test::shared_path(concat("fixtures/", name, "/checkpoint-last.pth")));
    const TensorMap raw = tensors_at(root, "model", name), ema = tensors_at(root, "model_ema", name);
    ASSERT_EQ(raw.size(), ema.size());
    for (const auto& [key, tensor] : raw) EXPECT_EQ(tensor.sizes(), ema.at(key).sizes()) << key;
    EXPECT_EQ(ema.at("mask_token").sizes(), (std::vector<int64_t>{1, 1, 64}));
    EXPECT_TRUE(args_at(root).is_object()) << name;
  }
  const TensorMap vae = tensors_at(read_torch_file(test::shared_path("fixtures/vae_micro/kl16.ckpt")), "model", "vae");
  EXPECT_EQ(vae.at("quant_conv.weight").sizes(), (std::vector<int64_t>{32, 32, 1, 1}));
}

}  // namespace
}  // namespace crescendo
