#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <numeric>
#include <thread>

#include "crescendo/order/sample.h"
#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {

static void PrintTo(Solver solver, std::ostream* out) { *out << enum_name(solver); }

namespace {

using test::lively_model;
using test::relative_l2;
using test::tiny_config;

// Stands for a CUDA graph: does again what it was given, with the tensors that it was given with.
struct Counted {
  int64_t made = 0, captured = 0, replayed = 0;
};
class FakeGraph : public Graph {
 public:
  explicit FakeGraph(Counted& counted) : counted_(counted) { ++counted_.made; }
  void capture(const std::function<void()>& work) override {
    work_ = work;
    ++counted_.captured;
  }
  void replay() override {
    work_();
    ++counted_.replayed;
  }

 private:
  Counted& counted_;
  std::function<void()> work_;
};

// Guided steps, and the first unguided.
Plan plan_of(const FarModel& model, Solver solver, int64_t steps, int64_t inner, bool mask = false) {
  const Json asked = {
      {"solver", enum_name(solver)}, {"mask", mask}, {"steps", steps}, {"diffusion_steps", Json::array({inner})}};
  return make_plan(resolve_sampler(asked, model.config()), model.config());
}

std::string test_name(Solver solver, bool mask) {
  std::string name = enum_name(solver);
  std::replace(name.begin(), name.end(), '-', '_');
  return name + (mask ? "_masked" : "");
}

class Graphs : public testing::TestWithParam<std::tuple<Solver, bool>> {};

// Pictures made by graphs are those made without: each with its own class, noise and order, whatever came before.
TEST_P(Graphs, ReplayIsTheRealThing) {
  const auto model = lively_model(tiny_config());
  const Plan plan = plan_of(*model, std::get<0>(GetParam()), 4, 5, std::get<1>(GetParam()));
  Counted counted;
  Sampler with(*model, {.graphs = [&](c10::Device) { return std::make_unique<FakeGraph>(counted); }});
  for (int64_t picture = 0; picture < 5; ++picture) {
    const Tensor condition = model->backbone().class_condition(at::tensor({picture % 3, (picture + 1) % 3}));
    const SeededNoise noise({static_cast<uint64_t>(picture), 77}, model->config().tokens(),
                            model->config().token_channels(), at::kCPU);
    EXPECT_TRUE(at::equal(with.sample(condition, plan, noise), sample(*model, condition, plan, noise))) << picture;
  }
  // The first picture runs as it comes, the second puts down, and each from there on replays; steps that are alike may
  // share one.
  EXPECT_GE(counted.made, 2);
  EXPECT_EQ(counted.captured, counted.made);
  EXPECT_GE(counted.replayed, 4 * counted.made);
}
INSTANTIATE_TEST_SUITE_P(Solvers, Graphs,
                         testing::Combine(testing::Values(Solver::kDdpm, Solver::kDpm2m, Solver::kDpm2mSde),
                                          testing::Bool()),
                         [](const auto& p) { return test_name(std::get<0>(p.param), std::get<1>(p.param)); });

TEST(InnerLoop, TellsOfEveryEvaluation) {
  const auto model = lively_model(tiny_config());
  const Plan plan = plan_of(*model, Solver::kDdpm, 3, 4);
  Counted counted;
  Sampler with(*model, {.graphs = [&](c10::Device) { return std::make_unique<FakeGraph>(counted); }});
  const SeededNoise noise({1}, model->config().tokens(), model->config().token_channels(), at::kCPU);
  const Tensor condition = model->backbone().class_condition(at::tensor({int64_t{1}}));
  for (int64_t picture = 0; picture < 3; ++picture) {
    std::vector<int64_t> told;
    SampleHooks hooks;
    hooks.on_inner_step = [&](int64_t done, int64_t total) {
      EXPECT_EQ(total, 12);
      told.push_back(done);
      return true;
    };
    with.sample(condition, plan, noise, hooks);
    EXPECT_EQ(told.back(), 12);
    EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  }
  SampleHooks stop;
  stop.on_inner_step = [](int64_t, int64_t) { return false; };
  EXPECT_FALSE(with.sample(condition, plan, noise, stop).defined());
}

// A device that cannot put the work down gets it as it comes.
TEST(InnerLoop, GoesOnWithoutAGraph) {
  class Refusing : public Graph {
   public:
    void capture(const std::function<void()>&) override { throw std::runtime_error("not here"); }
    void replay() override {}
  };
  const auto model = lively_model(tiny_config());
  const Plan plan = plan_of(*model, Solver::kDdpm, 3, 4);
  const SeededNoise noise({1}, model->config().tokens(), model->config().token_channels(), at::kCPU);
  const Tensor condition = model->backbone().class_condition(at::tensor({int64_t{1}}));
  const Tensor expected = sample(*model, condition, plan, noise);
  for (const bool refuses : {true, false}) {
    Sampler with(*model, {.graphs = [&](c10::Device) -> std::unique_ptr<Graph> {
      if (refuses) return std::make_unique<Refusing>();
      return nullptr;
    }});
    testing::internal::CaptureStderr();
    for (int picture = 0; picture < 3; ++picture)
      EXPECT_TRUE(at::equal(with.sample(condition, plan, noise), expected)) << picture;
    EXPECT_EQ(testing::internal::GetCapturedStderr().find("not here") != std::string::npos, refuses);
  }
}

class Threads {
 public:
  explicit Threads(int count) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }

