#include "crescendo/model/conditions.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"

namespace crescendo {

Conditions::Conditions(const Scope& s, const ModelConfig& c)
    : is_text_(c.is_text()),
      width_(c.width),
      text_length_(c.text_length),
      text_hidden_(c.text_hidden),
      class_embedding_(c.is_text() ? Tensor() : s.add("class_emb.weight", {c.classes, c.width}, Init::kNormal002)),
      context_embed_(c.is_text() ? Linear(s / "context_embed", c.text_hidden, c.width) : Linear()),
      fake_latent_(c.is_text() ? s.add("fake_latent", {1, c.text_length, c.width}, Init::kNormal002)
                               : s.add("fake_latent", {1, c.width}, Init::kNormal002)) {}

Tensor Conditions::class_condition(const Tensor& labels) const {
  check(!is_text_, "this is a text model: it takes a prompt, not a class");
  return class_embedding_.index_select(0, labels).unsqueeze(1);  // (B, 1, D)
}

Tensor Conditions::text_condition(const Tensor& text) const {
  check(is_text_, "this is a class model: it takes a class, not a prompt");
  check(text.dim() == 3 && text.size(1) == text_length_ && text.size(2) == text_hidden_, "text states must be (B, ",
        text_length_, ", ", text_hidden_, "), got ", text.sizes());
  return context_embed_(text);  // (B, N, D)
}

Tensor Conditions::null_condition(int64_t batch) const {
  return fake_latent_.view({1, -1, width_}).expand({batch, -1, -1});
}

}  // namespace crescendo
