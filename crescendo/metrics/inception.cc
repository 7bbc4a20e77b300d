#include "crescendo/metrics/inception.h"

#include <ATen/ATen.h>

#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/core/device.h"
#include "crescendo/core/sha256.h"
#include "crescendo/io/checkpoint.h"

namespace crescendo {

namespace {

constexpr const char* kFirstWeight = "Conv2d_1a_3x3.conv.weight";

// The tensors of the set that has the network's first weight, without what stands before the network's names.
TensorMap inception_weights(const std::filesystem::path& path) {
  const Checkpoint file = read_checkpoint(path);
  for (const auto& [set, tensors] : file.sets) {
    for (const auto& [name, tensor] : tensors) {
      if (!name.ends_with(kFirstWeight)) continue;
      const auto prefix = std::string_view(name).substr(0, name.size() - std::string_view(kFirstWeight).size());
      return prefix.empty() ? tensors : with_prefix_removed(tensors, prefix);
    }
  }
  fail(file.name, ": no tensor is called ", kFirstWeight,
       ", so this is not the FID Inception network, whose weights pytorch-fid and torch-fidelity publish as "
       "pt_inception-2015-12-05-6726825d.pth");
}

}  // namespace

Inception::Inception(const std::filesystem::path& weights, const InceptionOptions& options)
    : options_(options),
      sha256_(sha256_of_file(weights)),
      network_(inception_weights(weights), options.dtype, options.device, weights.string()) {}

at::Tensor Inception::prepare(const Image& image) const { return inception_input(image, options_.preset); }

Features Inception::operator()(const at::Tensor& prepared) const {
  const InceptionOutput out = network_(prepared);
  return {out.pool.cpu(), out.logits.cpu(), out.spatial.cpu()};
}

Json Inception::identity() const {
  return {{"network", "inception-2015-12-05"},
          {"preset", enum_name(options_.preset)},
          {"dtype", options_.dtype == at::kDouble ? "fp64" : precision_name(options_.dtype)},
          {"weights", sha256_}};
}

}  // namespace crescendo
