// A file of weights in any form they come in: PyTorch's checkpoints, safetensors (a file, sharded, or a folder of
// them). The form is told from the content, not from the name.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "crescendo/core/json.h"
#include "crescendo/io/tensor_map.h"

namespace crescendo {

enum class FileForm { kTorchZip, kTorchLegacy, kSafetensors, kNpz, kNpy, kUnknown };
// By the first bytes; a folder counts as safetensors where it holds some. Throws where `path` cannot be read.
FileForm file_form(const std::filesystem::path& path);
const char* form_name(FileForm form);

struct Checkpoint {
  std::string name;  // the path, for messages
  FileForm form = FileForm::kUnknown;
  // The dicts of tensors: "model", "model_ema", "ema.state_dict" where one lies in another. "": a file that holds one
  // without a name.
  std::map<std::string, TensorMap> sets;
  // Entries of these dicts that are no tensors of a type that is read: set -> name -> what it is.
  std::map<std::string, std::map<std::string, std::string>> unread;
  // Classes of a PyTorch file whose objects were passed over, and how many.
  std::map<std::string, int64_t> foreign;
  Json args;                                    // arguments saved by the training program; null where there are none
  Json config;                                  // Crescendo's own config.json, where this program wrote the file
  std::map<std::string, std::string> metadata;  // of safetensors
  std::vector<std::string> others;              // what else a PyTorch file holds: "optimizer", "epoch"
};
// What was passed over in it is told in one warning.
Checkpoint read_checkpoint(const std::filesystem::path& path);

// Where a file of this program keeps its config, as JSON text: a key of a PyTorch file, and of safetensors' metadata.
inline constexpr const char* kTorchConfigKey = "crescendo";
inline constexpr const char* kMetadataConfigKey = "config";

}  // namespace crescendo
