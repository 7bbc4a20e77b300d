#include "crescendo/order/plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "crescendo/order/masks.h"
#include "crescendo/order/presets.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::usage_error_of;
using Ints = std::vector<int64_t>;

ModelConfig mar() {
  ModelConfig c;
  c.order = Order::kMar;
  return c;
}

Plan plan_of(const Json& asked = Json::object(), const ModelConfig& model = {}) {
  return make_plan(resolve_sampler(asked, model), model);
}
Json preset(const std::string& name) { return {{"preset", name}}; }

template <class F>
auto column(const Plan& plan, F f) {
  std::vector<decltype(f(plan.steps[0]))> out;
  for (const Step& s : plan.steps) out.push_back(f(s));
  return out;
}
Ints levels(const Plan& p) {
  return column(p, [](const Step& s) { return static_cast<int64_t>(s.head.level); });
}
Ints masked(const Plan& p) {
  return column(p, [](const Step& s) { return s.masked; });
}
// -1 for none.
Ints filters(const Plan& p) {
  return column(p, [](const Step& s) { return s.filter.value_or(-1); });
}
Ints inner(const Plan& p) {
  return column(p, [](const Step& s) { return s.head.spacing.steps; });
}
void expect_near(const std::vector<double>& values, auto formula) {
  for (size_t k = 0; k < values.size(); ++k)
    EXPECT_NEAR(values[k], formula(static_cast<double>(k)), 1e-12) << "step " << k;
}
std::vector<double> guidance(const Plan& p) {
  return column(p, [](const Step& s) { return s.head.guidance; });
}
std::vector<double> temperature(const Plan& p) {
  return column(p, [](const Step& s) { return s.head.temperature; });
}

constexpr double kHalfPi = std::numbers::pi / 2;

