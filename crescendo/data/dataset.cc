#include "crescendo/data/dataset.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/fields.h"
#include "crescendo/core/number.h"
#include "crescendo/core/rng.h"
#include "crescendo/data/captioned.h"
#include "crescendo/data/captions.h"
#include "crescendo/data/image_folder.h"
#include "crescendo/data/shapes_dataset.h"

namespace crescendo {

namespace {

// "count=10,seed=3" behind the name of a built-in set.
std::map<std::string, std::string> parse_settings(const std::string& spec, size_t begin,
                                                  const std::vector<std::string>& known) {
  std::map<std::string, std::string> settings;
  while (begin < spec.size()) {
    const size_t end = std::min(spec.find(',', begin), spec.size());
    const std::string item = spec.substr(begin, end - begin);
    const size_t equals = item.find('=');
    check_usage(equals != std::string::npos, "`data` ", spec, ": '", item, "' should read key=value");
    const std::string key = item.substr(0, equals);
    check_usage(std::find(known.begin(), known.end(), key) != known.end(), "`data` ", spec, ": there is no setting '",
                key, "'", did_you_mean(key, known));
    check_usage(settings.emplace(key, item.substr(equals + 1)).second, "`data` ", spec, ": '", key, "' is given twice");
    begin = end + 1;
  }
  return settings;
}

template <class T>
T number_of(const std::map<std::string, std::string>& settings, const std::string& key, T otherwise,
            const std::string& spec) {
  const auto found = settings.find(key);
  if (found == settings.end()) return otherwise;
  const std::string& text = found->second;
  const std::optional<T> value = parse_number<T>(text);
  check_usage(value.has_value(), "`data` ", spec, ": ", key, " must be a ", std::is_integral_v<T> ? "whole " : "",
              "number, got '", text, "'");
  return *value;
}

bool names(const std::string& spec, const std::string& name) { return spec == name || spec.starts_with(name + ":"); }

}  // namespace

void Dataset::check_index(int64_t index) const {
  check(index >= 0 && index < size(), "the data set has the pictures 0..", size() - 1, ", asked for ", index);
}

LabelledImages Dataset::batch(std::span<const int64_t> indices) const {
  const auto count = static_cast<int64_t>(indices.size());
  std::vector<Tensor> images(indices.size());
  LabelledImages out{{}, at::empty({count}, at::kLong)};
  int64_t* labels = out.labels.data_ptr<int64_t>();
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Sample sample = get(indices[static_cast<size_t>(i)]);
      images[static_cast<size_t>(i)] = std::move(sample.image);
      labels[i] = sample.label;
    }
  });
  out.images = at::stack(images);  // (N, 3, side, side)
  return out;
}

std::unique_ptr<Dataset> open_dataset(const std::string& spec, int64_t side) {
  check_usage(side > 0, "open_dataset: the side must be positive, got ", side);
  check_usage(!spec.empty(), "`data` needs shapes, scenes, a folder or a file of captions");
  if (names(spec, "shapes")) {
    const auto settings = parse_settings(spec, sizeof "shapes", {"count", "seed"});
    return std::make_unique<ShapesDataset>(number_of<int64_t>(settings, "count", 32000, spec),
                                           number_of<uint64_t>(settings, "seed", 0, spec), side);
  }
  if (names(spec, "scenes")) {
    std::vector<std::string> known = {"count", "seed", "split", "free", "single"};
    for (const auto& figure : enum_table(Figure())) known.emplace_back(figure.name);
    const auto settings = parse_settings(spec, sizeof "scenes", known);
    CaptionOptions options;
    for (const auto& figure : enum_table(Figure())) {
      auto& weight = options.weights[static_cast<size_t>(figure.value)];
      weight = number_of<int64_t>(settings, std::string(figure.name), weight, spec);
    }
    if (const auto split = settings.find("split"); split != settings.end())
      options.split = parse_enum<Split>(split->second, "`data` " + spec + ": split");
    options.side = side;
    options.free = number_of<double>(settings, "free", options.free, spec);
    options.single = number_of<double>(settings, "single", options.single, spec);
    return std::make_unique<ScenesDataset>(number_of<int64_t>(settings, "count", 32000, spec),
                                           number_of<uint64_t>(settings, "seed", 0, spec), options);
  }
  const std::filesystem::path path = spec;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return open_image_folder(path, side);
  check_usage(std::filesystem::is_regular_file(path, ignored), "`data` ", spec,
              ": no such folder or file, and no built-in set of that name (shapes, scenes)");
  if (path.extension() == ".jsonl") return open_caption_lines(path, side);
  if (path.extension() == ".json") return open_caption_list(path, side);
  usage_error("`data` ", spec, ": a file of captions ends in .jsonl or .json");
}

std::vector<int64_t> epoch_order(int64_t size, uint64_t seed, int64_t epoch) {
  check(size > 0 && epoch >= 0, "epoch_order: size ", size, ", epoch ", epoch);
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), int64_t{0});
  Rng(derive_seed(seed, static_cast<uint64_t>(epoch)), Draw::kShuffle).shuffle(std::span(order));
  return order;
}

int64_t ImageOrder::index_of(int64_t n) {
  const std::lock_guard lock(mutex_);
  const int64_t epoch = n / size_;
  auto it = orders_.find(epoch);
  if (it == orders_.end()) {
    // A batch may reach over the end of an epoch, so the one before is kept.
    orders_.erase(orders_.begin(), orders_.lower_bound(epoch - 1));
    it = orders_.emplace(epoch, epoch_order(size_, seed_, epoch)).first;
  }
  return it->second[static_cast<size_t>(n % size_)];
}

}  // namespace crescendo
