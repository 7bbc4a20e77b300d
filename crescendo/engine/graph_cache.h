// Device work that repeats: run as it is the first time, captured as a graph the second time, then replayed on new
// inputs.
#pragma once

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "crescendo/core/tensor.h"
#include "crescendo/kernels/graph.h"

namespace crescendo {

// One captured piece of work. Its tensors keep their addresses.
class CapturedGraph {
 public:
  using Work = std::function<Tensor(const std::vector<Tensor>& inputs)>;

  explicit CapturedGraph(std::unique_ptr<Graph> graph) : graph_(std::move(graph)) {}
  CapturedGraph(const CapturedGraph&) = delete;  // the captured work refers to members
  CapturedGraph& operator=(const CapturedGraph&) = delete;
  // The result of `work` for `inputs`, whose shapes must not change between calls; an undefined one stays undefined.
  // The first call captures `work`, which must own everything else it uses.
  Tensor operator()(const std::vector<Tensor>& inputs, const Work& work);

 private:
  std::unique_ptr<Graph> graph_;
  std::vector<Tensor> inputs_;
  Tensor output_;
};

// Logs that no graph could be captured, and why.
void warn_no_graph(const std::exception& reason);

// Captured graphs by key, which holds whatever is a constant in them.
template <class Key>
class GraphCache {
 public:
  explicit GraphCache(GraphFactory graphs) : graphs_(std::move(graphs)) {}

  // Null where the caller has to run the work itself: the first time, and where the device has no graphs. `inputs` is
  // called only where there is a graph.
  std::optional<Tensor> run(const Key& key, at::Device device, const std::function<std::vector<Tensor>()>& inputs,
                            const CapturedGraph::Work& work) {
    if (!graphs_) return std::nullopt;
    if (cached_.size() >= kMaxGraphs) cached_.clear();
    const auto [entry, first_time] = cached_.try_emplace(key);
    if (first_time) return std::nullopt;
    try {
      if (!entry->second) {
        auto graph = graphs_(device);
        if (!graph) return disable();
        entry->second.emplace(std::move(graph));
      }
      return (*entry->second)(inputs(), work);
    } catch (const std::exception& e) {
      warn_no_graph(e);
      return disable();
    }
  }

 private:
  static constexpr size_t kMaxGraphs = 256;  // enough for many plans
  std::nullopt_t disable() {
    graphs_ = nullptr;
    cached_.clear();
    return std::nullopt;
  }

  GraphFactory graphs_;
  std::map<Key, std::optional<CapturedGraph>> cached_;
};

}  // namespace crescendo
