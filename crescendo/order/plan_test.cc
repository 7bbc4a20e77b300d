#include "crescendo/order/plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::usage_error_of;
using Ints = std::vector<int64_t>;

ModelConfig mar() {
  ModelConfig c;
  c.kind = ModelKind::kMarClass;
  return c;
}

Plan plan_of(const std::string& preset, const ModelConfig& model = {}, const Ints& levels = {}) {
  SamplerOptions o;
  o.preset = preset;
  o.levels = levels;
  return make_plan(o, model);
}

template <class F>
auto column(const Plan& plan, F f) {
  std::vector<decltype(f(plan.steps[0]))> out;
  for (const Step& s : plan.steps) out.push_back(f(s));
  return out;
}
Ints levels(const Plan& p) {
  return column(p, [](const Step& s) { return static_cast<int64_t>(s.level); });
}
Ints masked(const Plan& p) {
  return column(p, [](const Step& s) { return s.masked; });
}
// -1 for none.
Ints filters(const Plan& p) {
  return column(p, [](const Step& s) { return s.filter.value_or(-1); });
}
Ints inner(const Plan& p) {
  return column(p, [](const Step& s) { return s.inner_steps; });
}
void expect_near(const std::vector<double>& values, auto formula) {
  for (size_t k = 0; k < values.size(); ++k)
    EXPECT_NEAR(values[k], formula(static_cast<double>(k)), 1e-12) << "step " << k;
}
std::vector<double> guidance(const Plan& p) {
  return column(p, [](const Step& s) { return s.guidance; });
}
std::vector<double> temperature(const Plan& p) {
  return column(p, [](const Step& s) { return s.temperature; });
}

constexpr double kHalfPi = std::numbers::pi / 2;

