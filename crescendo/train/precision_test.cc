#include "crescendo/train/precision.h"

#include <gtest/gtest.h>

#include "crescendo/core/device.h"
#include "tests/support.h"

namespace crescendo {
namespace {

TEST(Precision, IsOneOfThree) {
  for (const char* name : {"fp32", "bf16", "auto"}) EXPECT_NO_THROW(check_precision("train.precision", name)) << name;
  EXPECT_CONTAINS(test::usage_error_of([] { check_precision("train.precision", "fp16"); }),
                  "train.precision must be fp32, bf16 or auto, got 'fp16'");
}

TEST(Precision, AutoIsBf16WhereTheDeviceMultipliesInIt) {
  EXPECT_EQ(training_dtype("auto", at::kCPU), cpu_has_bf16() ? at::kBFloat16 : at::kFloat);
  EXPECT_EQ(training_dtype("auto", at::Device(at::kCUDA, 0)), at::kBFloat16);
}

TEST(Precision, WhatIsNamedIsKeptAndWarnedOfWhereItIsEmulated) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(training_dtype("fp32", at::kCPU), at::kFloat);
  EXPECT_EQ(training_dtype("bf16", at::Device(at::kCUDA, 0)), at::kBFloat16);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  EXPECT_EQ(training_dtype("bf16", at::kCPU), at::kBFloat16);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(said.find("no bf16 products") != std::string::npos, !cpu_has_bf16()) << said;
}

}  // namespace
}  // namespace crescendo
