// Checkpoints -> model directories, and model directories -> files that PyTorch opens.
#pragma once

#include <filesystem>
#include <optional>

#include "crescendo/pipeline/published.h"

namespace crescendo {

struct ConvertOptions {
  int64_t heads = 0;  // 0: as the file says, or those of a published size
  WeightsChoice weights = WeightsChoice::kEma;
  std::optional<at::ScalarType> dtype;  // of the weights; absent: as they are stored
  std::filesystem::path tokenizer;      // a published KL-VAE, or a tokenizer's folder
  std::filesystem::path text_encoder;   // a folder in Hugging Face layout
  std::filesystem::path system_prompt;  // a file, kept byte for byte
  std::filesystem::path labels;         // a name a line
};

// A model that was opened, checked and not yet written. Its weights are views of the mapped file.
struct OpenModel {
  std::string name;  // of the file or folder
  ModelInfo info;
  TensorMap weights;
  at::ScalarType dtype = at::kFloat;  // that they will be written in
  std::filesystem::path folder;       // of a model directory, else empty
};

// `path`: a checkpoint (io/checkpoint.h) or a model directory. Every tensor's name and shape is checked.
OpenModel open_model(const std::filesystem::path& path, const ConvertOptions& options);

// The folder appears under its name when it is whole.
void write_model_directory(const OpenModel& model, const ConvertOptions& options, const std::filesystem::path& out);

// {"model", "model_ema", "args", "crescendo"}: a file for torch.load(weights_only=True), under the published names.
void write_published(const OpenModel& model, const std::filesystem::path& out);

}  // namespace crescendo
