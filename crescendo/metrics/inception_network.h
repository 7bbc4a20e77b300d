// The network of the Fréchet Inception distance: Inception v3 as TensorFlow's archive of 2015-12-05 has it.
//
// It differs from the Inception v3 of today's libraries: average pools leave the padding out, the pool of the last
// block takes the maximum, and there are 1008 classes. Names of tensors are those of pytorch-fid and torch-fidelity.
#pragma once

#include <memory>
#include <string>

#include "crescendo/core/tensor.h"

namespace crescendo {

struct InceptionOutput {
  Tensor pool;     // (B, 2048): mean over the places of the last block
  Tensor logits;   // (B, 1008) without the bias of the last layer, as the Inception Score takes them
  Tensor spatial;  // (B, h w 7): Mixed_6d's first 7 channels, the channel varying fastest; 2023 numbers at 299
};

class InceptionNetwork {
 public:
  // Batch norms become part of the convolutions. Throws, naming `where`, where a tensor is missing or misshapen; those
  // that the network does not know are left alone.
  InceptionNetwork(const TensorMap& weights, at::ScalarType dtype, at::Device device, const std::string& where);
  ~InceptionNetwork();
  InceptionNetwork(InceptionNetwork&&) noexcept;

  // x (B, 3, h, w) in [-1, 1], sides of 75 and more; the answer is fp32 on the device of the weights. Several threads
  // may call at once.
  InceptionOutput operator()(const Tensor& x) const;

 private:
  struct Blocks;
  std::unique_ptr<const Blocks> blocks_;
};

}  // namespace crescendo
