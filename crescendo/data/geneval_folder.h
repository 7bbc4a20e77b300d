// The folder of pictures that GenEval's scorer takes: DIR/NNNNN/metadata.jsonl, which is the prompt's line of
// evaluation_metadata.jsonl, and DIR/NNNNN/samples/NNNN.png.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "crescendo/data/geneval.h"

namespace crescendo {

// Relative to the folder: "00012/samples/0003.png".
std::string geneval_sample_name(int64_t prompt, int64_t sample);

// Writes the metadata of every prompt and makes the folders. Those that are there already must be of the same prompt.
void write_geneval_folder(const std::filesystem::path& dir, std::span<const GenevalPrompt> prompts);

struct GenevalSample {
  std::string file;  // relative to the folder, with slashes
  GenevalPrompt prompt;
};
// All samples of a folder, by prompt and name, whoever wrote them. Folders whose names are no numbers are left out.
std::vector<GenevalSample> read_geneval_folder(const std::filesystem::path& dir);

}  // namespace crescendo
