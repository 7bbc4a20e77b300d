#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "crescendo/cli/sampler_args.h"
#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/join.h"
#include "crescendo/core/log.h"
#include "crescendo/core/memory.h"
#include "crescendo/kernels/cpu/packed_weight.h"
#include "crescendo/kernels/device_memory.h"
#include "crescendo/order/cost.h"
#include "crescendo/order/sample.h"
#include "crescendo/pipeline/memory.h"
#include "crescendo/store/model_dir.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

namespace {

struct Arguments {
  CommonOptions common;
  SamplerArgs sampler;
  std::string size = "far-b", model;
  int64_t images = 1;
  bool check = false, no_decode = false, plain = false;
};

// What is timed: a model directory, or a published size with random weights.
struct Subject {
  std::filesystem::path dir;  // empty: a published size
  ModelInfo info;
  std::optional<KlVaeConfig> vae_config;  // with --no-decode none
  std::unique_ptr<FarModel> model;
  std::shared_ptr<const KlVae> vae;
  double load_s = 0;
};

// The layers that training starts at zero get values, or the head would have nothing to compute with.
void wake(FarModel& model) {
  for (const auto& [name, p] : model.params().items())
    if (name.starts_with("diffloss.net.final_layer.linear") || name.find("adaLN_modulation") != std::string::npos)
      Tensor(p).normal_(0, 0.02);
}

// Sizes alone.
Subject find_subject(const Arguments& a) {
  Subject s;
  if (!a.model.empty()) {
    s.dir = find_model(a.model);
    s.info = load_model_info(s.dir);
    if (!a.no_decode) s.vae_config = decoder_of(s.dir);
    return s;
  }
  s.info.model = model_preset(a.size);
  s.info.model.masked = false;
  s.info.sampler["preset"] = s.info.model.order == Order::kMar ? "mar"
                             : s.info.model.is_text()          ? "published-t2i"
                                                               : "published-nomask";
  if (!a.no_decode) s.vae_config = kl_vae_preset("kl16");
  return s;
}

void check_fits(const Arguments& a, const Subject& s) {
  if (!a.common.parsed_device().is_cpu()) return;
  // Stored weights are mapped; random ones are drawn in fp32.
  const double weights =
      s.dir.empty() ? 4.0 * static_cast<double>(FarModel::outline(s.info.model)->params().count()) : 0;
  check_fits_memory(weights + static_cast<double>(a.images) * sampling_bytes(s.info.model, s.vae_config),
                    concat(s.dir.empty() ? a.size : a.model, " with a batch of ", a.images),
                    "take fewer --images or a smaller --size");
}

void load_subject(const Arguments& a, Subject& s) {
  const at::Device device = a.common.parsed_device();
  const at::ScalarType dtype = a.common.parsed_dtype();
  const double start_s = now_s();
  if (!s.dir.empty()) {
    s.model = load_model(s.dir, s.info, device, dtype);
    if (!a.no_decode) s.vae = load_tokenizer(s.dir / kTokenizerFolder, device, at::kFloat);
  } else {
    s.model = FarModel::random(s.info.model, 1);
    wake(*s.model);
    s.model->params().to(device, dtype);
    if (s.vae_config) {
      auto vae = KlVae::random(*s.vae_config, 2);
      vae->params().to(device, at::kFloat);
      s.vae = std::move(vae);
    }
  }
  s.load_s = now_s() - start_s;
}

// FLOP/s of the best product at hand: on a CPU by a packed weight of a size of the head's, on a GPU LibTorch's of a
// size that keeps all of it at work. The best of a few.
double product_rate(at::Device device, at::ScalarType dtype, bool int8) {
  const int64_t rows = device.is_cpu() ? 512 : 8192, width = device.is_cpu() ? 1024 : 8192;
  const int products = device.is_cpu() ? 1 : 4;  // asked for at once, so that asking takes no time
  const auto options = at::TensorOptions(device).dtype(dtype);
  const Tensor a = at::randn({rows, width}, options), b = at::randn({width, width}, options);
  Tensor out = at::mm(a, b);
  std::optional<PackedWeight> packed;
  const Products how = int8 ? Products::kInt8 : Products::kPacked;
  if (PackedWeight::serves(b, how)) packed.emplace(b, how);
  const RoundedRows rounded = int8 ? rounded_rows(a) : RoundedRows();
  const auto multiply = [&] {
    if (int8)
      packed->multiply(rounded, {}, out);
    else if (packed)
      packed->multiply(a, {}, out);
    else
      at::mm_out(out, a, b);
  };
  const auto wait = [&] { out.view(-1).slice(0, 0, 1).to(at::kCPU); };
  wait();
  double best = 0;
  for (int trial = 0; trial < (device.is_cpu() ? 20 : 3); ++trial) {
    const double start_s = now_s();
    for (int i = 0; i < products; ++i) multiply();
    wait();
    best = std::max(best, 2.0 * static_cast<double>(products * rows * width * width) / (now_s() - start_s));
  }
  return best;
}

struct Timed {
  SampleTimes times;
  double sample_s = 0, decode_s = 0, first_step_s = 0;
  Tensor latents;
  double total_s() const { return sample_s + decode_s; }
};

// Different runs of one sampler have conditions of their own, or the later would begin with the earlier's first step.
Timed run_once(const Arguments& a, const Subject& s, Sampler& sampler, const Plan& plan, int64_t run = 0) {
  const at::NoGradGuard no_grad;
  const ModelConfig& m = s.info.model;
  std::vector<uint64_t> seeds;
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < a.images; ++i) {
    seeds.push_back(static_cast<uint64_t>(i));
    labels.push_back((run * a.images + i) % std::max<int64_t>(1, m.classes));
  }
  const at::Device device = s.model->device();
  const Tensor condition = m.is_text() ? s.model->conditions().null_condition(a.images) * (1 + 0.01 * run)
                                       : s.model->conditions().class_condition(at::tensor(labels).to(device));
  const SeededNoise noise(seeds, m.drawn_tokens(), m.token_channels(), device);
  Timed t;
  const double start_s = now_s();
  Progress bar("sampling");
  SampleHooks hooks;
  hooks.times = &t.times;
  hooks.on_inner_step = [&](int64_t done, int64_t total) {
    if (done == 1) t.first_step_s = now_s() - start_s;
    bar.update(static_cast<double>(done) / static_cast<double>(total), concat(done, " of ", total, " inner steps"));
    return !interrupted();
  };
  t.latents = sampler.sample(condition, plan, noise, hooks);
  check(t.latents.defined(), "stopped");
  bar.finish();
  t.sample_s = now_s() - start_s;
  if (s.vae && !a.plain) {
    const double decode_start_s = now_s();
    s.vae->decode_latent(t.latents, s.model->dtype()).to(at::kCPU);
    t.decode_s = now_s() - decode_start_s;
  }
  return t;
}

