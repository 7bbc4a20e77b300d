#include "crescendo/pipeline/pipeline.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/core/log.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

namespace {

// The part of injected noise that belongs to images begin..end of the request.
TensorMap noise_of(const TensorMap& noise, int64_t begin, int64_t end, int64_t size) {
  TensorMap out;
  for (const auto& [name, t] : noise) {
    const int64_t axis = name == "noise_init"   ? 1
                         : name == "noise_step" ? 2
                                                : 0;  // [S, B, ...], [S, T, B, ...], [B, L]
    check(t.dim() > axis && t.size(axis) == size, "noise file: ", name, " ", t.sizes(), " must have ", size,
          " images along dimension ", axis);
    out[name] = t.slice(axis, begin, end);
  }
  return out;
}

// Whether the latents of image `index` (C, H, W) are far from the unit variance that a picture's have; then says so.
bool warn_of_noise(const Tensor& latents, int64_t index) {
  constexpr double kMost = 5;
  const double size = std::sqrt(latents.to(at::kDouble).square().mean().item<double>());
  if (size > kMost)
    log_warning(concat("the latents of image ", index + 1, " are ", std::lround(size),
                       " times as large as those of pictures: what was drawn is noise; try `sampler.preset=fast` or "
                       "less `sampler.cfg`"));
  return size > kMost;
}

}  // namespace

std::vector<std::string> strip_labels(const Plan& plan, StripOf strip_of, const ModelConfig& model) {
  std::vector<std::string> labels;
  const auto steps = static_cast<int64_t>(plan.steps.size());
  for (int64_t k = 0; k < steps; ++k) {
    const int64_t of = strip_of == StripOf::kInputs ? k + 1 : k;
    if (model.order == Order::kNextScale)
      labels.push_back(concat("side ", model.sides()[static_cast<size_t>(k)]));
    else if (!model.level_input())
      labels.push_back(concat("step ", k + 1));
    else
      labels.push_back(concat(
          "level ", of < steps ? plan.steps[static_cast<size_t>(of)].head.level : static_cast<double>(model.levels)));
  }
  return labels;
}

Pipeline::Pipeline(ModelInfo info, std::unique_ptr<FarModel> model, std::shared_ptr<const KlVae> vae,
                   Execution execution)
    : info_(std::move(info)), model_(std::move(model)), sampler_(*model_, std::move(execution)), vae_(std::move(vae)) {
  if (!vae_) return;
  check(vae_->config().latent_channels == info_.model.latent_channels, "the tokenizer has ",
        vae_->config().latent_channels, " latent channels, the model ", info_.model.latent_channels,
        ": they do not belong together");
}

std::unique_ptr<Pipeline> Pipeline::load(const std::filesystem::path& dir, const LoadOptions& options) {
  ModelInfo info = load_model_info(dir);
  auto model = load_model(dir, info, options.device, options.dtype);
  std::shared_ptr<const KlVae> vae;
  if (options.tokenizer) {
    check(
        has_tokenizer(dir), dir.string(),
        " has no tokenizer/ to decode with; `crescendo convert` adds one as `tokenizer`, `decode=false` does without");
    vae = load_tokenizer(dir / kTokenizerFolder, options.device, at::kFloat);
  }
  return std::make_unique<Pipeline>(std::move(info), std::move(model), std::move(vae), Execution{.int8 = options.int8});
}

