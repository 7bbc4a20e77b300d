// Every pass on the GPU against the same code on the CPU, or its definition.
#include <cmath>
#include <vector>

#include "crescendo/kernels/cuda/passes.h"
#include "crescendo/kernels/cuda/stream.h"
#include "crescendo/kernels/cuda/test_support.h"
#include "crescendo/kernels/row_bodies.h"

namespace crescendo {

void* current_cuda_stream() { return nullptr; }

namespace {

using rows::OneLane;
using test::expect;
using test::fill;
using test::Shared;

template <class T>
std::vector<float> values(const Shared<T>& s) {
  std::vector<float> out(s.size);
  for (size_t i = 0; i < s.size; ++i) out[i] = rows::load(s.data[i]);
  return out;
}

double relative(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{b[i]} * b[i];
  }
  return difference == 0 ? 0 : std::sqrt(difference / norm);  // one number's norm is zero on both sides
}

template <class Pass>
void row_by_row(const Pass& pass) {
  for (int64_t r = 0; r < pass.rows; ++r) row(pass, r, OneLane{});
}

// The pass, whose result is in `out` and whose residual stream, which it changes, in `x`, on both sides.
template <class Pass, class T>
void compare(const char* name, const Pass& pass, Shared<T>& out, Shared<float>* x, double tolerance) {
  const std::vector<float> x_before = x ? values(*x) : std::vector<float>();
  row_by_row(pass);
  const std::vector<float> out_cpu = values(out), x_cpu = x ? values(*x) : std::vector<float>();
  out.poison();
  if (x) std::copy(x_before.begin(), x_before.end(), x->data);
  rows::cuda::run(pass);
  test::wait_for_the_device();
  expect(out.guard_holds() && (!x || x->guard_holds()), std::string(name) + " wrote behind its memory");
  const double error = relative(values(out), out_cpu), x_error = x ? relative(values(*x), x_cpu) : 0;
  std::printf("%-28s %6lld x %-5lld %.1e %.1e\n", name, static_cast<long long>(pass.rows),
              static_cast<long long>(pass.width), error, x_error);
  expect(error < tolerance && x_error < 1e-6, std::string(name) + " differs from the CPU's");
}

// The last layer in one kernel against its parts on the CPU, guided (n tokens twice) and not (2 n rows).
template <class T>
void answer(int64_t n, int64_t w, const rows::Residual<T>& one_row_each, Shared<float>& scale, Shared<float>& bias) {
  if (!rows::cuda::supports_row_length(w)) return;
  const int64_t outputs = 38;  // no multiple of what a warp computes at a time
  const auto size = static_cast<size_t>(n * w);
  Shared<float> weight(static_cast<size_t>(outputs * w)), shift(static_cast<size_t>(n * outputs)), guidance(1),
      normed(size), out(static_cast<size_t>(n * outputs)), expected(static_cast<size_t>(n * outputs)), kept(size);
  fill(weight, 20, 0.1f), fill(shift, 21);
  guidance.data[0] = 2.5f;
  std::memcpy(kept.data, one_row_each.x, size * sizeof(float));
  row_by_row(rows::LeaveBlocks<T>{n, w, one_row_each, 1e-6, scale.data, bias.data, normed.data});
  std::memcpy(one_row_each.x, kept.data, size * sizeof(float));
  for (int64_t r = 0; r < n; ++r)
    for (int64_t o = 0; o < outputs; ++o) {
      double sum = shift.data[r * outputs + o];
      for (int64_t i = 0; i < w; ++i) sum += double{normed.data[r * w + i]} * weight.data[o * w + i];
      expected.data[r * outputs + o] = static_cast<float>(sum);
    }
  for (const bool guided : {false, true}) {
    if (guided && n % 2 != 0) continue;
    const int64_t tokens = guided ? n / 2 : n;
    if (guided)
      for (int64_t r = 0; r < tokens; ++r)
        for (int64_t o = 0; o < outputs / 2; ++o) {
          const float c = expected.data[r * outputs + o], u = expected.data[(r + tokens) * outputs + o];
          expected.data[r * outputs + o] = u + 2.5f * (c - u);
        }
    out.poison();
    rows::cuda::run(rows::FinalLayer<T>{n, w, one_row_each, 1e-6, scale.data, bias.data, weight.data, outputs,
                                        shift.data, guided ? guidance.data : nullptr, out.data});
    test::wait_for_the_device();
    auto got = values(out), right = values(expected);
    got.resize(static_cast<size_t>(tokens * outputs)), right.resize(got.size());
    const double error = relative(got, right);
    std::printf("%-28s %6lld x %-5lld %.1e\n", guided ? "answer, guided" : "answer", static_cast<long long>(n),
                static_cast<long long>(w), error);
    expect(error < 1e-5, "the last layer's answer differs from the CPU's");
    expect(std::memcmp(one_row_each.x, kept.data, size * sizeof(float)) == 0, "the answer changed the residual stream");
  }
}

// A residual and the norm that follows, against doubles.
template <class T>
void add_norm(int64_t n, int64_t w, double tolerance) {
  if (!rows::cuda::supports_row_length(w)) return;
  const auto size = static_cast<size_t>(n * w), wide = static_cast<size_t>(w);
  Shared<T> x(size), branch(size), weight(wide), bias(wide), sum(size), out(size);
  fill(x, 30), fill(branch, 31), fill(weight, 32), fill(bias, 33);
  for (const bool affine : {true, false}) {
    sum.poison(), out.poison();
    rows::cuda::run(rows::AddNorm<T>{n, w, x.data, branch.data, 1e-6, affine ? weight.data : nullptr,
                                     affine ? bias.data : nullptr, sum.data, out.data});
    test::wait_for_the_device();
    std::vector<float> sums(size), norms(size);
    for (int64_t r = 0; r < n; ++r) {
      double mean = 0, variance = 0;
      const auto at = [&](int64_t i) { return static_cast<size_t>(r * w + i); };
      for (int64_t i = 0; i < w; ++i) {
        T rounded;
        rows::store(rounded, rows::load(x.data[at(i)]) + rows::load(branch.data[at(i)]));
        sums[at(i)] = rows::load(rounded);
        mean += sums[at(i)] / static_cast<double>(w);
      }
      for (int64_t i = 0; i < w; ++i) variance += (sums[at(i)] - mean) * (sums[at(i)] - mean) / static_cast<double>(w);
      for (int64_t i = 0; i < w; ++i) {
        const double norm = (sums[at(i)] - mean) / std::sqrt(variance + 1e-6);
        const auto k = static_cast<size_t>(i);
        norms[at(i)] = static_cast<float>(affine ? norm * rows::load(weight.data[k]) + rows::load(bias.data[k]) : norm);
      }
    }
    const double error = relative(values(out), norms), sum_error = relative(values(sum), sums);
    std::printf("%-28s %6lld x %-5lld %.1e %.1e\n", "residual and norm", static_cast<long long>(n),
                static_cast<long long>(w), error, sum_error);
    expect(error < tolerance && sum_error < 1e-7, "residual and norm differ from the CPU's");
  }
}

template <class T>
void blocks(int64_t n, int64_t w, double tolerance) {
  add_norm<T>(n, w, tolerance);
  const auto size = static_cast<size_t>(n * w), wide = static_cast<size_t>(w);
  Shared<float> x(size), input(size), bias(3 * wide), branch_bias(wide), weight(wide), norm_bias(wide), scale(size),
      normed(size);
  Shared<T> modulation(3 * size), branch(size), out(size);
  fill(x, 1), fill(input, 2), fill(bias, 3), fill(branch_bias, 4), fill(weight, 5), fill(norm_bias, 6), fill(scale, 7);
  fill(modulation, 8), fill(branch, 9);
  const rows::Residual<T> first{x.data, nullptr, 0, nullptr, nullptr, branch_bias.data, input.data, (n + 1) / 2};
  const rows::Residual<T> later{x.data,      modulation.data + 2 * w, 3 * w,   bias.data + 2 * w,
                                branch.data, branch_bias.data,        nullptr, 0};
  compare(
      "first block",
      rows::EnterBlock<T>{n, w, first, 1e-6, weight.data, norm_bias.data, modulation.data, 3 * w, bias.data, out.data},
      out, &x, tolerance);
  compare(
      "later block",
      rows::EnterBlock<T>{n, w, later, 1e-6, weight.data, norm_bias.data, modulation.data, 3 * w, bias.data, out.data},
      out, &x, tolerance);
  compare("activation", rows::Activate<T>{n, w, branch.data, branch_bias.data, out.data}, out, nullptr, tolerance);
  answer(n, w, later, scale, bias);
  compare("last layer", rows::LeaveBlocks<T>{n, w, later, 1e-6, scale.data, bias.data, normed.data}, normed, &x, 1e-5);
}

void others(int64_t n, int64_t w) {
  const auto size = static_cast<size_t>(n * w);
  Shared<float> y(size), times(3 * static_cast<size_t>(w)), condition(3 * size), both(4 * size), out(size), x(size),
      noise(size), eps(2 * size), estimate(size), scale(1);
  scale.data[0] = 2.5f;
  Shared<c10::BFloat16> rounded(3 * size);
  fill(y, 1), fill(times, 2), fill(both, 3), fill(x, 4), fill(noise, 5), fill(eps, 6);
  compare("condition", rows::Condition{3 * n, w, y.data, n, times.data, condition.data, rounded.data}, condition,
          nullptr, 1e-6);
  compare("condition, rounded", rows::Condition{3 * n, w, y.data, n, times.data, condition.data, rounded.data}, rounded,
          nullptr, 1e-3);
  compare("guidance", rows::Guide{n, w, both.data, both.data + 2 * n * w, 2 * w, scale.data, out.data, w}, out, nullptr,
          1e-6);
  const rows::AncestralStep step{n,    w,    x.data, eps.data, 2 * w, eps.data + w, 2 * w, noise.data,
                                 1.5f, 1.1f, 0.3f,   0.7f,     -4.0f, 1.5f,         0.9f,  out.data};
  compare("ancestral step", step, out, nullptr, 1e-6);
  rows::AncestralStep last = step;
  last.noise = nullptr;
  compare("ancestral step, the last", last, out, nullptr, 1e-6);
  const rows::MultistepStep first{n,    w,    x.data, eps.data, 2 * w, nullptr,       nullptr, 1.5f,
                                  1.1f, 0.3f, 0.7f,   -0.2f,    0.9f,  estimate.data, out.data};
  compare("multistep, the first", first, out, nullptr, 1e-6);
  rows::MultistepStep later = first;
  later.before = y.data, later.noise = noise.data;
  compare("multistep", later, out, nullptr, 1e-6);
  compare("multistep, its estimate", later, estimate, nullptr, 1e-6);
  Shared<int64_t> seeds(2);
  seeds.data[0] = 5, seeds.data[1] = -9;
  compare("normal numbers", rows::Normals{n, w, seeds.data, 2, 1, 3, 4, out.data}, out, nullptr, 1e-5);
}

void check() {
  for (const auto& [n, w] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {1, 2}, {7, 37}, {64, 256}, {6, 36}, {513, 1024}, {514, 1024}, {4102, 128}, {3, 1280}, {2, 3072}}) {
    blocks<float>(n, w, 1e-5);
    blocks<c10::BFloat16>(n, w, 4e-3);
    others(n, w);
  }
}

void one_kernel() {
  float x = 0;
  rows::cuda::run(rows::Guide{1, 1, &x, &x, 1, &x, &x, 1});
}

}  // namespace
}  // namespace crescendo

int main() { return crescendo::test::run(crescendo::check, crescendo::one_kernel); }
