// Published checkpoints: which of a file's weights to take, and what model they are.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/io/checkpoint.h"
#include "crescendo/model/config_from_weights.h"
#include "crescendo/store/model_dir.h"

namespace crescendo {

// A training program's folder stands for its checkpoint-last.pth; any other path for itself.
std::filesystem::path checkpoint_path(const std::filesystem::path& path);

// A training run keeps the weights themselves and their average, which is what is sampled from.
enum class WeightsChoice { kEma, kRaw };
constexpr auto enum_table(WeightsChoice) {
  return std::array{EnumName{WeightsChoice::kEma, "ema"}, EnumName{WeightsChoice::kRaw, "raw"}};
}

// A set of weights in a file, under the names that they need.
struct FoundWeights {
  enum class Label { kEma, kRaw, kOpen };  // what the file calls them; kOpen: neither
  std::string set;                         // the key of their dict, "" where it has none
  std::string prefix;                      // what stood in front of these weights and no others
  std::set<std::string> removed;           // what was taken off their names, anywhere: "module.", "_orig_mod."
  Label label = Label::kOpen;
  TensorMap tensors;
  std::map<std::string, std::string>
      unread;  // names whose values are no tensors of a type that is read, and what they are

  std::string place() const;  // "model_ema", "state_dict, module."
};

// All sets of a model's or a tokenizer's weights. What wrappers put into names (DDP's "module.", torch.compile's
// "_orig_mod." and the like) is taken off anywhere, and in front whatever stands before the name that tells the kind.
std::vector<FoundWeights> find_weights(const Checkpoint& file, WeightsKind kind);

// The one that is wanted. Without a choice: the average where there is one, else the only one. A set that the file
// calls neither is whichever is asked for. Throws where the choice is not there or not clear, naming what is.
FoundWeights choose_weights(const Checkpoint& file, WeightsKind kind, std::optional<WeightsChoice> choice = {});

// What `use` throws, with the names in `weights` that could not be read added.
template <class F>
auto with_unread_named(const FoundWeights& weights, F&& use) {
  try {
    return use();
  } catch (const Error& e) {
    if (weights.unread.empty()) throw;
    const auto& [name, what] = *weights.unread.begin();
    fail(e.what(), "; ", weights.unread.size(), " values of the file cannot be read as weights, the first is ", name,
         ", a ", what);
  }
}

// Sizes and sampler: from the config that this program stored in the file, else from shapes and saved arguments. With
// heads that neither they nor `heads` tell, info.model.heads is 0.
ModelInfo model_info_of(const Checkpoint& file, const TensorMap& weights, int64_t heads = 0,
                        int64_t latent_channels = 0);

// The names under which the published code saves weights and their average.
inline constexpr const char* kRawKey = "model";
inline constexpr const char* kEmaKey = "model_ema";

}  // namespace crescendo
