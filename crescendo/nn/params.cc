#include "crescendo/nn/params.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "crescendo/core/check.h"
#include "crescendo/core/finite.h"
#include "crescendo/core/rng.h"

namespace crescendo {

namespace {

std::string shape_text(at::IntArrayRef shape) { return concat(shape); }

// FNV-1a.
uint64_t hash_name(const std::string& name) {
  uint64_t h = 0xCBF29CE484222325;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return h;
}

Tensor draw(at::IntArrayRef shape, Init init, uint64_t stream_seed) {
  Tensor t = at::zeros(shape, at::kFloat);
  if (init == Init::kZeros) return t;
  if (init == Init::kOnes) return t.fill_(1);
  const Rng stream(stream_seed, Draw::kOther);
  const auto in_parts = [&](uint64_t words_per_element, const std::function<void(Rng&, std::span<float>)>& fill) {
    constexpr int64_t kPart = 1 << 16;
    at::parallel_for(0, (t.numel() + kPart - 1) / kPart, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        const int64_t first = part * kPart;
        Rng rng = stream;
        fill(rng.seek(static_cast<uint64_t>(first) * words_per_element),
             {t.data_ptr<float>() + first, static_cast<size_t>(std::min(kPart, t.numel() - first))});
      }
    });
  };
  if (init == Init::kNormal002 || init == Init::kNormal1) {
    in_parts(1, [](Rng& rng, std::span<float> values) { rng.fill_normal(values); });
    return init == Init::kNormal002 ? t.mul_(0.02) : t;
  }
  const double fan_out = static_cast<double>(shape[0]), fan_in = static_cast<double>(t.numel()) / fan_out;
  // PyTorch's default for convolutions, kaiming_uniform(a = sqrt 5), is the bound 1 / sqrt(fan_in).
  const double bound = init == Init::kXavierUniform ? std::sqrt(6.0 / (fan_in + fan_out)) : 1.0 / std::sqrt(fan_in);
  in_parts(2, [bound](Rng& rng, std::span<float> values) {
    for (float& v : values) v = static_cast<float>(rng.uniform(-bound, bound));
  });
  return t;
}

}  // namespace

Params Params::random(uint64_t seed, Streams streams) {
  Params p;
  p.seed_ = seed;
  p.streams_ = streams;
  return p;
}

Params Params::outline() {
  Params p;
  p.origin_ = Origin::kOutline;
  return p;
}

Params Params::from(TensorMap source, std::string source_name, std::vector<std::string> ignored) {
  Params p;
  p.origin_ = Origin::kFile;
  p.source_ = std::move(source);
  p.source_name_ = std::move(source_name);
  p.ignored_ = std::move(ignored);
  return p;
}

Tensor Params::add(const std::string& name, at::IntArrayRef shape, Init init) {
  Tensor t;
  if (origin_ == Origin::kRandom) {
    t = draw(shape, init, derive_seed(seed_, streams_ == Streams::kByName ? hash_name(name) : items_.size()));
  } else if (origin_ == Origin::kOutline) {
    t = at::empty(shape, at::device(at::kMeta).dtype(at::kFloat));
  } else if (auto it = source_.find(name); it == source_.end()) {
    problems_.push_back("missing " + name + " " + shape_text(shape));
    t = at::empty({0});
  } else {
    used_.insert(name);
    t = it->second;
    if (t.sizes() != shape)
      problems_.push_back(name + " has shape " + shape_text(t.sizes()) + ", expected " + shape_text(shape));
    else if (!t.is_floating_point())
      problems_.push_back(name + " is not a floating-point tensor");
    else
      check_finite(t, name, source_name_);
  }
  items_.emplace_back(name, t);
  return t;
}

void Params::finish() const {
  std::vector<std::string> problems = problems_;
  for (const auto& [name, tensor] : source_) {
    if (used_.contains(name)) continue;
    const bool ignored =
        std::any_of(ignored_.begin(), ignored_.end(), [&, &n = name](const auto& p) { return n.starts_with(p); });
    if (!ignored) problems.push_back("surplus " + name + " " + shape_text(tensor.sizes()));
  }
  if (problems.empty()) return;
  std::string list;
  for (const std::string& problem : problems) list += "\n  " + problem;
  fail(source_name_, " does not hold the weights of this model:", list);
}

TensorMap Params::map() const { return {items_.begin(), items_.end()}; }

int64_t Params::bytes() const {
  int64_t n = 0;
  for (const auto& item : items_) n += static_cast<int64_t>(item.second.nbytes());
  return n;
}

int64_t Params::count() const {
  int64_t n = 0;
  for (const auto& item : items_) n += item.second.numel();
  return n;
}

void Params::set_requires_grad(bool on) {
  for (auto& item : items_) item.second.set_requires_grad(on);
}

void Params::to(at::Device device, at::ScalarType dtype) {
  for (auto& item : items_)
    if (item.second.device() != device || item.second.scalar_type() != dtype)
      item.second.set_data(item.second.to(device, dtype));
}

}  // namespace crescendo
