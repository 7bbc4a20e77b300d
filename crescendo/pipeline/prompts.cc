#include "crescendo/pipeline/prompts.h"

#include <ATen/ATen.h>

#include <sstream>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/json.h"
#include "crescendo/text/pretokenize.h"

namespace crescendo {

namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

std::vector<std::string> read_prompts(const std::filesystem::path& file) {
  std::string text = read_file(file);
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  const size_t first = text.find_first_not_of(kSpace);
  const bool json_lines = file.extension() == ".jsonl" || (first != std::string::npos && text[first] == '{');
  std::vector<std::string> prompts;
  std::istringstream lines(text);
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(kSpace) == std::string::npos) continue;
    if (line.back() == '\r') line.pop_back();
    if (json_lines) {
      const std::string where = concat(file.string(), ", line ", number);
      const Json json = parse_json(line, where);
      check(json.is_object() && json.contains("prompt") && json["prompt"].is_string(), where,
            ": should be {\"prompt\": text}, got ", line.substr(0, 120));
      line = json["prompt"].get<std::string>();
    }
    prompts.push_back(replace_invalid_utf8(line));
  }
  check(!prompts.empty(), file.string(), " holds no prompts");
  return prompts;
}

std::filesystem::path find_text_encoder(const std::string& name) {
  const std::filesystem::path folder =
      std::filesystem::is_directory(name) ? std::filesystem::path(name) : find_model(name);
  return std::filesystem::is_directory(folder / "text_encoder") ? folder / "text_encoder" : folder;
}

TextEncoder load_text_encoder(const std::filesystem::path& folder, const ModelConfig& model, at::Device device,
                              at::ScalarType dtype) {
  check(std::filesystem::is_directory(folder), "there is no ", folder.string(),
        " to read prompts with; `crescendo convert --text-encoder DIR` adds one, --text-states does without");
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