// What the first evaluation alone pays for: memory that is touched for the first time, code that is loaded, a GPU's
// graphs, which stand after two whole runs. Seconds until the first evaluation is there.
double warm_up(const Arguments& a, const Subject& s, Sampler& sampler, const Plan& plan) {
  Plan one = plan;
  one.steps = {plan.steps.back()};
  one.steps[0].head.spacing = {1};
  const double first_step_s = run_once(a, s, sampler, one, 1).first_step_s;
  if (!s.model->device().is_cpu())
    for (const int64_t run : {2, 3}) run_once(a, s, sampler, plan, run);
  return first_step_s;
}

double relative_difference(const Tensor& a, const Tensor& b) {
  const Tensor x = a.to(at::kCPU, at::kDouble), y = b.to(at::kCPU, at::kDouble);
  return ((x - y).norm() / y.norm()).item<double>();
}

double peak_memory_mb() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

double megabytes(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

void print_row(const char* name, double seconds, double flop, double images) {
  std::printf("  %-10s %9.3f s", name, seconds / images);
  if (flop > 0) std::printf("  %8.3f TFLOP  %8.1f GFLOP/s", flop / 1e12, flop * images / seconds / 1e9);
  std::printf("\n");
}

void run(const Arguments& a) {
  a.common.apply();
  Subject s = find_subject(a);
  const Plan plan = make_plan(a.sampler.over(s.info), s.info.model);
  if (a.common.dry_run) return print_json(plan_to_json(plan));
  check_fits(a, s);
  load_subject(a, s);
  catch_interrupts();
  const at::Device device = s.model->device();
  const PlanCost cost = plan_cost(plan, s.info.model);
  Sampler sampler(*s.model, {.plain = a.plain, .int8 = a.sampler.int8});
  const double first_step_s = warm_up(a, s, sampler, plan);
  double product = product_rate(device, s.model->dtype(), a.sampler.int8);
  const Timed t = run_once(a, s, sampler, plan);
  product = std::max(product, product_rate(device, s.model->dtype(), a.sampler.int8));
  const double peak_mb = peak_memory_mb(), peak_device_mb = megabytes(peak_device_bytes(device));
  const double weights_mb = megabytes(s.model->params().bytes() + (s.vae ? s.vae->params().bytes() : 0));
  const std::string product_by =
      device.is_cpu() ? onednn::instructions(a.sampler.int8 ? at::kChar : s.model->dtype()) : "";
  const auto images = static_cast<double>(a.images);
  const PlanWork& work = cost.done;
  const double decode_flop = s.vae ? s.vae->decode_flop(s.info.model.latent_height, s.info.model.latent_width) : 0;
  Json out = {{"model", a.model.empty() ? a.size : a.model},
              {"device", device_description(device)},
              {"dtype", a.common.dtype},
              {"int8", a.sampler.int8},
              {"images", a.images},
              {"load_s", s.load_s},
              {"first_inner_step_s", first_step_s},
              {"s_per_image", t.total_s() / images},
              {"backbone_s", t.times.backbone_s / images},
              {"head_s", t.times.head_s / images},
              {"decode_s", t.decode_s / images},
              {"tflop_written", cost.written.total() / 1e12},
              {"tflop_done", cost.done.total() / 1e12},
              {"tflop_decode", decode_flop / 1e12},
              {"gflop_per_s", work.total() * images / t.sample_s / 1e9},
              {"product_gflop_per_s", product / 1e9},
              {"product_by", product_by},
              {"share_of_product", work.total() * images / t.sample_s / product},
              {"weights_mb", weights_mb},
              {"peak_mb", peak_mb}};
  if (peak_device_mb > 0) out["peak_device_mb"] = peak_device_mb;
  if (a.check) {
    Sampler plain(*s.model, {.plain = true});
    const Timed reference = run_once(a, s, plain, plan);
    out["plain_s_per_image"] = reference.sample_s / images;
    out["plain_over_fast"] = reference.sample_s / t.sample_s;
    out["relative_difference"] = relative_difference(t.latents, reference.latents);
  }
  if (a.common.json) return print_json(out);
  std::printf("%s, %s, %s, batch of %lld; seconds and work per image\n", out["model"].get<std::string>().c_str(),
              a.common.dtype.c_str(), device_description(device).c_str(), static_cast<long long>(a.images));
  print_row("backbone", t.times.backbone_s, work.encoder + work.decoder, images);
  print_row("head", t.times.head_s, work.head, images);
  if (s.vae) print_row("decode", t.decode_s, decode_flop, images);
  print_row("all", t.total_s(), 0, images);
  std::printf("done %.2f of the %.2f TFLOP of the published code; %.0f %% of the product's %.1f GFLOP/s%s%s\n",
              work.total() / 1e12, cost.written.total() / 1e12, 100 * out["share_of_product"].get<double>(),
              product / 1e9, product_by.empty() ? "" : " by ", product_by.c_str());
  std::printf("ready in %.2f s, first inner step after %.2f s more, peak memory %.0f MB with weights of %.0f MB",
              s.load_s, first_step_s, peak_mb, weights_mb);
  if (peak_device_mb > 0) std::printf(", on the device %.0f MB", peak_device_mb);
  std::printf("\n");
  if (a.check)
    std::printf("plain path: %.3f s an image, %.2f times as long; relative difference of the latents %.1e\n",
                out["plain_s_per_image"].get<double>(), out["plain_over_fast"].get<double>(),
                out["relative_difference"].get<double>());
}

}  // namespace

void add_bench_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("bench", "Time a model's parts beside the machine's own products");
  auto a = std::make_shared<Arguments>();
  const std::string sizes = join(kModelPresets, ", ", [](const ModelPreset& p) { return p.name; });
  const std::string what = "What";
  CLI::Option* size =
      command->add_option("--size", a->size, "published size with random weights: " + sizes)->group(what);
  command->add_option("--model", a->model, "a model directory in its place")->group(what)->excludes(size);
  add_number(*command, "--images", a->images, "images in the one batch that is timed", 1)->group(what);
  command->add_flag("--check", a->check, "also run the plain path, and compare results and times")->group(what);
  command->add_flag("--plain", a->plain, "time the plain path alone")->group(what);
  command->add_flag("--no-decode", a->no_decode, "leave out the tokenizer's decoder")->group(what);
  a->sampler.add(*command);
  a->common.add(*command);
  add_examples(*command, {"bench --size far-b --preset paper --no-mask --steps 2 --diffusion-steps 4 --check",
                          "bench --model shapes-64 --images 8 --json"});
  command->callback([a] { run(*a); });
}

}  // namespace crescendo