 private:
  int before_ = at::get_num_threads();
};

// Of some images, by their number.
Tensor conditions_of(const FarModel& model, int64_t images) {
  return model.backbone().class_condition(at::arange(images, at::kLong).remainder(3));
}
SeededNoise noise_of(const FarModel& model, int64_t images) {
  std::vector<uint64_t> seeds(static_cast<size_t>(images));
  std::iota(seeds.begin(), seeds.end(), 4);
  return {seeds, model.config().tokens(), model.config().token_channels(), at::kCPU};
}

// Every thread takes images through the transformer and rows through the inner steps, where there are many some after
// others.
constexpr int64_t kFewImages = 3, kManyImages = 101;
class InParts : public testing::TestWithParam<std::tuple<Solver, bool, int>> {};
TEST_P(InParts, ThreadsMakeTheSamePicture) {
  const auto [solver, mask, threads] = GetParam();
  const auto model = lively_model(tiny_config());
  const Plan plan = plan_of(*model, solver, 4, 5, mask);
  for (const int64_t images : {kFewImages, kManyImages}) {
    const Tensor condition = conditions_of(*model, images);
    const SeededNoise noise = noise_of(*model, images);
    const Tensor expected = sample(*model, condition, plan, noise, {}, {.plain = true});
    const Threads several(threads);
    EXPECT_LT(relative_l2(sample(*model, condition, plan, noise), expected), 1e-5) << images;
  }
}
INSTANTIATE_TEST_SUITE_P(Threads, InParts,
                         testing::Combine(testing::Values(Solver::kDdpm, Solver::kDpm2mSde, Solver::kDdim),
                                          testing::Bool(), testing::Values(1, 2, 3, 6)),
                         [](const auto& p) {
                           return test_name(std::get<0>(p.param), std::get<1>(p.param)) + "_threads_" +
                                  std::to_string(std::get<2>(p.param));
                         });

class InPartsOf : public testing::TestWithParam<int64_t> {};
TEST_P(InPartsOf, TellTheCallingThreadOfEveryEvaluation) {
  const auto model = lively_model(tiny_config());
  const Plan plan = plan_of(*model, Solver::kDdpm, 3, 4);
  const SeededNoise noise = noise_of(*model, GetParam());
  const Tensor condition = conditions_of(*model, GetParam());
  const Threads several(3);
  Sampler sampler(*model);
  const Tensor expected = sampler.sample(condition, plan, noise);
  std::vector<int64_t> told;
  SampleHooks hooks;
  hooks.on_inner_step = [&, caller = std::this_thread::get_id()](int64_t done, int64_t) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    told.push_back(done);
    return true;
  };
  EXPECT_TRUE(at::equal(sampler.sample(condition, plan, noise, hooks), expected));
  std::vector<int64_t> all(12);
  std::iota(all.begin(), all.end(), 1);
  EXPECT_EQ(told, all);
  // One picture given up, the next is whole.
  hooks.on_inner_step = [](int64_t done, int64_t) { return done < 6; };
  EXPECT_FALSE(sampler.sample(condition, plan, noise, hooks).defined());
  hooks.on_inner_step = [](int64_t, int64_t) -> bool { fail("said by a hook"); };
  EXPECT_CONTAINS(test::error_of([&] { sampler.sample(condition, plan, noise, hooks); }), "said by a hook");
  EXPECT_TRUE(at::equal(sampler.sample(condition, plan, noise), expected));
}

