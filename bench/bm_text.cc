// The text side: reading a text as tokens, and a pass of Qwen2 over a prompt.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <string>
#include <vector>

#include "bench/support.h"
#include "crescendo/core/rng.h"
#include "crescendo/text/bpe_train.h"
#include "crescendo/text/qwen2.h"

namespace crescendo::bench {
namespace {

// Words of one to four syllables, few of them common and many rare, with the punctuation of prose; some in Cyrillic.
std::string prose(size_t bytes, uint64_t seed) {
  constexpr int64_t kWords = 20000;
  Rng rng(seed, Draw::kOther);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(rng.uniform() * static_cast<double>(n)); };
  const auto word = [&](int64_t rank) {
    constexpr std::array kStarts{"b", "cr", "d", "f", "gl", "h", "k", "l", "m", "n", "p", "r", "st", "t", "v", "w"};
    constexpr std::array kEnds{"a", "e", "i", "o", "u", "an", "en", "ing", "on", "ar"};
    Rng of_word(static_cast<uint64_t>(rank), Draw::kOther);
    const auto pick = [&](const auto& list) {
      return list[static_cast<size_t>(of_word.uniform() * static_cast<double>(list.size()))];
    };
    std::string out;
    for (int64_t i = 0; i <= rank % 4; ++i) out += std::string(pick(kStarts)) + pick(kEnds);
    return rank % 50 == 49 ? std::string("слово") : out;
  };
  std::string text;
  while (text.size() < bytes) {
    const double u = rng.uniform();
    text += word(static_cast<int64_t>(u * u * u * static_cast<double>(kWords)));
    const int64_t mark = below(12);
    text += mark == 0 ? ", " : mark == 1 ? ".\n" : " ";
  }
  return text;
}

void tokenize(benchmark::State& state) {
  std::vector<std::string> lessons;
  for (uint64_t i = 0; i < 50; ++i) lessons.push_back(prose(4000, i));
  const Bpe bpe = make_bpe(train_bpe(lessons, 4000), "bench");
  const std::string text = prose(1 << 20, 1000);
  if (bpe.decode(bpe.encode(text)) != text) return state.SkipWithError("the text does not come back");
  for (auto _ : state) benchmark::DoNotOptimize(bpe.encode(text));
  state.SetBytesProcessed(static_cast<int64_t>(text.size()) * state.iterations());
}

// Two of the 28 layers of Qwen2-1.5B, over one prompt.
void prefill(benchmark::State& state, int64_t length) {
  const at::NoGradGuard no_grad;
  Qwen2Config config;
  config.num_hidden_layers = 2;
  config.vocab_size = 1000;
  TensorMap weights = random_qwen2_weights(config, 1), exact_weights;
  for (const auto& [name, w] : weights) exact_weights[name] = w.to(at::kDouble);
  const Qwen2 tower(config, weights);
  Qwen2 exact(config, exact_weights);
  exact.to(at::kCPU, at::kDouble);
  const Tensor ids = at::arange(length, at::kLong).remainder(config.vocab_size).unsqueeze(0);
  if (!accept(state, relative_l2(tower.forward(ids, {}), exact.forward(ids, {})), 1e-4)) return;

  const auto n = static_cast<double>(length), hidden = static_cast<double>(config.hidden_size),
             queries = static_cast<double>(config.num_attention_heads * config.head_dim),
             keys = static_cast<double>(config.num_key_value_heads * config.head_dim),
             inner = static_cast<double>(config.intermediate_size);
  const double macs = n * hidden * (2 * queries + 2 * keys + 3 * inner) + 2 * n * n * queries;
  time(state, 2 * static_cast<double>(config.num_hidden_layers) * macs,
       product_rate(length, config.hidden_size, config.intermediate_size), [&] { return tower.forward(ids, {}); });
}

BENCHMARK(tokenize)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(prefill, tokens_300, 300)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(prefill, tokens_600, 600)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace crescendo::bench