Tensor Pipeline::condition(const Request& r, int64_t begin, int64_t end) const {
  const at::NoGradGuard no_grad;
  const auto device = model_->device();
  if (info_.model.is_text()) {
    check_usage(r.text.defined(), "this model makes pictures from text: give `text`");
    std::vector<int64_t> rows;
    for (int64_t i = begin; i < end; ++i) {
      rows.push_back(r.text_rows.empty() ? i : r.text_rows.at(static_cast<size_t>(i)));
      check(rows.back() >= kUnconditional && rows.back() < r.text.size(0), "image ", i, " asks for text ", rows.back(),
            ", but there are states of ", r.text.size(0));
    }
    const Conditions& conditions = model_->conditions();
    const Tensor index = at::tensor(rows, at::kLong).to(r.text.device());
    const Tensor text = conditions.text_condition(r.text.index_select(0, index.clamp_min(0)).to(device, model_->dtype()));
    return at::where(index.eq(kUnconditional).to(device).view({-1, 1, 1}), conditions.null_condition(end - begin), text);
  }
  check_usage(!r.labels.empty(), "this model makes pictures of classes: give `labels`");
  return model_->conditions().class_condition(
      at::tensor(at::ArrayRef<int64_t>(r.labels).slice(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
                 at::kLong)
          .to(device));
}

bool Pipeline::generate(const Request& r, const PipelineHooks& hooks) const {
  const at::NoGradGuard no_grad;
  const std::lock_guard one_at_a_time(busy_);
  const int64_t size = r.size();
  check_usage(size > 0, "nothing to generate: no images were asked for");
  check_usage(r.batch >= 1, "the batch must be at least 1, got ", r.batch);
  check_usage(r.labels.empty() || static_cast<int64_t>(r.labels.size()) == size, "one class per image: got ",
              r.labels.size(), " classes for ", size, " images");
  for (const int64_t label : r.labels)
    check_usage(label >= 0 && label < info_.model.classes, "class numbers run from 0 to ", info_.model.classes - 1,
                ", got ", label);
  // Without text_rows there is one row of states per image.
  const auto texts =
      r.text_rows.empty() && r.text.defined() ? r.text.size(0) : static_cast<int64_t>(r.text_rows.size());
  check_usage(texts == size || (texts == 0 && !r.text.defined()), "one text per image: got ", texts, " for ", size,
              " images");
  check_usage(!r.decode || vae_, "this model was loaded without a tokenizer: only latents can be had");
  const ModelConfig& m = info_.model;
  const Plan plan = make_plan(resolve_sampler(merge_asked(info_.sampler, r.sampler), m), m);
  const auto steps = static_cast<int64_t>(plan.steps.size());
  if (const auto warning = noise_warning(plan)) log_warning(*warning);
  bool warned_of_noise = false;

  for (int64_t begin = 0; begin < size; begin += r.batch) {
    const int64_t end = std::min(size, begin + r.batch), count = end - begin;
    const SeededNoise seeded({r.seeds.begin() + begin, r.seeds.begin() + end}, m.drawn_tokens(), m.token_channels(),
                             model_->device());
    const GivenNoise given(noise_of(r.noise, begin, end, size), seeded, count, m.drawn_tokens(), m.token_channels());

    std::vector<Generated> out(static_cast<size_t>(count));
    for (int64_t b = 0; b < count; ++b) out[static_cast<size_t>(b)].index = begin + b;
    std::vector<Tensor> traces;
    int64_t step_now = 0;
    SampleHooks sample_hooks;
    sample_hooks.on_input = [&](int64_t k, const Tensor& tokens) {
      step_now = k;
      if (r.trace) traces.push_back(tokens.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true));
    };
    sample_hooks.on_inner_step = [&](int64_t done, int64_t total) {
      if (!hooks.on_progress) return true;
      const double batch_done = static_cast<double>(done) / static_cast<double>(total);
      const double share =
          (static_cast<double>(begin) + batch_done * static_cast<double>(count)) / static_cast<double>(size);
      return hooks.on_progress(share, concat("image ", begin + 1, count > 1 ? concat("-", end) : "", " of ", size,
                                             ", step ", step_now + 1, " of ", steps));
    };
    const auto add_to_strip = [&](int64_t, const Tensor& latents) {
      const Tensor pictures = vae_->decode_latent(latents, model_->dtype());
      for (int64_t b = 0; b < count; ++b)
        out[static_cast<size_t>(b)].strip.push_back(tensor_to_image(pictures[b].to(at::kCPU)));
      return true;
    };
    if (r.strip && vae_ && r.strip_of == StripOf::kPredictions) sample_hooks.on_outer_step = add_to_strip;
    if (r.strip && vae_ && r.strip_of == StripOf::kInputs) sample_hooks.on_filtered = add_to_strip;

    const Tensor latents = sampler_.sample(condition(r, begin, end), plan, given, sample_hooks);  // (b, C, H, W)
    if (!latents.defined()) return false;
    const Tensor pictures = r.decode ? vae_->decode_latent(latents, model_->dtype()).to(at::kCPU) : Tensor();
    for (int64_t b = 0; b < count; ++b) {
      Generated& g = out[static_cast<size_t>(b)];
      g.latent = latents[b].to(at::kCPU);
      warned_of_noise = warned_of_noise || warn_of_noise(g.latent, g.index);
      if (r.decode) g.image = tensor_to_image(pictures[b]);
      if (r.trace) {
        std::vector<Tensor> rows;
        for (const Tensor& t : traces) rows.push_back(t[b]);
        g.trace = at::stack(rows);
      }
      if (hooks.on_image) hooks.on_image(std::move(g));
    }
  }
  return true;
}

}  // namespace crescendo
