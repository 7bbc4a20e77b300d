// Named parameters: drawn anew for training, or taken from a file for use.
//
// Modules are plain structs that ask a Scope for their tensors by the published state-dict names, so that a module's
// constructor is at once its list of names and shapes, its initialisation and its loader.
#pragma once

#include <c10/util/ArrayRef.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "crescendo/core/tensor.h"

namespace crescendo {

// Ways to draw a parameter. Xavier uniform takes (out, in) from the first dimension and the product of the others.
enum class Init { kZeros, kOnes, kXavierUniform, kNormal002, kKaimingUniform, kNormal1 };

// What names the random stream of a parameter besides the seed: its name, so that the order of add() does not matter,
// or its place in that order.
enum class Streams { kByName, kByOrder };

class Params {
 public:
  static Params random(uint64_t seed, Streams streams = Streams::kByName);
  // Names and shapes alone, for counting: the tensors lie on LibTorch's meta device and hold nothing.
  static Params outline();
  // Taken from `source`, whose name stands in errors; add() throws where a tensor holds NaN or infinity. Names in
  // `source` that begin with one of `ignored` may stay unused.
  static Params from(TensorMap source, std::string source_name, std::vector<std::string> ignored = {});

  Tensor add(const std::string& name, at::IntArrayRef shape, Init init);
  // Lists a tensor that has another owner; both see its changes.
  void adopt(const std::string& name, const Tensor& tensor) { items_.emplace_back(name, tensor); }
  // Throws if anything was missing, misshapen or left over, listing it by name.
  void finish() const;

  // In the order in which they were asked for.
  const std::vector<std::pair<std::string, Tensor>>& items() const { return items_; }
  TensorMap map() const;
  int64_t count() const;  // elements of all tensors
  int64_t bytes() const;
  void set_requires_grad(bool on);
  // In place: every module that holds a parameter sees the change.
  void to(at::Device device, at::ScalarType dtype);

 private:
  enum class Origin { kRandom, kOutline, kFile };
  Origin origin_ = Origin::kRandom;
  uint64_t seed_ = 0;
  Streams streams_ = Streams::kByName;
  TensorMap source_;
  std::string source_name_;
  std::vector<std::string> ignored_;
  std::set<std::string> used_;
  std::vector<std::string> problems_;
  std::vector<std::pair<std::string, Tensor>> items_;
};

// A place in the tree of names: Scope(params) / "encoder_blocks" / 3 / "attn" asks for "encoder_blocks.3.attn....".
class Scope {
 public:
  Scope(Params& params, std::string prefix = "")
      : params_(&params), prefix_(std::move(prefix)) {}  // NOLINT: a Params is the root scope
  Scope operator/(const std::string& name) const { return {*params_, prefix_.empty() ? name : prefix_ + "." + name}; }
  Scope operator/(int64_t index) const { return *this / std::to_string(index); }
  Tensor add(const std::string& name, at::IntArrayRef shape, Init init) const {
    return params_->add((*this / name).prefix_, shape, init);
  }

 private:
  Params* params_;
  std::string prefix_;
};

}  // namespace crescendo
