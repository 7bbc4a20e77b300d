// Writes a small network as TorchScript for tests/cli_test.sh: make_extractor FILE.ts
//
// Features are the means of a picture's sixteen parts, (B, 48), and class scores the means of its colours, (B, 3).
#include <torch/csrc/jit/api/module.h>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  torch::jit::Module module("Parts");
  module.define(R"(
    def forward(self, x):
      parts = torch.adaptive_avg_pool2d(x, [4, 4])
      return parts.flatten(1), 3 * x.mean([2, 3])
  )");
  module.save(argv[1]);
  return 0;
}
