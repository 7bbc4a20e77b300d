// Sampling as data: a plan is a list of outer steps, made by pure functions and executed by one sampler (sample.h).
//
// A preset says how levels, masks, guidance, temperature and inner steps run over the outer steps; options change
// single choices. The plan itself can be printed (--dry-run) and tested without a model.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "crescendo/diffusion/solvers.h"
#include "crescendo/model/config.h"

namespace crescendo {

struct Step {
  double level = 0;               // told to the diffusion head
  std::optional<int64_t> filter;  // level of the low-pass applied to the prediction afterwards
  int64_t masked = 0;             // tokens hidden from the encoder on entering this step
  double guidance = 1;            // s in eps = u + s (c - u)
  // Where guided: the transformer answers with the condition only, and its answer without one differs from that as it
  // did at the last step that asked for both.
  bool kept_difference = false;
  double temperature = 1;      // scales the noise of the inner steps
  int64_t inner_steps = 100;   // T
  int64_t start_timestep = 0;  // noisiest t of the inner steps; 0 is the solver's own
  int64_t end_timestep = 0;    // the least noisy one
  // The inner steps start from the previous step's prediction with the noise of start_timestep, not from noise alone.
  bool draft = false;
};

struct Plan {
  std::vector<Step> steps;
  bool keep_predicted = false;  // MAR: a token is predicted once and kept; FAR predicts every token anew
  bool random_order = false;    // tokens are revealed in a random order (mask modes)
  Solver solver = Solver::kDdpm;
  FilterType filter = FilterType::kSpatial;

  int64_t inner_steps() const;  // in all
};

enum class CfgSchedule { kPreset, kLinear, kConstant };
constexpr auto enum_table(CfgSchedule) {
  return std::array{EnumName{CfgSchedule::kPreset, "preset"}, EnumName{CfgSchedule::kLinear, "linear"},
                    EnumName{CfgSchedule::kConstant, "constant"}};
}
enum class MaskMode { kAuto, kOn, kOff };
constexpr auto enum_table(MaskMode) {
  return std::array{EnumName{MaskMode::kAuto, "auto"}, EnumName{MaskMode::kOn, "on"}, EnumName{MaskMode::kOff, "off"}};
}
enum class FilterChoice { kModel, kSpatial, kFourier };
constexpr auto enum_table(FilterChoice) {
  return std::array{EnumName{FilterChoice::kModel, "model"}, EnumName{FilterChoice::kSpatial, "spatial"},
                    EnumName{FilterChoice::kFourier, "fourier"}};
}

// What a user or a model's config.json may choose. Zero, empty or null means: as the preset says.
struct SamplerOptions {
  std::string preset = "paper";
  int64_t steps = 0;
  std::vector<int64_t> levels;
  double cfg = 3.0;
  CfgSchedule cfg_schedule = CfgSchedule::kPreset;
  double temperature = 1.0;
  std::vector<int64_t> cfg_interval;     // {first, last} outer step
  int64_t cfg_refresh = 1;               // every N-th guided step, from the last on, asks for both answers
  std::vector<int64_t> diffusion_steps;  // {T}, {first, last} or more on the way
  std::optional<Solver> solver;
  int64_t start_timestep = 0;
  std::optional<std::vector<int64_t>> end_timestep;  // {t}, {first, last} or more on the way
  int64_t draft_timestep = 0;
  MaskMode mask = MaskMode::kAuto;
  int64_t visible_level = 0;
  FilterChoice filter = FilterChoice::kModel;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("preset", s.preset, "paper, fast, turbo, published-nomask, published-mask, published-t2i or mar");
    v("steps", s.steps, "outer steps; 0 is the preset's");
    v("levels", s.levels, "level of every outer step, increasing; empty is the preset's");
    v("cfg", s.cfg, "guidance scale s; 1 is none");
    v("cfg_schedule", s.cfg_schedule, "how guidance runs over the outer steps");
    v("temperature", s.temperature, "scale of the noise in the inner steps");
    v("cfg_interval", s.cfg_interval,
      "[first, last] outer step (from 0) that is guided, the others at scale 1; empty is the preset's");
    v("cfg_refresh", s.cfg_refresh,
      "N: the transformer answers without the condition, too, at every N-th guided outer step, counted from the last, "
      "and at the first; in between that answer differs from the one with it as it did last");
    v("diffusion_steps", s.diffusion_steps,
      "inner steps: [T], or [first, .., last] to run linearly from one to the next over the outer steps");
    v("solver", s.solver, "solver of the inner steps; null is the preset's");
    v("start_timestep", s.start_timestep,
      "noisiest timestep of the inner steps; 0 is the preset's, or the solver's own (ddpm: 999)");
    v("end_timestep", s.end_timestep,
      "least noisy timestep of the inner steps: [t], or [first, .., last], linear from one to the next over the outer "
      "steps; null is the preset's");
    v("draft_timestep", s.draft_timestep,
      "from the second outer step on, inner steps start at this timestep from the previous prediction; 0 is off");
    v("mask", s.mask, "mask mode; auto is how the model was trained");
    v("visible_level", s.visible_level,
      "in mask mode, level from which on no token is hidden: the cosine runs over the levels up to it; 0 is what the "
      "model was trained with, or over the steps");
    v("filter", s.filter, "low-pass filter; model is the one it was trained with");
  }
};

// Throws a usage error where options contradict each other, the preset or the model.
Plan make_plan(const SamplerOptions& options, const ModelConfig& model);

// One line on a plan that draws noise, and what to do instead: where an error of the head in its first eps is
// multiplied by more than the paper's first step does (822), or by hundreds in the result, or where inner steps begin
// at a timestep that has more of the picture than of noise. Null where all is well.
std::optional<std::string> noise_warning(const Plan& plan);

// Level up to which the masks of these options go by level; 0: they run over the steps.
int64_t sampled_visible_level(const SamplerOptions& options, const ModelConfig& model);

std::vector<std::string> sampler_preset_names();
Json plan_to_json(const Plan& plan);

// Tokens hidden on entering step k of S when revealing follows the cosine (paper, section 4.3; MaskGIT): all at k = 0,
// floor(L cos(pi/2 k/S)) after that.
int64_t cosine_masked(int64_t tokens, int64_t k, int64_t steps);

// Tokens hidden at a level where masks go by level, in training (MaskDraw::kCosine) as while sampling: the cosine over
// the levels below `visible_level`, and none from there on.
int64_t hidden_at_level(int64_t tokens, int64_t level, int64_t visible_level);

}  // namespace crescendo
