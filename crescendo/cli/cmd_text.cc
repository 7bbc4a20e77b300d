// crescendo text: the text encoder's two halves, strings -> token ids and token ids -> states.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <iostream>
#include <memory>

#include "crescendo/cli/args.h"
#include "crescendo/core/check.h"
#include "crescendo/core/log.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/pipeline/prompts.h"
#include "crescendo/text/qwen2.h"
#include "crescendo/text/tokenizer_json.h"

namespace crescendo {

namespace {

constexpr int64_t kRowsAtOnce = 8;  // bounds memory

struct TextArgs {
  CommonOptions common;
  std::string model, ids_file, out_file;
  std::vector<std::string> texts;
};

void run_tokenize(const TextArgs& args) {
  args.common.apply();
  const auto folder = find_text_encoder(args.model);
  if (args.common.dry_run) return print_json({{"text_encoder", folder.string()}, {"texts", args.texts}});
  const Bpe tokenizer = load_bpe(folder);
  Json all = Json::array();
  for (const std::string& text : args.texts) all.push_back(tokenizer.encode(text));
  if (args.common.json)
    std::cout << json_text(all) << std::endl;
  else
    for (const Json& ids : all) std::cout << json_text(ids) << std::endl;
}

void run_encode(const TextArgs& args) {
  args.common.apply();
  const auto folder = find_text_encoder(args.model);
  const at::Device device = args.common.parsed_device();
  const at::ScalarType dtype = args.common.parsed_dtype();
  if (args.common.dry_run)
    return print_json({{"text_encoder", folder.string()},
                       {"ids", args.ids_file},
                       {"out", args.out_file},
                       {"device", device.str()},
                       {"dtype", args.common.dtype}});
  check_writable(args.out_file, /*folder=*/false);
  const TensorMap in = read_safetensors(args.ids_file).tensors;
  const auto ids = in.find("input_ids"), mask = in.find("attention_mask");
  check(ids != in.end(), args.ids_file, " has no tensor 'input_ids'");
  check(ids->second.dim() == 2, args.ids_file, ": input_ids must have the shape (B, N), got ", ids->second.sizes());
  check(mask == in.end() || mask->second.sizes() == ids->second.sizes(), args.ids_file,
        ": attention_mask must have the shape of input_ids, ", ids->second.sizes(), ", got ",
        mask == in.end() ? at::IntArrayRef() : mask->second.sizes());

  const at::NoGradGuard no_grad;
  Qwen2 tower = Qwen2::load(folder);
  // For one pass on the CPU in fp32, weights stored in less are converted as they are used: half the memory.
  if (!device.is_cpu() || dtype != at::kFloat) tower.to(device, dtype);
  const int64_t rows = ids->second.size(0);
  std::vector<Tensor> parts;
  Progress progress("encoding");
  for (int64_t i = 0; i == 0 || i < rows; i += kRowsAtOnce) {
    const auto some = [&](const Tensor& t) { return t.slice(0, i, i + kRowsAtOnce); };
    parts.push_back(tower.forward(some(ids->second), mask == in.end() ? Tensor() : some(mask->second)));
    parts.back() = parts.back().to(at::kCPU, at::kFloat);
    const int64_t done = std::min(rows, i + kRowsAtOnce);
    progress.update(rows ? static_cast<double>(done) / static_cast<double>(rows) : 1.0,
                    concat(done, " of ", rows, " texts"));
  }
  progress.finish();
  const Tensor states = at::cat(parts);  // (B, N, hidden)
  write_safetensors(args.out_file, {{"last_hidden_state", states}});
  if (args.common.json) print_json({{"out", args.out_file}, {"shape", states.sizes().vec()}});
}

}  // namespace

void add_text_command(CLI::App& app) {
  CLI::App& text = *app.add_subcommand("text", "token ids and text states of a text model");
  text.require_subcommand(1);
  const auto args = std::make_shared<TextArgs>();
  const auto add_common = [&](CLI::App& command) {
    command.add_option("--model", args->model, "model directory with a text encoder, or a Hugging Face directory")
        ->required()
        ->type_name("DIR");
    args->common.add(command);
  };

  CLI::App& tokenize =
      *text.add_subcommand("tokenize", "texts to token ids, one JSON array a line (--json: one array)");
  add_common(tokenize);
  tokenize.add_option("TEXT", args->texts, "texts; put -- before one that begins with a dash")->required();
  add_examples(tokenize, {"text tokenize --model far-t2i \"a red cat\"",
                          "text tokenize --model Qwen2-1.5B --json -- \"- a list\" \"two  spaces\""});
  tokenize.callback([args] { run_tokenize(*args); });

  CLI::App& encode = *text.add_subcommand("encode", "token ids to the states after the final norm");
  add_common(encode);
  encode.add_option("--ids", args->ids_file, "input_ids [B,N] and, unless all count, attention_mask [B,N]")
      ->required()
      ->type_name("FILE.safetensors");
  encode.add_option("--out", args->out_file, "written: last_hidden_state [B,N,hidden], fp32")
      ->required()
      ->type_name("FILE.safetensors");
  add_examples(encode, {"text encode --model far-t2i --ids ids.safetensors --out states.safetensors",
                        "text encode --model Qwen2-1.5B --ids ids.safetensors --out states.safetensors --dtype bf16"});
  encode.callback([args] { run_encode(*args); });
}

}  // namespace crescendo
