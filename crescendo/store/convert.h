// Checkpoints -> model directories or tokenizers' folders, and model directories -> files that PyTorch opens.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <set>

#include "crescendo/store/published.h"
#include "crescendo/tokenizer/kl_vae.h"

namespace crescendo {

struct ConvertOptions {
  int64_t heads = 0;                     // 0: as the file says, or those of a published size
  std::optional<WeightsChoice> weights;  // absent: the average where there is one
  std::optional<at::ScalarType> dtype;   // of the weights; absent: as they are stored
  std::filesystem::path tokenizer;       // as find_tokenizer takes it
  double latent_scale = 0;               // of a tokenizer's file that does not tell it; 0: not given
  std::filesystem::path text_encoder;    // a folder in Hugging Face layout
  std::filesystem::path system_prompt;   // a file, kept byte for byte
  std::filesystem::path labels;          // a name a line
};

// What is to be converted, read once.
struct ConvertSource {
  std::filesystem::path path;
  std::optional<Checkpoint> file;  // absent: `path` is a folder of this program
  bool is_tokenizer = false;       // else a model
};
// `path`: a checkpoint (io/checkpoint.h), a model directory or a tokenizer's folder.
ConvertSource read_source(const std::filesystem::path& path);

// A model that was opened, checked and not yet written. Its weights are views of the mapped file.
struct OpenModel {
  std::string name;  // of the file or folder
  ModelInfo info;
  TensorMap weights;
  at::ScalarType dtype = at::kFloat;  // that they will be written in
  std::filesystem::path folder;       // of a model directory, else empty
  std::string set;                    // of a file: the key that its weights stand under
  std::set<std::string> removed;      // of a file: what was taken off the names
  std::shared_ptr<KlVae> tokenizer;   // the one that options name
};

// Every tensor's name and shape is checked, of the model and of what joins it.
OpenModel open_model(const ConvertSource& source, const ConvertOptions& options);
inline OpenModel open_model(const std::filesystem::path& path, const ConvertOptions& options) {
  return open_model(read_source(path), options);
}
// Where source.is_tokenizer.
std::unique_ptr<KlVae> open_tokenizer(const ConvertSource& source, const ConvertOptions& options);

// The folder appears under its name when it is whole.
void write_model_directory(const OpenModel& model, const ConvertOptions& options, const std::filesystem::path& out);
void write_tokenizer_directory(const KlVae& vae, const std::filesystem::path& out);

// {"model", "model_ema", "args", "crescendo"}: a file for torch.load(weights_only=True), under the published names.
void write_published(const OpenModel& model, const std::filesystem::path& out);

}  // namespace crescendo
