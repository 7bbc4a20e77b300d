// What a model's transformer is told of the picture: class or text -> condition (B, 1 or N, D).
#pragma once

#include "crescendo/model/config.h"
#include "crescendo/nn/layers.h"

namespace crescendo {

class Conditions {
 public:
  Conditions(const Scope& scope, const ModelConfig& config);

  // Of class models: the class vector; labels (B) int64 -> (B, 1, D).
  Tensor class_condition(const Tensor& labels) const;
  // Of text models: text states (B, N, hidden) -> (B, N, D).
  Tensor text_condition(const Tensor& text) const;
  // The learned unconditional one: (B, 1 or N, D).
  Tensor null_condition(int64_t batch) const;

 private:
  bool is_text_;
  int64_t width_, text_length_, text_hidden_;
  Tensor class_embedding_;  // (classes, D)
  Linear context_embed_;
  Tensor fake_latent_;  // (1, D) or (1, N, D)
};

}  // namespace crescendo