// The three published samplers, column by column.
TEST(Plan, PublishedNomask) {
  const Plan p = plan_of(preset("published-nomask"));
  EXPECT_EQ(levels(p), (Ints{0, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(filters(p), (Ints{2, 3, 4, 5, 6, 7, 8, 9, 10, -1}));
  EXPECT_EQ(masked(p), Ints(10, 0));
  EXPECT_EQ(inner(p), Ints(10, 100));
  expect_near(guidance(p), [](double k) { return 1 + 2 * k / 10; });
  expect_near(temperature(p), [](double k) { return 0.8 + 0.2 * (1 - std::cos(kHalfPi * (k + 1) / 10)); });
  EXPECT_FALSE(p.random_order);
  EXPECT_EQ(p.order, Order::kFar);
}
TEST(Plan, PublishedMask) {
  const Plan p = plan_of(preset("published-mask"));
  EXPECT_EQ(levels(p), (Ints{0, 12, 12, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(filters(p), (Ints{-1, 12, 4, 5, 6, 7, 8, 9, 10, 11, -1}));
  EXPECT_EQ(masked(p), (Ints{256, 253, 245, 232, 215, 193, 167, 138, 106, 72, 36}));
  EXPECT_EQ(inner(p), Ints(11, 100));
  expect_near(guidance(p), [](double k) { return 1 + 2 * k / 11; });
  expect_near(temperature(p), [](double k) { return 0.85 + 0.15 * k / 11; });
  EXPECT_TRUE(p.random_order);
}
TEST(Plan, PublishedText) {
  const Plan p = plan_of(preset("published-t2i"));
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
      const Plan p = plan_of({{"steps", steps}}, model);
      const auto level = levels(p);
      ASSERT_EQ(static_cast<int64_t>(level.size()), steps);
      EXPECT_EQ(level[0], 0);
      if (steps > 1) {
        EXPECT_EQ(level.back(), most - 1);
      }
      for (size_t k = 0; k < level.size(); ++k) {
        EXPECT_EQ(p.steps[k].head.temperature, 1.0);
        if (k == 0) continue;
        EXPECT_GT(level[k], level[k - 1]);
        EXPECT_LE(std::abs(static_cast<double>(level[k]) -
                           static_cast<double>(k) * static_cast<double>(most - 1) / static_cast<double>(steps - 1)),
                  0.5);
        EXPECT_EQ(p.steps[k - 1].filter, level[k]);  // as much as the next step was trained to see
      }
      EXPECT_FALSE(p.steps.back().filter.has_value());
      EXPECT_DOUBLE_EQ(p.steps.back().head.guidance, 3.0);  // the ramp reaches s
      EXPECT_EQ(p.steps.back().head.spacing.steps, 100);
      if (steps > 1) {
        EXPECT_EQ(p.steps[0].head.guidance, 1.0);
        EXPECT_EQ(p.steps[0].head.spacing.steps, 40);
      }
      EXPECT_EQ(p.steps[0].masked, 256);
    }
  }
}

TEST(Plan, PaperDefaults) {
  const Plan p = plan_of();
  EXPECT_EQ(levels(p), (Ints{0, 2, 3, 5, 7, 8, 10, 12, 13, 15}));
  EXPECT_EQ(masked(p), (Ints{256, 252, 243, 228, 207, 181, 150, 116, 79, 40}));
  EXPECT_EQ(inner(p), (Ints{40, 47, 53, 60, 67, 73, 80, 87, 93, 100}));
  EXPECT_EQ(p.inner_steps(), 700);  // a mean of 70, as the paper says
  for (const Step& s : p.steps) EXPECT_EQ(s.head.spacing.start, 999);
  ModelConfig small;
  small.levels = 4;
  EXPECT_EQ(levels(plan_of(preset("paper"), small)), (Ints{0, 1, 2, 3}));
}

// The paper's plan over other levels, with other inner steps.
TEST(Plan, FastPresetsSpareSteps) {
  const Ints nine{0, 2, 3, 5, 7, 9, 11, 13, 15};
  const Plan paper = plan_of({{"levels", nine}});
  const struct {
    const char* name;
    int64_t steps, end;
  } expected[] = {{"fast", 12, 0}, {"turbo", 6, 40}};
  for (const auto& e : expected) {
    Plan p = plan_of(preset(e.name));
    EXPECT_EQ(levels(p), nine);
    for (size_t k = 0; k < p.steps.size(); ++k) {
      EXPECT_EQ(p.steps[k].head.solver, Solver::kDpm2mSde);
      EXPECT_EQ(p.steps[k].head.spacing, (Spacing{e.steps, 980, e.end}));
      p.steps[k].head.solver = paper.steps[k].head.solver;
      p.steps[k].head.spacing = paper.steps[k].head.spacing;
    }
    EXPECT_EQ(plan_to_json(p), plan_to_json(paper)) << e.name;
    p = plan_of({{"preset", e.name},
                 {"solver", "ddim"},
                 {"diffusion_steps", {25}},
                 {"start_timestep", 999},
                 {"end_timestep", 3}});
    EXPECT_EQ(p.steps[3].head.solver, Solver::kDdim);
    EXPECT_EQ(p.steps[3].head.spacing, (Spacing{25, 999, 3}));
  }
}

// Their levels are those of a model with sixteen; elsewhere, and where other steps are asked for, they are spread
// evenly.
TEST(Plan, FastPresetsFitAnyModel) {
  const auto levels_for = [](int64_t model_levels, Json asked) {
    ModelConfig model;
    model.levels = model_levels;
    asked["preset"] = "fast";
    return levels(plan_of(asked, model));
  };
  EXPECT_EQ(levels_for(16, {{"steps", 9}}), (Ints{0, 2, 3, 5, 7, 9, 11, 13, 15}));
  EXPECT_EQ(levels_for(16, {{"steps", 10}}), levels(plan_of()));
  EXPECT_EQ(levels_for(16, {{"steps", 4}}), (Ints{0, 5, 10, 15}));
  EXPECT_EQ(levels_for(16, {{"levels", {0, 8}}}), (Ints{0, 8}));
  EXPECT_EQ(levels_for(4, Json::object()), (Ints{0, 1, 2, 3}));
  EXPECT_EQ(levels_for(17, Json::object()), (Ints{0, 2, 4, 6, 8, 10, 12, 14, 16}));
  EXPECT_CONTAINS(test::error_of([&] { levels_for(4, {{"steps", 5}}); }), "steps must be in 1..4");
}

// A solver starts where it should, unless the preset or the user says otherwise.
TEST(Plan, SolversStartWhereTheyShould) {
  const auto start = [](const Json& asked) { return plan_of(asked).steps[0].head.spacing.start; };
  EXPECT_EQ(start({{"solver", "ddim"}}), 980);
  EXPECT_EQ(start({{"solver", "ddpm"}}), 999);
  EXPECT_EQ(start({{"solver", "ddim"}, {"start_timestep", 990}}), 990);
  EXPECT_EQ(start({{"preset", "fast"}, {"solver", "ddim"}}), 980);
}

TEST(Plan, MaskFollowsTheModelUnlessAsked) {
  ModelConfig model;
  for (const bool trained : {false, true}) {
    model.masked = trained;
    EXPECT_EQ(plan_of(preset("paper"), model).random_order, trained);
    EXPECT_FALSE(plan_of(preset("published-nomask"), model).random_order);
    EXPECT_TRUE(plan_of(preset("published-mask"), model).random_order);
    for (const bool on : {false, true}) {
      const Plan p = plan_of({{"mask", on}}, model);
      EXPECT_EQ(p.random_order, on);
      EXPECT_EQ(p.steps[0].masked, on ? 256 : 0);
    }
  }
}

// The cosine over the levels up to the visible one, whichever steps there are.
TEST(Plan, VisibleLevelEndsTheMasks) {
  EXPECT_EQ(masked(plan_of({{"visible_level", 10}, {"levels", {0, 2, 5, 9, 10, 15}}})),
            (Ints{256, 243, 181, 40, 0, 0}));
  // Nothing is known at first, at any level.
  EXPECT_EQ(masked(plan_of({{"visible_level", 10}, {"levels", {3, 5}}})), (Ints{256, 181}));
  // As the steps of the paper: 16 of them stand at the 16 levels.
  EXPECT_EQ(masked(plan_of({{"visible_level", 16}, {"steps", 16}})), masked(plan_of({{"steps", 16}})));
}

// A model that was trained by level is sampled by level, whichever steps there are; what was published goes by steps.
TEST(Plan, MasksAreThoseOfTheTraining) {
  ModelConfig model;
  model.visible_level = 10;
  for (const char* name : {"paper", "fast", "turbo"})
    EXPECT_EQ(masked(plan_of({{"preset", name}, {"levels", {0, 2, 5, 9, 10, 15}}}, model)),
              (Ints{256, 243, 181, 40, 0, 0}))
        << name;
  EXPECT_EQ(masked(plan_of({{"visible_level", 5}, {"levels", {0, 2, 5, 9, 10, 15}}}, model)),
            (Ints{256, 207, 0, 0, 0, 0}));
  EXPECT_EQ(masked(plan_of({{"visible_level", 0}}, model)), masked(plan_of()));  // by the number of the step
  for (const char* name : {"published-mask", "published-t2i"})
    EXPECT_EQ(masked(plan_of(preset(name), model)), masked(plan_of(preset(name)))) << name;
  EXPECT_EQ(masked(plan_of(preset("published-nomask"), model)), Ints(10, 0));
  EXPECT_EQ(masked(plan_of({{"mask", false}}, model)), Ints(10, 0));
}

TEST(Plan, AModelOfTheNextLevelTakesEveryLevelAndNoFilter) {
  for (const int64_t most : {1, 5, 16}) {
    ModelConfig model;
    model.levels = most;
    model.predicts = Target::kNextLevel;
    Ints every;
    for (int64_t i = 0; i < most; ++i) every.push_back(i);
    for (const Json& asked :
         {Json::object(), Json{{"levels", every}}, Json{{"steps", most}}, Json{{"steps", most}, {"preset", "fast"}}}) {
      const Plan p = plan_of(asked, model);
      EXPECT_EQ(levels(p), every) << asked;
      EXPECT_EQ(filters(p), Ints(static_cast<size_t>(most), -1)) << asked;
    }
  }
  ModelConfig model;
  model.predicts = Target::kNextLevel;
  const auto refused = [&](const Json& asked) { return usage_error_of([&] { plan_of(asked, model); }); };
  const char* message = "this model predicts the next level, so it takes a step at each of its levels, 0..15; got ";
  EXPECT_CONTAINS(refused({{"steps", 10}}), concat(message, "10 steps of preset paper"));
  EXPECT_CONTAINS(refused({{"levels", {0, 4, 9}}}), concat(message, "3 steps"));
  for (const char* name : {"fast", "turbo", "published-nomask", "published-mask", "published-t2i"})
    EXPECT_CONTAINS(refused(preset(name)), message) << name;
  EXPECT_CONTAINS(refused({{"filter", "fourier"}}), "filter does not apply");
}

// ddpm from t = 999 in few steps, and what comes to the same.
TEST(Plan, WarnsOfNoise) {
  const auto warning = [](const Json& asked, const ModelConfig& model = {}) {
    return noise_warning(plan_of(asked, model)).value_or("");
  };
  for (const auto& name : sampler_preset_names()) {
    ModelConfig model;
    model.order = find_sampler_preset(name).order;
    EXPECT_EQ(warning(preset(name), model), "") << name;
  }
  EXPECT_CONTAINS(warning({{"diffusion_steps", {25}}}),
                  "outer step 1 takes 25 steps of ddpm from t = 999, whose first multiplies an error of the model by "
                  "1327: noise comes out; use start_timestep 980");
  EXPECT_CONTAINS(warning({{"diffusion_steps", {60, 8}}}), "outer step 10 takes 8 steps");
  EXPECT_CONTAINS(warning({{"diffusion_steps", {20}}}, mar()), "by 1674");
  for (const Solver solver : {Solver::kDdim, Solver::kDpm2m, Solver::kDpm2mSde}) {
    const std::string name = enum_name(solver);
    const auto from = [&](int64_t start, int64_t end, int64_t steps) {
      return warning({{"solver", name},
                      {"diffusion_steps", Json::array({steps})},
                      {"start_timestep", start},
                      {"end_timestep", end}});
    };
    EXPECT_CONTAINS(from(999, 0, 4), "takes 4 steps of " + name + " from t = 999, wh");
    EXPECT_EQ(warning({{"solver", name}, {"diffusion_steps", {12}}}), "") << name;  // its own start
    EXPECT_EQ(from(980, 40, 12), "") << name;
    EXPECT_CONTAINS(from(300, 0, 12), "from t = 300, where a token is more picture than noise");
    // By log SNR most of the steps are near t = 999, and none is long. DDIM forgets no error.
    if (solver != Solver::kDdim) {
      EXPECT_EQ(from(999, 0, 12), "") << name;
    } else {
      EXPECT_CONTAINS(from(999, 0, 100), "which multiply an error of the model by 311");
    }
  }
  const auto ddpm = [&](int64_t steps, int64_t start, int64_t end) {
    return warning({{"diffusion_steps", Json::array({steps})}, {"start_timestep", start}, {"end_timestep", end}});
  };
  EXPECT_EQ(ddpm(40, 999, 0), "");  // as the paper's first
  EXPECT_EQ(ddpm(25, 980, 0), "");
  EXPECT_EQ(ddpm(8, 990, 0), "");
  EXPECT_EQ(ddpm(25, 999, 500), "");  // the next timestep is as near as with 50 steps to 0
  EXPECT_CONTAINS(ddpm(1, 999, 999), "by 20291");
  EXPECT_CONTAINS(ddpm(1, 999, 0), "1 step of ddpm from t = 0, where");
}

TEST(Plan, OptionsChangeSingleChoices) {
  Plan p = plan_of({{"levels", {0, 4, 9}},
                    {"cfg", 2},
                    {"cfg_schedule", "constant"},
                    {"temperature", 0.9},
                    {"diffusion_steps", {20}},
                    {"solver", "ddim"},
                    {"filter", "fourier"}});
  EXPECT_EQ(levels(p), (Ints{0, 4, 9}));
  EXPECT_EQ(filters(p), (Ints{4, 9, -1}));
  expect_near(guidance(p), [](double) { return 2.0; });
  expect_near(temperature(p), [](double) { return 0.9; });
  EXPECT_EQ(inner(p), Ints(3, 20));
  EXPECT_EQ(p.steps[0].head.solver, Solver::kDdim);
  EXPECT_EQ(p.filter, FilterType::kFourier);

  const Json asked = {{"levels", {0, 4, 9}}, {"cfg", 2}, {"diffusion_steps", {10, 30}}};
  p = plan_of(asked);
  expect_near(guidance(p), [](double k) { return 1 + k / 2; });
  EXPECT_EQ(inner(p), (Ints{10, 20, 30}));
  EXPECT_EQ(p.filter, FilterType::kSpatial);
  ModelConfig fourier;
  fourier.filter = FilterType::kFourier;
  EXPECT_EQ(plan_of(asked, fourier).filter, FilterType::kFourier);
  EXPECT_EQ(plan_of({{"filter", "spatial"}}, fourier).filter, FilterType::kSpatial);

  // A published preset keeps its runs over other levels: temperature from 0.85, and every step but the last filters.
  p = plan_of({{"preset", "published-mask"}, {"levels", {0, 3, 6, 12}}, {"temperature", 1.1}});
  EXPECT_EQ(filters(p), (Ints{3, 6, 12, -1}));
  expect_near(temperature(p), [](double k) { return 0.85 + 0.25 * k / 4; });
  expect_near(guidance(p), [](double k) { return 1 + 2 * k / 4; });
}

TEST(Plan, MarRevealsEachTokenOnce) {
  for (const int64_t steps : {1, 2, 6, 64, 255, 256}) {
    const Plan p = plan_of({{"steps", steps}}, mar());
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
      EXPECT_NEAR(p.steps[k].head.guidance, 1 + 2 * (256 - left) / 256, 1e-12);
      EXPECT_FALSE(p.steps[k].filter.has_value());
      EXPECT_EQ(p.steps[k].head.temperature, 1.0);
      // Each token is read once.
      const auto [first, end] = places_read(p, static_cast<int64_t>(k), 256);
      EXPECT_EQ(end, m[k]);
      EXPECT_EQ(first, k + 1 < m.size() ? m[k + 1] : 0);
    }
    EXPECT_EQ(p.order, Order::kMar);
    EXPECT_TRUE(p.random_order);
  }
  EXPECT_EQ(plan_of(Json::object(), mar()).size(), 64);
  ModelConfig small = mar();
  small.latent_height = small.latent_width = small.levels = 4;
  EXPECT_EQ(plan_of(Json::object(), small).size(), 16);
}

// A low-pass mixes neighbours, so before it every token is needed.
TEST(Plan, TokensThatSomebodyReads) {
  const Plan p = plan_of(preset("published-mask"));
  EXPECT_EQ(places_read(p, 0, 256), (std::pair<int64_t, int64_t>{253, 256}));  // no filter: those that stay visible
  EXPECT_EQ(places_read(p, 1, 256), (std::pair<int64_t, int64_t>{0, 256}));
  EXPECT_EQ(places_read(p, 10, 256), (std::pair<int64_t, int64_t>{0, 256}));
}

TEST(Plan, CosineMask) {
  EXPECT_EQ(cosine_masked(256, 0, 10), 256);
  EXPECT_EQ(cosine_masked(256, 10, 10), 0);
  EXPECT_EQ(cosine_masked(16, 1, 2), 11);  // 16 / sqrt 2
}

TEST(Plan, ErrorsNameTheOption) {
  const auto error = [](const Json& asked, const ModelConfig& model = {}) {
    return usage_error_of([&] { plan_of(asked, model); });
  };
  EXPECT_CONTAINS(error(preset("papr")), "no sampler preset 'papr'; there are paper, fast, turbo, published-nomask");
  EXPECT_CONTAINS(error(preset("papr")), "did you mean paper?");
  EXPECT_CONTAINS(error({{"levels", {0, 4, 4}}}), "levels must increase, got 4 after 4");
  EXPECT_CONTAINS(error({{"levels", {4, 2}}}), "levels must increase, got 2 after 4");
  EXPECT_CONTAINS(error({{"levels", {0, 16}}}), "levels must be in 0..15 for this model, got 16");
  EXPECT_CONTAINS(error({{"levels", {-1, 3}}}), "got -1");
  EXPECT_CONTAINS(error({{"steps", -3}}), "steps must be in 1..16");
  EXPECT_CONTAINS(error({{"steps", 17}}), "steps must be in 1..16");
  EXPECT_CONTAINS(error({{"steps", 3}, {"levels", {0, 4}}}), "steps and levels contradict each other");
  EXPECT_CONTAINS(error({{"diffusion_steps", {0}}}), "diffusion_steps must be in 1..1000, got 0");
  EXPECT_CONTAINS(error({{"diffusion_steps", {10, 1001}}}), "got 1001");
  EXPECT_CONTAINS(error({{"diffusion_steps", {10, 20, 10}}}), "diffusion_steps is [T] or [first, last]");
  EXPECT_CONTAINS(error({{"start_timestep", 1000}}), "must be in 0..999, got 1000");
  EXPECT_CONTAINS(error({{"start_timestep", 30}}), "must be in 1..31, got 40");
  EXPECT_CONTAINS(error({{"visible_level", 17}}), "visible_level must be in 0..16 for this model, got 17");
  EXPECT_CONTAINS(error({{"visible_level", 8}, {"mask", false}}), "visible_level says where masks end");
  EXPECT_CONTAINS(error({{"cfg", -1}}), "cfg must be a number of at least 0, got -1");
  EXPECT_CONTAINS(error({{"cfg", NAN}}), "cfg must be");
  EXPECT_CONTAINS(error({{"temperature", INFINITY}}), "temperature must be");
  EXPECT_CONTAINS(error({{"celf", 2}}), "sampler has no key 'celf'");
  // Published levels: fixed in number, and too many for a model with few.
  EXPECT_CONTAINS(error({{"preset", "published-nomask"}, {"steps", 5}}), "preset published-nomask has 10 steps, got 5");
  ModelConfig few;
  few.levels = 8;
  EXPECT_CONTAINS(error(preset("published-nomask"), few), "needs more than the 8 levels of this model");
  // MAR and FAR do not mix.
  EXPECT_CONTAINS(error(preset("mar")), "the preset mar is for models of order mar, and this model's is far");
  EXPECT_CONTAINS(error(preset("paper"), mar()),
                  "the preset paper is for models of order far, and this model's is mar; take the preset mar");
  EXPECT_CONTAINS(error({{"levels", {0, 1}}}, mar()), "MAR has no frequency levels");
  EXPECT_CONTAINS(error({{"steps", 257}}, mar()), "steps must be in 1..256, got 257");
  EXPECT_CONTAINS(error({{"mask", false}}, mar()), "masked by nature");
  EXPECT_CONTAINS(error({{"visible_level", 8}}, mar()), "visible_level does not apply");
  EXPECT_CONTAINS(error({{"cfg_schedule", "published"}}, mar()), "linear or constant, got published");
}

// Configs of older programs: values that meant "as the preset says", and options that are gone.
TEST(Plan, ReadsOlderConfigs) {
  const Json older = parse_json(R"({"preset": "paper", "steps": 0, "levels": [], "cfg": 2.0, "cfg_schedule": "preset",
      "temperature": 1.0, "cfg_interval": [], "cfg_refresh": 1, "diffusion_steps": [], "solver": null,
      "start_timestep": 0, "end_timestep": null, "draft_timestep": 0, "mask": "auto", "visible_level": 0,
      "filter": "model"})",
                                "older");
  EXPECT_EQ(plan_to_json(plan_of(older_sampler(older))), plan_to_json(plan_of({{"cfg", 2.0}})));
  EXPECT_FALSE(plan_of(older_sampler({{"mask", "off"}})).random_order);
  EXPECT_EQ(plan_of(older_sampler({{"end_timestep", {40}}})).steps[0].head.spacing.end, 40);
  EXPECT_CONTAINS(usage_error_of([] {
                    older_sampler({{"draft_timestep", 500}});
                  }),
                  "draft_timestep is no longer an option");
}

TEST(Plan, AskedOnTopOfAsked) {
  const Json base = {{"preset", "fast"}, {"steps", 4}, {"cfg", 2}, {"visible_level", 5}};
  EXPECT_EQ(merge_asked(base, {{"cfg", 1}}),
            Json({{"preset", "fast"}, {"steps", 4}, {"cfg", 1}, {"visible_level", 5}}));
  EXPECT_EQ(merge_asked(base, {{"preset", "paper"}}), Json({{"preset", "paper"}}));
  EXPECT_EQ(merge_asked(base, {{"preset", "fast"}}), base);
  EXPECT_FALSE(merge_asked(base, {{"levels", {0, 3}}}).contains("steps"));
  EXPECT_FALSE(merge_asked(base, {{"mask", false}}).contains("visible_level"));
}

TEST(Plan, JsonTellsEveryStep) {
  const Json json = plan_to_json(plan_of(preset("published-mask")));
  ASSERT_EQ(json["steps"].size(), 11u);
  EXPECT_TRUE(json["steps"][0]["filter"].is_null());
  EXPECT_EQ(json["steps"][1]["filter"], 12);
  EXPECT_EQ(json["steps"][3]["masked"], 232);
  EXPECT_EQ(json["steps"][0]["start_timestep"], 999);
  EXPECT_EQ(json["steps"][0]["end_timestep"], 0);
  EXPECT_EQ(json["steps"][0]["solver"], "ddpm");
  EXPECT_EQ(json["order"], "far");
  EXPECT_EQ(json["filter"], "spatial");
  EXPECT_EQ(json["random_order"], true);
}

}  // namespace
}  // namespace crescendo
