#include "crescendo/metrics/statistics_file.h"

#include <ATen/ATen.h>

#include <cstring>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/core/finite.h"
#include "crescendo/io/npz.h"

namespace crescendo {

namespace {

constexpr const char* kDescription = "crescendo";  // the array that holds our JSON
constexpr const char* kFormat = "crescendo-statistics-1";

Tensor bytes_of(const std::string& text) {
  Tensor out = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::memcpy(out.data_ptr(), text.data(), text.size());
  return out;
}

// A covariance that is none would still give a number.
MeanCovariance read_pair(const NpzReader& file, const std::string& mean, const std::string& covariance,
                         const std::string& name) {
  MeanCovariance out;
  const auto read = [&](const std::string& array) {
    const Tensor values = file.read(array);
    check(values.is_floating_point(), name, ": '", array, "' is ", describe_tensor(values),
          ", statistics are float32 or float64");
    check_finite(values, array, name);
    return values.to(at::kDouble);
  };
  out.mean = read(mean);
  out.covariance = read(covariance);
  const Tensor& m = out.mean;
  const Tensor& c = out.covariance;
  check(m.dim() == 1 && m.size(0) > 0 && c.dim() == 2 && c.size(0) == m.size(0) && c.size(1) == m.size(0), name, ": '",
        mean, "' and '", covariance, "' must be (D) and (D, D), got ", m.sizes(), " and ", c.sizes());
  const double largest = c.abs().max().item<double>(), uneven = (c - c.t()).abs().max().item<double>();
  check(uneven <= 1e-4 * largest && c.diagonal().min().item<double>() >= 0, name, ": '", covariance,
        "' is no covariance: it is not symmetric, or a variance is negative");
  return out;
}

std::string text_of(const Json& value) { return value.is_null() ? "nothing" : json_text(value); }

// Equal whatever the order of keys.
bool same(const Json& a, const Json& b) { return nlohmann::json(a) == nlohmann::json(b); }

void check_same_dim(const MeanCovariance& a, const MeanCovariance& b, const std::string& name_a,
                    const std::string& name_b, const char* what) {
  check_usage(a.dim() == b.dim(), name_a, " holds ", what, " of dimension ", a.dim(), ", ", name_b, " of ", b.dim(),
              ": they cannot be compared; take statistics of the same features");
}

}  // namespace

void write_statistics(const std::filesystem::path& path, const FeatureStatistics& statistics) {
  const Json description = {{"format", kFormat},
                            {"identity", statistics.identity},
                            {"count", statistics.pool.count},
                            {"version", statistics.version},
                            {"source", statistics.source}};
  TensorMap arrays = {{"mu", statistics.pool.mean},
                      {"sigma", statistics.pool.covariance},
                      {kDescription, bytes_of(json_text(description))}};
  if (statistics.spatial) {
    arrays["mu_s"] = statistics.spatial->mean;
    arrays["sigma_s"] = statistics.spatial->covariance;
  }
  write_npz(path, arrays);
}

FeatureStatistics read_statistics(const std::filesystem::path& path) {
  const NpzReader file = NpzReader::open(path);
  FeatureStatistics out;
  out.name = path.string();
  check(file.contains("mu") && file.contains("sigma"), out.name,
        ": no statistics of pictures: the arrays mu and sigma ", "are missing",
        file.contains("arr_0") ? "; it holds pictures (arr_0), of which statistics can be made" : "");
  out.pool = read_pair(file, "mu", "sigma", out.name);
  if (file.contains("mu_s") && file.contains("sigma_s")) out.spatial = read_pair(file, "mu_s", "sigma_s", out.name);
  if (!file.contains(kDescription)) return out;

  const Tensor bytes = file.read(kDescription);
  check(bytes.scalar_type() == at::kByte && bytes.dim() == 1, out.name, ": '", kDescription, "' is ",
        describe_tensor(bytes), ", expected text as bytes");
  const Json description = parse_json({static_cast<const char*>(bytes.data_ptr()), static_cast<size_t>(bytes.numel())},
                                      out.name + ", " + kDescription);
  const auto value = [&](const char* key) {
    check(description.is_object() && description.contains(key), out.name, ": its description lacks '", key, "'");
    return description.at(key);
  };
  check(value("format") == kFormat, out.name, ": format ", json_text(value("format")), " is not known, expected \"",
        kFormat, "\"");
  check(value("count").is_number_integer() && value("count") >= 0, out.name, ": its count of pictures is ",
        json_text(value("count")));
  check(value("identity").is_object() || value("identity").is_null(), out.name, ": its identity is ",
        json_text(value("identity")), ", expected an object");
  check(value("version").is_string(), out.name, ": its version is ", json_text(value("version")),
        ", expected a string");
  out.identity = value("identity");
  out.version = value("version").get<std::string>();
  out.source = value("source");
  out.pool.count = value("count").get<int64_t>();
  if (out.spatial) out.spatial->count = out.pool.count;
  return out;
}

std::vector<std::string> check_comparable(const FeatureStatistics& a, const FeatureStatistics& b) {
  check_same_dim(a.pool, b.pool, a.name, b.name, "features");
  if (a.spatial && b.spatial) check_same_dim(*a.spatial, *b.spatial, a.name, b.name, "spatial features");
  std::vector<std::string> notes;
  for (const FeatureStatistics* s : {&a, &b})
    if (!s->known())
      notes.push_back(concat(s->name, " has an unknown identity: whether it was made with the same network and ",
                             "preprocessing cannot be checked"));
  if (!notes.empty()) return notes;
  for (const auto& [one, other] : {std::pair{&a, &b}, std::pair{&b, &a}})
    for (const auto& [key, value] : one->identity.items()) {
      const Json theirs = other->identity.contains(key) ? other->identity.at(key) : Json();
      check_usage(same(value, theirs), one->name, " and ", other->name, " cannot be compared: their ", key,
                  " differs, ", text_of(value), " and ", text_of(theirs),
                  "; make the statistics of both in the same way");
    }
  return notes;
}

FeatureStatistics merge_statistics(const FeatureStatistics& a, const FeatureStatistics& b) {
  check_comparable(a, b);
  check_usage(a.known() == b.known(), a.known() ? b.name : a.name,
              ": of unknown identity, it cannot be merged with statistics that have one");
  check_usage(a.spatial.has_value() == b.spatial.has_value(), a.spatial ? b.name : a.name,
              ": it lacks the spatial features that the other file has");
  const auto merged = [](const MeanCovariance& first, const MeanCovariance& second, const std::string& name) {
    check_usage(first.count > 0 && second.count > 0, name, ": of how many pictures it was made is unknown");
    Moments moments(first.dim());
    moments.merge(first);
    moments.merge(second);
    return moments.result();
  };
  FeatureStatistics out = a;
  const std::string& name = a.pool.count > 0 ? b.name : a.name;  // that of an unknown count, if any
  out.pool = merged(a.pool, b.pool, name);
  if (a.spatial) out.spatial = merged(*a.spatial, *b.spatial, name);
  out.source = Json::array();
  for (const FeatureStatistics* part : {&a, &b})
    for (const Json& source : part->source.is_array() ? part->source : Json::array({part->source}))
      out.source.push_back(source);
  out.name = a.name + " + " + b.name;
  return out;
}

}  // namespace crescendo
