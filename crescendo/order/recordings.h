// Work on tensors that a GPU does again and again: as it comes the first time, put down as a graph the second time, and
// from then on replayed with new inputs.
#pragma once

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "crescendo/core/tensor.h"
#include "crescendo/kernels/graph.h"

namespace crescendo {

// One piece of work that was put down. The tensors stay where they are.
class Recording {
 public:
  using Work = std::function<Tensor(const std::vector<Tensor>& inputs)>;

  explicit Recording(std::unique_ptr<Graph> graph) : graph_(std::move(graph)) {}
  Recording(const Recording&) = delete;  // the graph's work knows where it lies
  Recording& operator=(const Recording&) = delete;
  // What `work` makes of `inputs`, which have the same shapes each time; an undefined one stays so. `work` is put down
  // at the first call, and must own what it needs besides.
  Tensor operator()(const std::vector<Tensor>& inputs, const Work& work);

 private:
  std::unique_ptr<Graph> graph_;
  std::vector<Tensor> inputs_;
  Tensor output_;
};

// Says that no graph could be made, and why.
void warn_of_no_graph(const std::exception& reason);

// Pieces of work by what is put down in them as a number.
template <class Key>
class Recordings {
 public:
  explicit Recordings(GraphFactory graphs) : graphs_(std::move(graphs)) {}

  // Null where the caller has to do the work as it comes: the first time, and where the device has no graphs.
  // `inputs` is asked only where there is a graph.
  std::optional<Tensor> run(const Key& key, at::Device device, const std::function<std::vector<Tensor>()>& inputs,
                            const Recording::Work& work) {
    if (!graphs_) return std::nullopt;
    if (recorded_.size() >= kMost) recorded_.clear();
    const auto [entry, first_time] = recorded_.try_emplace(key);
    if (first_time) return std::nullopt;
    try {
      if (!entry->second) {
        auto graph = graphs_(device);
        if (!graph) return stop();  // this device has none
        entry->second.emplace(std::move(graph));
      }
      return (*entry->second)(inputs(), work);
    } catch (const std::exception& e) {
      warn_of_no_graph(e);
      return stop();
    }
  }

 private:
  static constexpr size_t kMost = 256;  // many plans' worth; beyond, all are made anew
  std::nullopt_t stop() {
    graphs_ = nullptr;
    recorded_.clear();
    return std::nullopt;
  }

  GraphFactory graphs_;
  std::map<Key, std::optional<Recording>> recorded_;
};

}  // namespace crescendo
