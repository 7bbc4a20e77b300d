// What a file or folder holds, as JSON: checkpoints, model directories, tokenizers, safetensors, NumPy arrays.
#pragma once

#include <filesystem>

#include "crescendo/core/json.h"

namespace crescendo {

// {"path", "form", "kind", and as far as they apply: "architecture", "parameters", "weights", "ema", "sampler",
// "arguments", "metadata", "others", "foreign", "unread", "shown", "removed", "tokenizer", "text_encoder", "labels",
// "problems", "tensors"}
Json inspect_path(const std::filesystem::path& path);

}  // namespace crescendo