// The three published samplers, column by column.
TEST(Plan, PublishedNomask) {
  const Plan p = plan_of("published-nomask");
  EXPECT_EQ(levels(p), (Ints{0, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(filters(p), (Ints{2, 3, 4, 5, 6, 7, 8, 9, 10, -1}));
  EXPECT_EQ(masked(p), Ints(10, 0));
  EXPECT_EQ(inner(p), Ints(10, 100));
  expect_near(guidance(p), [](double k) { return 1 + 2 * k / 10; });
  expect_near(temperature(p), [](double k) { return 0.8 + 0.2 * (1 - std::cos(kHalfPi * (k + 1) / 10)); });
  EXPECT_FALSE(p.random_order);
  EXPECT_FALSE(p.keep_predicted);
}
TEST(Plan, PublishedMask) {
  const Plan p = plan_of("published-mask");
  EXPECT_EQ(levels(p), (Ints{0, 12, 12, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(filters(p), (Ints{-1, 12, 4, 5, 6, 7, 8, 9, 10, 11, -1}));
  EXPECT_EQ(masked(p), (Ints{256, 253, 245, 232, 215, 193, 167, 138, 106, 72, 36}));
  EXPECT_EQ(inner(p), Ints(11, 100));
  expect_near(guidance(p), [](double k) { return 1 + 2 * k / 11; });
  expect_near(temperature(p), [](double k) { return 0.85 + 0.15 * k / 11; });
  EXPECT_TRUE(p.random_order);
  EXPECT_FALSE(p.keep_predicted);
}
TEST(Plan, PublishedText) {
  const Plan p = plan_of("published-t2i");
  EXPECT_EQ(levels(p), (Ints{0, 2, 3, 4, 5, 6, 7, 8, 10, 13}));
  EXPECT_EQ(filters(p), (Ints{2, 3, 4, 5, 6, 7, 8, 10, 13, -1}));
  EXPECT_EQ(masked(p), (Ints{256, 252, 243, 228, 207, 181, 150, 116, 79, 40}));
  EXPECT_EQ(inner(p), Ints(10, 100));
  expect_near(guidance(p), [](double) { return 3.0; });
  expect_near(temperature(p), [](double k) { return 0.8 + 0.2 * (1 - std::cos(kHalfPi * (k + 1) / 10)); });
  EXPECT_TRUE(p.random_order);
}

TEST(Plan, PaperForAnyNumberOfSteps) {
  for (const int64_t most : {1, 2, 5, 16}) {
    ModelConfig model;
    model.levels = most;
    for (int64_t steps = 1; steps <= most; ++steps) {
      SamplerOptions o;
      o.steps = steps;
      const Plan p = make_plan(o, model);
      const auto level = levels(p);
      ASSERT_EQ(static_cast<int64_t>(level.size()), steps);
      EXPECT_EQ(level[0], 0);
      if (steps > 1) {
        EXPECT_EQ(level.back(), most - 1);
      }
      for (size_t k = 0; k < level.size(); ++k) {
        EXPECT_EQ(p.steps[k].temperature, 1.0);
        if (k == 0) continue;
        EXPECT_GT(level[k], level[k - 1]);
        EXPECT_LE(std::abs(static_cast<double>(level[k]) -
                           static_cast<double>(k) * static_cast<double>(most - 1) / static_cast<double>(steps - 1)),
                  0.5);
        EXPECT_EQ(p.steps[k - 1].filter, level[k]);  // as much as the next step was trained to see
      }
      EXPECT_FALSE(p.steps.back().filter.has_value());
      EXPECT_DOUBLE_EQ(p.steps.back().guidance, 3.0);  // the ramp reaches s
      EXPECT_EQ(p.steps.back().inner_steps, 100);
      if (steps > 1) {
        EXPECT_EQ(p.steps[0].guidance, 1.0);
        EXPECT_EQ(p.steps[0].inner_steps, 40);
      }
      EXPECT_EQ(p.steps[0].masked, 256);
    }
  }
}

TEST(Plan, PaperDefaults) {
  const Plan p = plan_of("paper");
  EXPECT_EQ(levels(p), (Ints{0, 2, 3, 5, 7, 8, 10, 12, 13, 15}));
  EXPECT_EQ(masked(p), (Ints{256, 252, 243, 228, 207, 181, 150, 116, 79, 40}));
  EXPECT_EQ(inner(p), (Ints{40, 47, 53, 60, 67, 73, 80, 87, 93, 100}));
  EXPECT_EQ(p.inner_steps(), 700);  // a mean of 70, as the paper says
  ModelConfig small;
  small.levels = 4;
  EXPECT_EQ(levels(plan_of("paper", small)), (Ints{0, 1, 2, 3}));
}

// The paper's plan over other levels, with other inner steps.
TEST(Plan, FastPresetsSpareSteps) {
  const Ints nine{0, 2, 3, 5, 7, 9, 11, 13, 15};
  const Plan paper = plan_of("paper", {}, nine);
  const struct {
    const char* name;
    int64_t steps, end;
  } expected[] = {{"fast", 12, 0}, {"turbo", 6, 40}};
  for (const auto& e : expected) {
    Plan p = plan_of(e.name);
    EXPECT_EQ(levels(p), nine);
    EXPECT_EQ(p.solver, Solver::kDpm2mSde);
    EXPECT_EQ(inner(p), Ints(9, e.steps));
    p.solver = paper.solver;
    for (size_t k = 0; k < p.steps.size(); ++k) {
      EXPECT_EQ(p.steps[k].start_timestep, 980);
      EXPECT_EQ(p.steps[k].end_timestep, e.end);
      p.steps[k].end_timestep = 0;
      p.steps[k].inner_steps = paper.steps[k].inner_steps;
      p.steps[k].start_timestep = 0;
    }
    EXPECT_EQ(plan_to_json(p), plan_to_json(paper)) << e.name;
    SamplerOptions o;
    o.preset = e.name;
    o.solver = Solver::kDdim;
    o.diffusion_steps = {25};
    o.start_timestep = 999;
    o.end_timestep = Ints{3};
    p = make_plan(o, {});
    EXPECT_EQ(p.solver, Solver::kDdim);
    EXPECT_EQ(inner(p), Ints(9, 25));
    EXPECT_EQ(p.steps[3].start_timestep, 999);
    EXPECT_EQ(p.steps[3].end_timestep, 3);
  }
}

// Their levels are those of a model with sixteen; elsewhere, and where other steps are asked for, they are spread
// evenly.
TEST(Plan, FastPresetsFitAnyModel) {
  const auto levels_for = [](int64_t model_levels, int64_t steps, const Ints& asked = {}) {
    ModelConfig model;
    model.levels = model_levels;
    SamplerOptions o;
    o.preset = "fast";
    o.steps = steps;
    o.levels = asked;
    return levels(make_plan(o, model));
  };
  EXPECT_EQ(levels_for(16, 9), (Ints{0, 2, 3, 5, 7, 9, 11, 13, 15}));
  EXPECT_EQ(levels_for(16, 10), levels(plan_of("paper")));
  EXPECT_EQ(levels_for(16, 4), (Ints{0, 5, 10, 15}));
  EXPECT_EQ(levels_for(16, 0, {0, 8}), (Ints{0, 8}));
  EXPECT_EQ(levels_for(4, 0), (Ints{0, 1, 2, 3}));
  EXPECT_EQ(levels_for(17, 0), (Ints{0, 2, 4, 6, 8, 10, 12, 14, 16}));
  EXPECT_CONTAINS(test::error_of([&] { levels_for(4, 5); }), "steps must be in 1..4");
}

TEST(Plan, MaskFollowsTheModelUnlessAsked) {
  ModelConfig model;
  for (const bool trained : {false, true}) {
    model.masked = trained;
    EXPECT_EQ(plan_of("paper", model).random_order, trained);
    EXPECT_FALSE(plan_of("published-nomask", model).random_order);
    EXPECT_TRUE(plan_of("published-mask", model).random_order);
    for (const bool on : {false, true}) {
      SamplerOptions o;
      o.mask = on ? MaskMode::kOn : MaskMode::kOff;
      const Plan p = make_plan(o, model);
      EXPECT_EQ(p.random_order, on);
      EXPECT_EQ(p.steps[0].masked, on ? 256 : 0);
    }
  }
}

// The cosine over the levels up to the visible one, whichever steps there are.
TEST(Plan, VisibleLevelEndsTheMasks) {
  SamplerOptions o;
  o.mask = MaskMode::kOn;
  o.visible_level = 10;
  o.levels = {0, 2, 5, 9, 10, 15};
  EXPECT_EQ(masked(make_plan(o, {})), (Ints{256, 243, 181, 40, 0, 0}));
  o.levels = {3, 5};  // nothing is known at first, at any level
  EXPECT_EQ(masked(make_plan(o, {})), (Ints{256, 181}));
  o.visible_level = 16;  // as the steps of the paper: 16 of them stand at the 16 levels
  o.levels = {};
  o.steps = 16;
  const Ints over_levels = masked(make_plan(o, {}));
  o.visible_level = 0;
  EXPECT_EQ(masked(make_plan(o, {})), over_levels);
}

// A model that was trained by level is sampled by level, whichever steps there are; what was published goes by steps.
TEST(Plan, MasksAreThoseOfTheTraining) {
  ModelConfig model;
  model.visible_level = 10;
  SamplerOptions o;
  o.levels = {0, 2, 5, 9, 10, 15};
  for (const char* preset : {"paper", "fast", "turbo"}) {
    o.preset = preset;
    EXPECT_EQ(masked(make_plan(o, model)), (Ints{256, 243, 181, 40, 0, 0})) << preset;
  }
  EXPECT_EQ(sampled_visible_level(o, model), 10);
  o.visible_level = 5;  // asked for
  EXPECT_EQ(masked(make_plan(o, model)), (Ints{256, 207, 0, 0, 0, 0}));
  for (const char* preset : {"published-mask", "published-t2i"})
    EXPECT_EQ(masked(plan_of(preset, model)), masked(plan_of(preset))) << preset;
  o.preset = "published-mask";
  o.visible_level = 0;
  EXPECT_EQ(sampled_visible_level(o, model), 0);
  EXPECT_EQ(masked(plan_of("published-nomask", model)), Ints(10, 0));
}

TEST(Plan, AModelOfTheNextLevelTakesEveryLevelAndNoFilter) {
  for (const int64_t most : {1, 5, 16}) {
    ModelConfig model;
    model.levels = most;
    model.predicts = Target::kNextLevel;
    Ints every;
    for (int64_t i = 0; i < most; ++i) every.push_back(i);
    SamplerOptions o;
    const auto expect_every = [&] {
      const Plan p = make_plan(o, model);
      EXPECT_EQ(levels(p), every);
      EXPECT_EQ(filters(p), Ints(static_cast<size_t>(most), -1));
    };
    expect_every();
    o.levels = every;
    expect_every();
    o.levels = {};
    o.steps = most;
    expect_every();
    o.preset = "fast";
    expect_every();
  }
  ModelConfig model;
  model.predicts = Target::kNextLevel;
  const auto refused = [&](auto change) {
    SamplerOptions o;
    change(o);
    return usage_error_of([&] { make_plan(o, model); });
  };
  const char* message = "this model predicts the next level, so it takes a step at each of its levels, 0..15; got ";
  EXPECT_CONTAINS(refused([](auto& o) { o.steps = 10; }), concat(message, "10 steps of preset paper"));
  EXPECT_CONTAINS(refused([](auto& o) { o.levels = {0, 4, 9}; }), concat(message, "3 steps"));
  for (const char* preset : {"fast", "turbo", "published-nomask", "published-mask", "published-t2i"})
    EXPECT_CONTAINS(refused([&](auto& o) { o.preset = preset; }), message) << preset;
  EXPECT_CONTAINS(refused([](auto& o) { o.filter = FilterChoice::kFourier; }), "--filter does not apply");
  EXPECT_CONTAINS(refused([](auto& o) { o.draft_timestep = 500; }), "--draft-timestep does not apply");
}

// ddpm from t = 999 in few steps, and what comes to the same.
TEST(Plan, WarnsOfNoise) {
  const auto warning = [](auto change, const ModelConfig& model = {}) {
    SamplerOptions o;
    change(o);
    return noise_warning(make_plan(o, model)).value_or("");
  };
  for (const auto& preset : sampler_preset_names()) {
    const auto as_it_is = [&](auto& o) { o.preset = preset; };
    EXPECT_EQ(warning(as_it_is, preset == "mar" ? mar() : ModelConfig()), "") << preset;
  }
  EXPECT_CONTAINS(warning([](auto& o) { o.diffusion_steps = {25}; }),
                  "outer step 1 takes 25 steps of ddpm from t = 999, whose first multiplies an error of the model by "
                  "1327: noise comes out; use --start-timestep 980");
  EXPECT_CONTAINS(warning([](auto& o) { o.diffusion_steps = {60, 8}; }), "outer step 10 takes 8 steps");
  EXPECT_CONTAINS(warning([](auto& o) { o.preset = "mar", o.diffusion_steps = {20}; }, mar()), "by 1674");
  for (const Solver solver : {Solver::kDdim, Solver::kDpm2m, Solver::kDpm2mSde, Solver::kDpm3s}) {
    const auto from = [&](int64_t start, int64_t end, int64_t steps) {
      return [=](auto& o) {
        o.solver = solver;
        o.diffusion_steps = {steps};
        o.start_timestep = start;
        o.end_timestep = Ints{end};
      };
    };
    const std::string name(enum_name(solver));
    EXPECT_CONTAINS(warning(from(999, 0, 4)), "takes 4 steps of " + name + " from t = 999, wh");
    EXPECT_EQ(warning(from(0, 0, 12)), "") << name;  // its own start
    EXPECT_EQ(warning(from(980, 40, 12)), "") << name;
    EXPECT_CONTAINS(warning(from(300, 0, 12)), "from t = 300, where a token is more picture than noise");
    // By log SNR most of the steps are near t = 999, and none is long. DDIM forgets no error.
    if (solver != Solver::kDdim) {
      EXPECT_EQ(warning(from(999, 0, 12)), "") << name;
    } else {
      EXPECT_CONTAINS(warning(from(999, 0, 100)), "which multiply an error of the model by 311");
    }
  }
  const auto ddpm = [&](int64_t steps, int64_t start, int64_t end) {
    return warning([=](auto& o) {
      o.diffusion_steps = {steps};
      o.start_timestep = start;
      o.end_timestep = Ints{end};
    });
  };
  EXPECT_EQ(ddpm(40, 0, 0), "");  // as the paper's first
  EXPECT_EQ(ddpm(25, 980, 0), "");
  EXPECT_EQ(ddpm(8, 990, 0), "");
  EXPECT_EQ(ddpm(25, 999, 500), "");  // the next timestep is as near as with 50 steps to 0
  EXPECT_CONTAINS(ddpm(1, 0, 999), "by 20291");
  EXPECT_CONTAINS(ddpm(1, 0, 0), "1 step of ddpm from t = 0, where");
  EXPECT_CONTAINS(warning([](auto& o) { o.start_timestep = 980, o.draft_timestep = 999, o.diffusion_steps = {8}; }),
                  "use a lower --draft-timestep");
  // A draft is a picture to begin with.
  EXPECT_EQ(warning([](auto& o) { o.draft_timestep = 300; }), "");
}

TEST(Plan, OptionsChangeSingleChoices) {
  SamplerOptions o;
  o.levels = {0, 4, 9};
  o.cfg = 2;
  o.cfg_schedule = CfgSchedule::kConstant;
  o.temperature = 0.9;
  o.diffusion_steps = {20};
  o.solver = Solver::kDdim;
  o.filter = FilterChoice::kFourier;
  Plan p = make_plan(o, {});
  EXPECT_EQ(levels(p), (Ints{0, 4, 9}));
  EXPECT_EQ(filters(p), (Ints{4, 9, -1}));
  expect_near(guidance(p), [](double) { return 2.0; });
  expect_near(temperature(p), [](double) { return 0.9; });
  EXPECT_EQ(inner(p), Ints(3, 20));
  EXPECT_EQ(p.solver, Solver::kDdim);
  EXPECT_EQ(p.filter, FilterType::kFourier);

  o.cfg_schedule = CfgSchedule::kLinear;
  o.diffusion_steps = {10, 30};
  o.filter = FilterChoice::kModel;
  p = make_plan(o, {});
  expect_near(guidance(p), [](double k) { return 1 + k / 2; });
  EXPECT_EQ(inner(p), (Ints{10, 20, 30}));
  EXPECT_EQ(p.filter, FilterType::kSpatial);
  ModelConfig fourier;
  fourier.filter = FilterType::kFourier;
  EXPECT_EQ(make_plan(o, fourier).filter, FilterType::kFourier);
  o.filter = FilterChoice::kSpatial;
  EXPECT_EQ(make_plan(o, fourier).filter, FilterType::kSpatial);

  // A published preset keeps its runs over other levels: temperature from 0.85, and every step but the last filters.
  o = {};
  o.preset = "published-mask";
  o.levels = {0, 3, 6, 12};
  o.temperature = 1.1;
  p = make_plan(o, {});
  EXPECT_EQ(filters(p), (Ints{3, 6, 12, -1}));
  expect_near(temperature(p), [](double k) { return 0.85 + 0.25 * k / 4; });
  expect_near(guidance(p), [](double k) { return 1 + 2 * k / 4; });
}

TEST(Plan, InnerStepsRunOverAnyNumberOfKnots) {
  SamplerOptions o;
  o.steps = 5;
  o.diffusion_steps = {8, 20, 8};
  EXPECT_EQ(inner(make_plan(o, {})), (Ints{8, 14, 20, 14, 8}));
  o.diffusion_steps = {10, 10, 30};
  EXPECT_EQ(inner(make_plan(o, {})), (Ints{10, 10, 10, 20, 30}));
  o.steps = 1;
  EXPECT_EQ(inner(make_plan(o, {})), (Ints{30}));
}

TEST(Plan, EndsRunOverAnyNumberOfKnots) {
  const auto ends = [](const Plan& p) { return column(p, [](const Step& s) { return s.end_timestep; }); };
  SamplerOptions o;
  o.steps = 5;
  o.end_timestep = Ints{400, 0};
  EXPECT_EQ(ends(make_plan(o, {})), (Ints{400, 300, 200, 100, 0}));
  o.end_timestep = Ints{10, 10, 30};
  EXPECT_EQ(ends(make_plan(o, {})), (Ints{10, 10, 10, 20, 30}));
  o.end_timestep = Ints{970, 40};
  EXPECT_CONTAINS(usage_error_of([&] { make_plan(o, {}); }), "diffusion steps must be in 1..30, got 40");
  o.preset = "mar";
  o.end_timestep = Ints{40, 0};
  EXPECT_EQ(ends(make_plan(o, mar())), (Ints{40, 30, 20, 10, 0}));
  o.preset = "turbo";
  o.end_timestep = Ints{};  // as null
  EXPECT_EQ(ends(make_plan(o, {})), Ints(5, 40));
}

TEST(Plan, GuidanceInAnInterval) {
  SamplerOptions o;
  o.steps = 5;
  o.cfg_schedule = CfgSchedule::kConstant;
  o.cfg_interval = {1, 3};
  expect_near(guidance(make_plan(o, {})), [](double k) { return k >= 1 && k <= 3 ? 3.0 : 1.0; });
}

// Counted from the last; the first guided step has no difference to keep.
TEST(Plan, DifferencesAreKeptBetweenRefreshes) {
  const auto kept = [](const SamplerOptions& o) {
    return column(make_plan(o, {}), [](const Step& s) { return static_cast<int64_t>(s.kept_difference); });
  };
  SamplerOptions o;
  o.steps = 6;
  EXPECT_EQ(kept(o), Ints(6, 0));
  o.cfg_refresh = 2;
  EXPECT_EQ(kept(o), (Ints{0, 0, 1, 0, 1, 0}));
  o.steps = 7;
  EXPECT_EQ(kept(o), (Ints{0, 0, 0, 1, 0, 1, 0}));
  o.steps = 6;
  o.cfg_schedule = CfgSchedule::kConstant;
  EXPECT_EQ(kept(o), (Ints{0, 0, 1, 0, 1, 0}));
  o.cfg_refresh = 3;
  EXPECT_EQ(kept(o), (Ints{0, 1, 0, 1, 1, 0}));
  o.cfg_interval = {1, 3};
  EXPECT_EQ(kept(o), (Ints{0, 0, 1, 0, 0, 0}));
  o.cfg_refresh = 100;
  o.cfg_interval = {};
  EXPECT_EQ(kept(o), (Ints{0, 1, 1, 1, 1, 0}));
  o.cfg = 1;
  EXPECT_EQ(kept(o), Ints(6, 0));
  o.cfg_refresh = 0;
  EXPECT_CONTAINS(usage_error_of([&] { make_plan(o, {}); }), "cfg_refresh must be at least 1, got 0");
}

TEST(Plan, DraftsFollowAFilter) {
  SamplerOptions o;
  o.draft_timestep = 600;
  o.start_timestep = 970;
  const auto starts = [](const Plan& p) {
    Ints out;
    for (const Step& s : p.steps) out.push_back(s.draft ? -s.start_timestep : s.start_timestep);
    return out;
  };
  o.steps = 3;
  EXPECT_EQ(starts(make_plan(o, {})), (Ints{970, -600, -600}));
  // After the published first step of masks nothing is filtered and three tokens are known: no draft for the others.
  o = {};
  o.preset = "published-mask";
  o.draft_timestep = 600;
  const Ints published = starts(make_plan(o, {}));
  EXPECT_EQ(published[1], 0);
  EXPECT_EQ(published[2], -600);
}

TEST(Plan, MarRevealsEachTokenOnce) {
  for (const int64_t steps : {1, 2, 6, 64, 255, 256}) {
    SamplerOptions o;
    o.preset = "mar";
    o.steps = steps;
    const Plan p = make_plan(o, mar());
    const auto m = masked(p);
    ASSERT_EQ(static_cast<int64_t>(m.size()), steps);
    EXPECT_EQ(m[0], 256);
    for (size_t k = 1; k < m.size(); ++k) {
      EXPECT_LT(m[k], m[k - 1]);  // at least one token a step
      EXPECT_GE(m[k], 1);
      const auto cosine = static_cast<int64_t>(
          std::floor(256 * std::cos(kHalfPi * static_cast<double>(k) / static_cast<double>(steps))));
      EXPECT_EQ(m[k], std::max<int64_t>(1, std::min(m[k - 1] - 1, cosine)));
    }
    for (size_t k = 0; k < m.size(); ++k) {
      // The published count is at least one, at the last step, too: guidance does not reach s.
      const double left = k + 1 < m.size() ? static_cast<double>(m[k + 1]) : 1;
      EXPECT_NEAR(p.steps[k].guidance, 1 + 2 * (256 - left) / 256, 1e-12);
      EXPECT_FALSE(p.steps[k].filter.has_value());
      EXPECT_EQ(p.steps[k].temperature, 1.0);
    }
    EXPECT_TRUE(p.keep_predicted);
    EXPECT_TRUE(p.random_order);
  }
  EXPECT_EQ(masked(plan_of("mar", mar())).size(), 64u);
  ModelConfig small = mar();
  small.latent_height = small.latent_width = small.levels = 4;
  EXPECT_EQ(masked(plan_of("mar", small)).size(), 16u);
}

TEST(Plan, CosineMask) {
  EXPECT_EQ(cosine_masked(256, 0, 10), 256);
  EXPECT_EQ(cosine_masked(256, 10, 10), 0);
  EXPECT_EQ(cosine_masked(16, 1, 2), 11);  // 16 / sqrt 2
}

TEST(Plan, ErrorsNameTheOption) {
  const auto error = [](auto change, ModelConfig model = {}) {
    SamplerOptions o;
    change(o);
    return usage_error_of([&] { make_plan(o, model); });
  };
  EXPECT_CONTAINS(error([](auto& o) { o.preset = "papr"; }),
                  "no sampler preset 'papr'; there are paper, fast, turbo, published-nomask");
  EXPECT_CONTAINS(error([](auto& o) { o.preset = "papr"; }), "did you mean paper?");
  EXPECT_CONTAINS(error([](auto& o) { o.levels = {0, 4, 4}; }), "levels must increase, got 4 after 4");
  EXPECT_CONTAINS(error([](auto& o) { o.levels = {4, 2}; }), "levels must increase, got 2 after 4");
  EXPECT_CONTAINS(error([](auto& o) { o.levels = {0, 16}; }), "levels must be in 0..15 for this model, got 16");
  EXPECT_CONTAINS(error([](auto& o) { o.levels = {-1, 3}; }), "got -1");
  EXPECT_CONTAINS(error([](auto& o) { o.steps = -3; }), "steps must be at least 1, got -3");
  EXPECT_CONTAINS(error([](auto& o) { o.steps = 17; }), "steps must be in 1..16");
  EXPECT_CONTAINS(error([](auto& o) {
                    o.steps = 2;
                    o.levels = {0, 4};
                  }),
                  "--steps and --levels contradict each other");
  EXPECT_CONTAINS(error([](auto& o) { o.diffusion_steps = {0}; }), "diffusion steps must be in 1..1000, got 0");
  EXPECT_CONTAINS(error([](auto& o) { o.diffusion_steps = {10, 1001}; }), "got 1001");
  EXPECT_CONTAINS(error([](auto& o) { o.cfg_interval = {4, 2}; }), "interval is FIRST:LAST");
  EXPECT_CONTAINS(error([](auto& o) { o.cfg_interval = {4}; }), "interval is FIRST:LAST");
  EXPECT_CONTAINS(error([](auto& o) { o.cfg_interval = {4, 10}; }), "ends at outer step 10, the last one is 9");
  EXPECT_CONTAINS(error([](auto& o) { o.draft_timestep = 1000; }), "draft_timestep must be in 0..999, got 1000");
  EXPECT_CONTAINS(error([](auto& o) { o.draft_timestep = 30; }), "diffusion steps must be in 1..31, got 47");
  EXPECT_CONTAINS(error([](auto& o) { o.visible_level = 17; }),
                  "visible_level must be in 0..16 for this model, got 17");
  EXPECT_CONTAINS(error([](auto& o) {
                    o.visible_level = 8;
                    o.mask = MaskMode::kOff;
                  }),
                  "visible_level says where masks end");
  EXPECT_CONTAINS(error([](auto& o) { o.cfg = -1; }), "cfg must be a number of at least 0, got -1");
  EXPECT_CONTAINS(error([](auto& o) { o.cfg = NAN; }), "cfg must be");
  EXPECT_CONTAINS(error([](auto& o) { o.temperature = INFINITY; }), "temperature must be");
  // Published levels: fixed in number, and too many for a model with few.
  EXPECT_CONTAINS(error([](auto& o) {
                    o.preset = "published-nomask";
                    o.steps = 5;
                  }),
                  "preset published-nomask has 10 steps, got 5");
  ModelConfig few;
  few.levels = 8;
  EXPECT_CONTAINS(error([](auto& o) { o.preset = "published-nomask"; }, few),
                  "needs more than the 8 levels of this model");
  // MAR and FAR do not mix.
  EXPECT_CONTAINS(error([](auto& o) { o.preset = "mar"; }), "needs a MAR model");
  EXPECT_CONTAINS(error([](auto& o) { o.preset = "paper"; }, mar()), "sampled with --preset mar, got paper");
  const auto mar_error = [&](auto change) { return error([&](auto& o) { o.preset = "mar", change(o); }, mar()); };
  EXPECT_CONTAINS(mar_error([](auto& o) { o.levels = {0, 1}; }), "MAR has no frequency levels");
  EXPECT_CONTAINS(mar_error([](auto& o) { o.steps = 257; }), "steps must be in 1..256, got 257");
  EXPECT_CONTAINS(mar_error([](auto& o) { o.mask = MaskMode::kOff; }), "masked by nature");
  EXPECT_CONTAINS(mar_error([](auto& o) { o.visible_level = 8; }), "visible_level does not apply");
}

TEST(Plan, JsonTellsEveryStep) {
  const Json json = plan_to_json(plan_of("published-mask"));
  ASSERT_EQ(json["steps"].size(), 11u);
  EXPECT_TRUE(json["steps"][0]["filter"].is_null());
  EXPECT_EQ(json["steps"][1]["filter"], 12);
  EXPECT_EQ(json["steps"][3]["masked"], 232);
  EXPECT_EQ(json["steps"][0]["start_timestep"], 999);
  EXPECT_EQ(json["steps"][0]["end_timestep"], 0);
  EXPECT_EQ(json["steps"][0]["draft"], false);
  EXPECT_EQ(json["solver"], "ddpm");
  EXPECT_EQ(json["filter"], "spatial");
  EXPECT_EQ(json["random_order"], true);
}

}  // namespace
}  // namespace crescendo
