#include "crescendo/metrics/statistics_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "crescendo/core/file.h"
#include "crescendo/io/npz.h"
#include "crescendo/metrics/normal_rows.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::normal;
using test::error_of;
using test::relative_l2;
using test::TemporaryDirectory;
using test::usage_error_of;

FeatureStatistics made(const Tensor& pool, const Tensor& spatial) {
  FeatureStatistics out;
  out.pool = mean_covariance(pool);
  out.spatial = mean_covariance(spatial);
  out.identity = {{"network", "inception"}, {"preset", "tf"}, {"weights", {{"sha256", "6726825d"}, {"dtype", "fp32"}}}};
  out.version = "0.1.0";
  out.source = {{"folder", "samples"}};
  out.name = "made.npz";
  return out;
}
FeatureStatistics made(uint64_t seed = 1, int64_t dim = 5) { return made(normal(seed, 40, dim), normal(seed, 40, 3)); }

TEST(StatisticsFile, WhatGoesOutComesBack) {
  TemporaryDirectory folder;
  const FeatureStatistics out = made();
  write_statistics(folder / "s.npz", out);
  const FeatureStatistics back = read_statistics(folder / "s.npz");
  EXPECT_TRUE(at::equal(back.pool.mean, out.pool.mean));
  EXPECT_TRUE(at::equal(back.pool.covariance, out.pool.covariance));
  ASSERT_TRUE(back.spatial.has_value());
  EXPECT_TRUE(at::equal(back.spatial->mean, out.spatial->mean));
  EXPECT_TRUE(at::equal(back.spatial->covariance, out.spatial->covariance));
  EXPECT_EQ(back.pool.count, 40);
  EXPECT_EQ(back.spatial->count, 40);
  EXPECT_EQ(back.identity, out.identity);
  EXPECT_EQ(back.version, "0.1.0");
  EXPECT_EQ(back.source, out.source);
  EXPECT_TRUE(check_comparable(back, out).empty());
  // Other programs find their names and types.
  const TensorMap arrays = read_npz(folder / "s.npz");
  for (const char* name : {"mu", "sigma", "mu_s", "sigma_s"}) EXPECT_EQ(arrays.at(name).scalar_type(), at::kDouble);
}

TEST(StatisticsFile, TakesFilesOfOtherPrograms) {
  TemporaryDirectory folder;
  const FeatureStatistics ours = made();
  // ADM's reference: mu in fp32, pictures besides.
  write_npz(folder / "adm.npz", {{"mu", ours.pool.mean.to(at::kFloat)},
                                 {"sigma", ours.pool.covariance},
                                 {"mu_s", ours.spatial->mean},
                                 {"sigma_s", ours.spatial->covariance},
                                 {"arr_0", at::zeros({2, 4, 4, 3}, at::kByte)}});
  const FeatureStatistics adm = read_statistics(folder / "adm.npz");
  EXPECT_FALSE(adm.known());
  EXPECT_EQ(adm.pool.count, 0);
  EXPECT_LT(relative_l2(adm.pool.mean, ours.pool.mean), 1e-6);
  EXPECT_TRUE(adm.spatial.has_value());
  const auto notes = check_comparable(adm, ours);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_CONTAINS(notes[0], "adm.npz has an unknown identity");
  write_npz(folder / "pytorch_fid.npz", {{"mu", ours.pool.mean}, {"sigma", ours.pool.covariance}});
  EXPECT_FALSE(read_statistics(folder / "pytorch_fid.npz").spatial.has_value());
}

TEST(StatisticsFile, RefusesWhatCannotBeCompared) {
  FeatureStatistics other = made();
  other.name = "other.npz";
  other.identity["preset"] = "pytorch-fid";
  EXPECT_CONTAINS(usage_error_of([&] { check_comparable(made(), other); }),
                  "made.npz and other.npz cannot be compared: their preset differs, \"tf\" and \"pytorch-fid\"");
  other.identity = made().identity;
  other.identity["resize"] = 299;  // one of them does not tell
  EXPECT_CONTAINS(usage_error_of([&] { check_comparable(made(), other); }), "their resize differs");
  // The order of keys means nothing.
  other.identity = {
      {"weights", {{"dtype", "fp32"}, {"sha256", "6726825d"}}}, {"preset", "tf"}, {"network", "inception"}};
  EXPECT_TRUE(check_comparable(made(), other).empty());
  EXPECT_CONTAINS(usage_error_of([&] { check_comparable(made(1, 5), made(1, 6)); }), "features of dimension 5");
  EXPECT_CONTAINS(usage_error_of([&] { check_comparable(made(), made(normal(1, 40, 5), normal(1, 40, 4))); }),
                  "spatial features");
  // Also where nothing is known of one but its dimension.
  FeatureStatistics unknown = made(1, 6);
  unknown.identity = Json();
  EXPECT_CONTAINS(usage_error_of([&] { check_comparable(made(), unknown); }), "of 6");
}

