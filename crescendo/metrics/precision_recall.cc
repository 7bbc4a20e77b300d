#include "crescendo/metrics/precision_recall.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <map>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

Tensor rounded16(const Tensor& x) { return x.to(at::kHalf).to(at::kFloat); }

// |u|^2 - 2 u.v + |v|^2, (N1, N2) in fp32.
Tensor squared_distances(const Tensor& u, const Tensor& v) {
  const Tensor norm_u = u.square().sum(1, /*keepdim=*/true), norm_v = v.square().sum(1);
  return u.mm(v.t()).mul_(-2).add_(norm_u).add_(norm_v).clamp_min_(0);
}

// The same with every result rounded to fp16, as ADM's graph computes it; products are summed in fp32.
Tensor squared_distances_adm(const Tensor& u, const Tensor& v) {
  const Tensor u16 = rounded16(u), v16 = rounded16(v);
  const auto norm = [](const Tensor& x, bool keep) { return rounded16(rounded16(x.square()).sum(1, keep)); };
  const Tensor products = rounded16(u16.mm(v16.t())).mul_(-2);
  const Tensor out = rounded16(rounded16(norm(u16, true) + products) + norm(v16, false)).clamp_min_(0);
  return at::isfinite(out).all().item<bool>() ? out : squared_distances(u, v);
}

// Blocks of the distances between two sets, and what is gathered of them.
class Distances {
 public:
  Distances(const FeatureMatrix& real, const PrecisionRecallOptions& options) : options_(options) {
    // Distances do not change when both sets are moved; near the origin fp32 keeps more of them.
    if (options.distance == NeighbourDistance::kFp32)
      origin_ = real.rows(0, std::min(real.count(), options.block)).mean(0).to(options.device);
  }

  // `visit` gets (rows of a, rows of b) and where they begin.
  void each_block(const FeatureMatrix& a, const FeatureMatrix& b,
                  const std::function<void(const Tensor&, int64_t, int64_t)>& visit) const {
    for (int64_t i = 0; i < a.count(); i += options_.block) {
      const Tensor u = taken(a, i);
      for (int64_t j = 0; j < b.count(); j += options_.block) {
        const Tensor v = taken(b, j);
        visit(options_.distance == NeighbourDistance::kFp32 ? squared_distances(u, v) : squared_distances_adm(u, v), i,
              j);
      }
    }
  }

  // Squared distance of each to its k-th neighbour in its own set, (N).
  Tensor radii(const FeatureMatrix& set) const {
    std::vector<Tensor> out;
    Tensor nearest;  // (rows, at most k + 1): the smallest so far, each feature's distance to itself among them
    each_block(set, set, [&](Tensor d, int64_t i, int64_t j) {
      if (i == j) d.fill_diagonal_(-1);  // below any other, even where rounding or a twin would hide it
      if (j > 0) d = at::cat({nearest, d}, 1);
      nearest = std::get<0>(d.topk(std::min(options_.k + 1, d.size(1)), 1, /*largest=*/false, /*sorted=*/false));
      if (j + options_.block >= set.count()) out.push_back(nearest.amax(1));
    });
    return at::cat(out);
  }

 private:
  Tensor taken(const FeatureMatrix& set, int64_t begin) const {
    const Tensor rows = set.rows(begin, std::min(begin + options_.block, set.count())).to(options_.device);
    return origin_.defined() ? rows - origin_ : rows;
  }

  const PrecisionRecallOptions& options_;
  Tensor origin_;  // (D)
};

int64_t count_of(const Tensor& flags) { return flags.sum().item<int64_t>(); }

}  // namespace

PrecisionRecall precision_recall(const FeatureMatrix& real, const FeatureMatrix& generated,
                                 const PrecisionRecallOptions& options) {
  const int64_t k = options.k;
  check_usage(k >= 1, "precision and recall need `k` of at least 1, got ", k);
  check_usage(options.block >= 1, "blocks of distances need at least 1 feature, got ", options.block);
  check_usage(real.dim() == generated.dim(), real.name(), " has features of dimension ", real.dim(), ", ",
              generated.name(), " of ", generated.dim(), ": they cannot be compared");
  for (const FeatureMatrix* set : {&real, &generated})
    check_usage(set->count() > k, set->name(), ": precision and recall with ", k, " neighbours need at least ", k + 1,
                " pictures, got ", set->count());

  const Distances distances(real, options);
  const Tensor real_radii = distances.radii(real), generated_radii = distances.radii(generated);
  const auto flags = at::TensorOptions(options.device).dtype(at::kBool);
  const Tensor precise = at::zeros({generated.count()}, flags);
  const Tensor recalled = at::zeros({real.count()}, flags), covered = at::zeros({real.count()}, flags);
  int64_t held = 0;  // pairs of a real ball and a generated feature inside it
  distances.each_block(real, generated, [&](const Tensor& d, int64_t i, int64_t j) {
    const int64_t rows = d.size(0), columns = d.size(1);
    const Tensor in_real = d <= real_radii.narrow(0, i, rows).unsqueeze(1);
    const Tensor in_generated = d <= generated_radii.narrow(0, j, columns);
    precise.narrow(0, j, columns).logical_or_(in_real.any(0));
    covered.narrow(0, i, rows).logical_or_(in_real.any(1));
    recalled.narrow(0, i, rows).logical_or_(in_generated.any(1));
    held += count_of(in_real);
  });

  PrecisionRecall out{.real = real.count(),
                      .generated = generated.count(),
                      .precise = count_of(precise),
                      .recalled = count_of(recalled),
                      .covered = count_of(covered)};
  const auto of_real = [&](int64_t count) { return static_cast<double>(count) / static_cast<double>(out.real); };
  const auto of_generated = [&](int64_t count) {
    return static_cast<double>(count) / static_cast<double>(out.generated);
  };
  out.precision = of_generated(out.precise);
  out.recall = of_real(out.recalled);
  out.coverage = of_real(out.covered);
  out.density = of_generated(held) / static_cast<double>(k);
  return out;
}

namespace {

std::map<int64_t, std::vector<int64_t>> rows_of_classes(const FeatureMatrix& set, std::span<const int64_t> labels) {
  check_usage(static_cast<int64_t>(labels.size()) == set.count(), set.name(), ": ", labels.size(), " labels for ",
              set.count(), " pictures");
  std::map<int64_t, std::vector<int64_t>> out;
  for (size_t i = 0; i < labels.size(); ++i) out[labels[i]].push_back(static_cast<int64_t>(i));
  return out;
}

}  // namespace

std::vector<ClassPrecisionRecall> precision_recall_by_class(const FeatureMatrix& real,
                                                            std::span<const int64_t> real_labels,
                                                            const FeatureMatrix& generated,
                                                            std::span<const int64_t> generated_labels,
                                                            const PrecisionRecallOptions& options) {
  const auto of_real = rows_of_classes(real, real_labels), of_generated = rows_of_classes(generated, generated_labels);
  std::vector<ClassPrecisionRecall> out;
  for (const auto& [class_id, rows] : of_generated) {
    const auto found = of_real.find(class_id);
    if (found == of_real.end()) continue;
    if (static_cast<int64_t>(std::min(rows.size(), found->second.size())) <= options.k) continue;
    out.push_back({class_id, precision_recall(real.subset(found->second), generated.subset(rows), options)});
  }
  return out;
}

}  // namespace crescendo
