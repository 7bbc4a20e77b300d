#include "crescendo/metrics/inception_input.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/core/json.h"
#include "crescendo/core/sha256.h"
#include "crescendo/metrics/test_support.h"
#include "tests/support.h"

namespace crescendo {
namespace {

constexpr int64_t kSampled = 9973;  // of the golden file: every so many

// TensorFlow's arithmetic and Pillow's to the last bit; PyTorch's own may change with its version.
TEST(InceptionInput, IsThatOfTheReferences) {
  const Json goldens = read_json("tests/golden/inception.json");
  ASSERT_EQ(goldens.at("inputs").size(), 15u);
  for (const Json& golden : goldens.at("inputs")) {
    const auto width = golden.at("width").get<int64_t>(), height = golden.at("height").get<int64_t>();
    const auto preset = parse_enum<InceptionPreset>(golden.at("preset").get<std::string>(), "preset");
    SCOPED_TRACE(concat(width, " x ", height, " ", enum_name(preset)));
    const Tensor x = inception_input(formula_picture(width, height), preset);
    ASSERT_EQ(x.sizes(), at::IntArrayRef({3, kInceptionSide, kInceptionSide}));
    ASSERT_TRUE(x.is_contiguous());
    const auto expected = golden.at("every_9973rd").get<std::vector<double>>();
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(x.data_ptr<float>()[static_cast<int64_t>(i) * kSampled], expected[i], 1e-6) << "number " << i;
    if (preset == InceptionPreset::kPytorchFid) continue;
    const std::string_view bytes(static_cast<const char*>(x.data_ptr()), static_cast<size_t>(x.nbytes()));
    EXPECT_EQ(sha256(bytes), golden.at("sha256").get<std::string>());
  }
}

// Each preset moves a picture, so that one in place of another would be seen.
TEST(InceptionInput, PresetsDiffer) {
  const Image image = formula_picture(64, 48);
  const Tensor tf = inception_input(image, InceptionPreset::kTf);
  EXPECT_GT(test::relative_l2(inception_input(image, InceptionPreset::kPytorchFid), tf), 0.05);
  EXPECT_GT(test::relative_l2(inception_input(image, InceptionPreset::kClean), tf), 0.05);
}

TEST(InceptionInput, EmptyPicture) {
  EXPECT_NE(test::error_of([] { inception_input(Image(), InceptionPreset::kTf); }).find("empty"), std::string::npos);
}

}  // namespace
}  // namespace crescendo