TEST(StatisticsFile, MergedOnesAreThoseOfAllPictures) {
  const Tensor pool = normal(3, 100, 5), spatial = normal(4, 100, 3);
  const auto part = [&](int64_t from, int64_t to) { return made(pool.slice(0, from, to), spatial.slice(0, from, to)); };
  const FeatureStatistics all = made(pool, spatial);
  const FeatureStatistics merged = merge_statistics(merge_statistics(part(0, 30), part(30, 35)), part(35, 100));
  EXPECT_EQ(merged.pool.count, 100);
  EXPECT_LT(relative_l2(merged.pool.mean, all.pool.mean), 1e-12);
  EXPECT_LT(relative_l2(merged.pool.covariance, all.pool.covariance), 1e-12);
  EXPECT_LT(relative_l2(merged.spatial->covariance, all.spatial->covariance), 1e-12);
  EXPECT_EQ(merged.source.size(), 3u);
  EXPECT_EQ(merged.identity, all.identity);

  FeatureStatistics other = part(0, 30);
  other.pool.count = 0;
  EXPECT_CONTAINS(usage_error_of([&] { merge_statistics(all, other); }), "of how many pictures it was made is unknown");
  other = part(0, 30);
  other.identity["preset"] = "clean";
  EXPECT_CONTAINS(usage_error_of([&] { merge_statistics(all, other); }), "their preset differs");
  other = part(0, 30);
  other.identity = Json();
  EXPECT_CONTAINS(usage_error_of([&] { merge_statistics(all, other); }), "of unknown identity");
  other = part(0, 30);
  other.spatial.reset();
  EXPECT_CONTAINS(usage_error_of([&] { merge_statistics(all, other); }), "lacks the spatial features");
}

TEST(StatisticsFile, SaysWhatIsWrongWithAFile) {
  TemporaryDirectory folder;
  const FeatureStatistics ours = made();
  const auto error_with = [&](TensorMap changed) {
    TensorMap arrays = {{"mu", ours.pool.mean}, {"sigma", ours.pool.covariance}};
    for (auto& [name, tensor] : changed) arrays[name] = tensor;
    write_npz(folder / "bad.npz", arrays);
    return error_of([&] { read_statistics(folder / "bad.npz"); });
  };
  const auto description = [](const std::string& text) {
    Tensor bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
    std::memcpy(bytes.data_ptr(), text.data(), text.size());
    return bytes;
  };
  EXPECT_CONTAINS(error_with({{"mu", at::zeros({4}, at::kDouble)}}), "must be (D) and (D, D), got [4] and [5, 5]");
  EXPECT_CONTAINS(error_with({{"mu", at::zeros({5}, at::kLong)}}), "int64");
  EXPECT_CONTAINS(error_with({{"mu", at::full({5}, NAN)}}), "mu");
  EXPECT_CONTAINS(error_with({{"sigma", at::arange(25, at::kDouble).view({5, 5})}}), "is no covariance");
  EXPECT_CONTAINS(error_with({{"sigma", -at::eye(5, at::kDouble)}}), "a variance is negative");
  EXPECT_CONTAINS(error_with({{"crescendo", at::zeros({3})}}), "expected text as bytes");
  EXPECT_CONTAINS(error_with({{"crescendo", description("{")}}), "bad.npz, crescendo");
  EXPECT_CONTAINS(error_with({{"crescendo", description("[]")}}), "lacks 'format'");
  EXPECT_CONTAINS(error_with({{"crescendo", description(R"({"format": "crescendo-statistics-9"})")}}), "is not known");
  EXPECT_CONTAINS(error_with({{"crescendo", description(R"({"format": "crescendo-statistics-1", "count": -1})")}}),
                  "-1");
  write_npz(folder / "samples.npz", {{"arr_0", at::zeros({2, 4, 4, 3}, at::kByte)}});
  EXPECT_CONTAINS(error_of([&] { read_statistics(folder / "samples.npz"); }), "it holds pictures (arr_0)");
}

}  // namespace
}  // namespace crescendo
