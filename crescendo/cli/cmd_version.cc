#include <ATen/ATen.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <iostream>

#include "crescendo/cli/args.h"
#include "crescendo/kernels/cpu/onednn.h"
#include "crescendo/kernels/row_passes.h"

namespace crescendo {

void add_version_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("version", "What this build is and what it can do");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "print as JSON");
  add_examples(*command, {"version", "version --json"});
  command->callback([json] {
    set_up_torch(0);
    const Json out = {{"version", CRESCENDO_VERSION},
                      {"libtorch", TORCH_VERSION},
                      {"threads", threads()},
                      {"cuda", at::hasCUDA()},
                      {"cuda_kernels", rows::serves(at::Device(at::kCUDA, 0))},
                      {"cpu_bf16", cpu_has_bf16()},
                      {"onednn", onednn::version()},
                      {"fp32_by", onednn::instructions(at::kFloat)},
                      {"bf16_by", onednn::instructions(at::kBFloat16)},
                      {"int8_by", onednn::instructions(at::kChar)}};
    if (*json) return print_json(out);
    std::cout << "crescendo " << CRESCENDO_VERSION << "\n";
    for (const auto& [key, value] : out.items())
      if (key != "version")
        std::cout << "  " << key << ": " << (value.is_string() ? value.get<std::string>() : json_text(value)) << "\n";
  });
}

}  // namespace crescendo
