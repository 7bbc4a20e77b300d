#include "crescendo/train/training_checkpoint.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "crescendo/core/check.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/io/tensor_map.h"

namespace crescendo {

namespace {

constexpr const char* kFormat = "crescendo-training-1";

// Views of all that is stored.
TensorMap stored_tensors(const AdamW& optimizer, const Ema& ema) {
  TensorMap tensors = optimizer.views(optimizer.flat_parameters(), "model.");
  tensors.merge(ema.state(optimizer, "ema."));
  tensors.merge(optimizer.state());
  return tensors;
}

}  // namespace

std::string first_not_finite(const AdamW& optimizer, const Ema& ema) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : stored_tensors(optimizer, ema))
    if (!at::isfinite(tensor).all().item<bool>()) return name;
  return {};
}

void write_checkpoint(const std::filesystem::path& file, const TrainConfig& config, const AdamW& optimizer,
                      const Ema& ema, const TrainProgress& progress) {
  const Json state = {{"images", progress.images},
                      {"steps", progress.steps},
                      {"seconds", progress.seconds},
                      {"updates", optimizer.steps()},
                      {"ema_updates", ema.updates()}};
  write_safetensors(file, stored_tensors(optimizer, ema),
                    {{"format", kFormat}, {"state", json_text(state)}, {"config", json_text(value_to_json(config))}});
}

TrainProgress read_checkpoint(const std::filesystem::path& path, const TrainConfig& config, AdamW& optimizer,
                              Ema& ema) {
  const std::string name = path.string();
  const Safetensors file = read_safetensors(path);
  const auto metadata = [&](const char* key) {
    const auto it = file.metadata.find(key);
    check(it != file.metadata.end(), name, " is not a training checkpoint: its metadata lacks ", key);
    return it->second;
  };
  check(metadata("format") == kFormat, name, " has format ", metadata("format"), ", expected ", kFormat);
  TrainConfig saved;
  value_from_json(saved, parse_json(metadata("config"), name), "config");
  saved.settle_model();  // an older one's model does not say what it was trained for
  check(fields_equal(saved.model, config.model), name, " is of another model: ", json_text(value_to_json(saved.model)));
  check(fields_equal(saved.objective, config.objective) && saved.train.seed == config.train.seed, name,
        " was trained with another objective or seed: ", json_text(value_to_json(saved.objective)));
  const TensorMap saved_parameters = with_prefix_removed(file.tensors, "model.");
  const TensorMap views = optimizer.views(optimizer.flat_parameters(), "");
  check(saved_parameters.size() == views.size(), name, " trains ", saved_parameters.size(), " tensors, this run ",
        views.size(), ": was the text encoder frozen in one and not in the other?");
  const at::NoGradGuard no_grad;
  for (const auto& [key, view] : views) {
    const auto it = saved_parameters.find(key);
    check(it != saved_parameters.end() && it->second.sizes() == view.sizes(), name, " lacks model.", key, " ",
          view.sizes());
    view.copy_(it->second);
  }
  TrainProgress progress;
  try {
    const Json state = parse_json(metadata("state"), name);
    optimizer.load_state(file.tensors, state.at("updates"), name);
    ema.load_state(optimizer, file.tensors, "ema.", state.at("ema_updates"), name);
    progress = {state.at("images"), state.at("steps"), state.at("seconds"), 0};
  } catch (const Json::exception& e) {
    fail(name, " has unusable training state: ", e.what());
  }
  const std::string spoilt = first_not_finite(optimizer, ema);
  check(spoilt.empty(), name, ": ", spoilt,
        " is not finite: the run diverged before this was saved; start anew with a ", "lower train.lr");
  return progress;
}

}  // namespace crescendo
