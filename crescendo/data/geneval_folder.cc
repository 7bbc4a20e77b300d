#include "crescendo/data/geneval_folder.h"

#include <algorithm>
#include <cstdio>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/data/picture_files.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

std::string prompt_folder(int64_t prompt) {
  char text[32];
  std::snprintf(text, sizeof text, "%05lld", static_cast<long long>(prompt));
  return text;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

constexpr const char* kMetadata = "metadata.jsonl";

GenevalPrompt only_prompt(const fs::path& file) {
  const std::vector<GenevalPrompt> prompts = read_geneval_prompts(file);
  check(prompts.size() == 1, file.string(), ": must hold one prompt, holds ", prompts.size());
  return prompts.front();
}

}  // namespace

std::string geneval_sample_name(int64_t prompt, int64_t sample) {
  char text[32];
  std::snprintf(text, sizeof text, "%04lld.png", static_cast<long long>(sample));
  return prompt_folder(prompt) + "/samples/" + text;
}

void write_geneval_folder(const fs::path& dir, std::span<const GenevalPrompt> prompts) {
  // Nothing is written beside another run's prompts.
  const auto file_of = [&](size_t i) { return dir / prompt_folder(static_cast<int64_t>(i)) / kMetadata; };
  for (size_t i = 0; i < prompts.size(); ++i)
    if (fs::exists(file_of(i)))
      check(geneval_to_json(only_prompt(file_of(i))) == geneval_to_json(prompts[i]), file_of(i).string(),
            ": holds another prompt than number ", i, ", \"", prompts[i].prompt, "\"; choose another folder");
  for (size_t i = 0; i < prompts.size(); ++i) {
    make_directories(file_of(i).parent_path() / "samples");
    if (!fs::exists(file_of(i))) write_file_atomically(file_of(i), json_text(geneval_to_json(prompts[i])) + "\n");
  }
}

std::vector<GenevalSample> read_geneval_folder(const fs::path& dir) {
  check(fs::is_directory(dir), dir.string(), ": is no folder of GenEval's samples");
  std::vector<GenevalSample> samples;
  for (const fs::path& folder : visible_folders(dir)) {
    if (!is_number(folder.filename().string())) continue;
    const GenevalPrompt prompt = only_prompt(folder / kMetadata);
    check(fs::is_directory(folder / "samples"), folder.string(), ": has no folder samples");
    for (const fs::path& picture : find_pictures(folder / "samples", /*below=*/false).pictures)
      if (is_number(picture.stem().string()))
        samples.push_back({picture.lexically_relative(dir).generic_string(), prompt});
  }
  check(!samples.empty(), dir.string(), ": holds no samples: NNNNN/metadata.jsonl beside NNNNN/samples/NNNN.png");
  return samples;
}

}  // namespace crescendo