INSTANTIATE_TEST_SUITE_P(Images, InPartsOf, testing::Values(2, kManyImages), testing::PrintToStringParamName());

// What speeds small operations up inside does not show outside.
TEST(Sampler, GivesATensorLikeAnyOther) {
  const auto model = lively_model(tiny_config());
  const SeededNoise noise({1, 2}, model->config().tokens(), model->config().token_channels(), at::kCPU);
  const Tensor condition = model->backbone().class_condition(at::tensor({0, 1})).detach();
  for (const int threads : {1, 2}) {
    const Threads several(threads);
    Tensor latents = sample(*model, condition, plan_of(*model, Solver::kDdpm, 3, 4), noise);
    EXPECT_FALSE(latents.is_inference());
    const Tensor weight = at::ones({1}).requires_grad_(true);
    (latents.mul_(2) * weight).sum().backward();
    EXPECT_TRUE(weight.grad().defined());
  }
}

// More noise than is drawn at once, by threads that are at different steps.
TEST(InnerLoop, DrawsNoiseInPieces) {
  const auto model = lively_model(tiny_config());
  constexpr int64_t kRows = 1 << 17, kInner = 100;  // 2^18 numbers a step, of which 64 steps are drawn at once
  HeadStep step;
  step.spacing = {kInner, 980};
  const Tensor z = at::randn({1, 8}).expand({kRows, 8}), x_T = at::randn({1, 2}).expand({kRows, 2}).contiguous();
  std::mutex mutex;
  std::vector<std::pair<int64_t, int64_t>> drawn;
  const StepsNoiseFn noise = [&](int64_t n, int64_t count) {
    const std::scoped_lock lock(mutex);
    drawn.emplace_back(n, count);
    return at::arange(n, n + count, at::kFloat).sin().view({count, 1, 1}).expand({count, kRows, 2});
  };
  const at::NoGradGuard no_grad;
  const auto run = [&] { return InnerLoop(model->head()).run(step, z, x_T, noise, [](int64_t) {}); };
  const Tensor expected = run();
  EXPECT_EQ(drawn, (std::vector<std::pair<int64_t, int64_t>>{{0, 64}, {64, kInner - 1 - 64}}));
  EXPECT_LT(relative_l2(expected, expected[0].expand_as(expected)), 1e-5);  // all rows had the same noise
  const Threads several(2);
  EXPECT_LT(relative_l2(run(), expected), 1e-5);
  EXPECT_EQ(drawn.size(), 4);  // both pieces once more, whatever rows a thread takes
}

// The transformer's answer before anything is known is kept for the same conditions, and for no others.
TEST(Sampler, KeepsTheFirstStep) {
  const auto model = lively_model(tiny_config());
  Sampler kept(*model);
  for (const auto& [mask, label] :
       std::vector<std::pair<bool, int64_t>>{{false, 0}, {false, 0}, {true, 0}, {true, 2}, {false, 2}, {false, 2}}) {
    const Plan plan = plan_of(*model, Solver::kDdpm, 3, 3, mask);
    const Tensor condition = model->backbone().class_condition(at::tensor({label, int64_t{1}, label}));
    const SeededNoise noise({4, 5, 6}, model->config().tokens(), model->config().token_channels(), at::kCPU);
    EXPECT_LT(
        relative_l2(kept.sample(condition, plan, noise), sample(*model, condition, plan, noise, {}, {.plain = true})),
        1e-5)
        << mask << " " << label;
  }
}

}  // namespace
}  // namespace crescendo
