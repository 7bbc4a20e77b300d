#include "crescendo/pipeline/prompts.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"
#include "crescendo/core/json.h"
#include "crescendo/core/utf8.h"

namespace crescendo {

namespace {

constexpr std::string_view kSpace = " \t\r\n";

}  // namespace

std::vector<std::string> read_prompts(const std::filesystem::path& file) {
  const std::string text = read_text_file(file);
  const size_t first = text.find_first_not_of(kSpace);
  const bool json_lines = file.extension() == ".jsonl" || (first != std::string::npos && text[first] == '{');
  std::vector<std::string> prompts;
  int64_t number = 0;
  for (const std::string_view line : text_lines(text)) {
    ++number;
    if (line.find_first_not_of(kSpace) == std::string_view::npos) continue;
    if (!json_lines) {
      prompts.emplace_back(line);
      continue;
    }
    const std::string where = concat(file.string(), ", line ", number);
    const Json json = parse_json(line, where);
    check(json.is_object() && json.contains("prompt") && json["prompt"].is_string(), where,
          ": should be {\"prompt\": text}, got ", line.substr(0, 120));
    prompts.push_back(json["prompt"].get<std::string>());
  }
  check(!prompts.empty(), file.string(), " holds no prompts");
  return prompts;
}

std::filesystem::path find_text_encoder(const std::string& name) {
  const std::filesystem::path folder =
      std::filesystem::is_directory(name) ? std::filesystem::path(name) : find_model(name);
  return std::filesystem::is_directory(folder / kTextEncoderFolder) ? folder / kTextEncoderFolder : folder;
}

TextEncoder load_text_encoder(const std::filesystem::path& folder, const ModelConfig& model, at::Device device,
                              at::ScalarType dtype) {
  check(std::filesystem::is_directory(folder), "there is no ", folder.string(),
        " to read prompts with; `crescendo convert` adds one as `text_encoder`, `text_states` does without");
  TextEncoder encoder = TextEncoder::load(folder, model.text_length);
  check(encoder.hidden_size() == model.text_hidden, folder.string(), " has states of width ", encoder.hidden_size(),
        ", the model takes ", model.text_hidden, ": they do not belong together");
  // For a pass or two on the CPU in fp32, weights stored in less are converted as they are used: half the memory.
  if (!device.is_cpu() || dtype != at::kFloat) encoder.tower().to(device, dtype);
  return encoder;
}

void encode_prompts(const TextEncoder& encoder, std::span<const std::string> prompts, Request& request) {
  DistinctTexts distinct(prompts);
  request.text = encoder.encode(distinct.texts);
  request.text_rows = std::move(distinct.index);
  for (size_t i = 0; i < prompts.size(); ++i)
    if (prompts[i].empty()) request.text_rows[i] = kUnconditional;
}

}  // namespace crescendo
