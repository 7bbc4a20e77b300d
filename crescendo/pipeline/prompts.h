// Prompts of a text model: files and command lines -> strings -> states (U, N, hidden).
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "crescendo/pipeline/pipeline.h"
#include "crescendo/text/text_encoder.h"

namespace crescendo {

// Plain text, one prompt a line and empty lines skipped; or JSON lines {"prompt": ...}, where other keys are allowed. A
// file is JSON lines when it is called .jsonl or its first character that is no white space is "{".
std::vector<std::string> read_prompts(const std::filesystem::path& file);

// The text encoder's folder: within a model directory or a model by name, or a folder in Hugging Face layout itself.
std::filesystem::path find_text_encoder(const std::string& name);
// Ready to compute. Throws where it does not belong to the model.
TextEncoder load_text_encoder(const std::filesystem::path& folder, const ModelConfig& model, at::Device device,
                              at::ScalarType dtype);

// Fills in a request's `text` and `text_rows`, one prompt per image: equal prompts are encoded once, an empty one is
// the learned unconditional text.
void encode_prompts(const TextEncoder& encoder, std::span<const std::string> prompts, Request& request);

}  // namespace crescendo
