// Group normalisation on the GPU against its definition in double.
#include <cmath>
#include <vector>

#include "crescendo/kernels/cuda/stream.h"
#include "crescendo/kernels/cuda/test_support.h"
#include "crescendo/kernels/group_norm.h"

namespace crescendo {

void* current_cuda_stream() { return nullptr; }

namespace {

using test::expect;
using test::Shared;

constexpr double kEps = 1e-6;

struct Sizes {
  int64_t images, positions, channels, groups;
};

template <class In>
std::vector<double> normalised(const Sizes& s, const In* x, const float* weight, const float* bias) {
  std::vector<double> out(static_cast<size_t>(s.images * s.positions * s.channels));
  const int64_t width = s.channels / s.groups;
  for (int64_t image = 0; image < s.images; ++image)
    for (int64_t first = 0; first < s.channels; first += width) {
      const auto each = [&](const auto& f) {
        for (int64_t p = 0; p < s.positions; ++p)
          for (int64_t c = first; c < first + width; ++c) f((image * s.positions + p) * s.channels + c, c);
      };
      const double count = static_cast<double>(s.positions * width);
      double mean = 0, variance = 0;
      each([&](int64_t i, int64_t) { mean += rows::load(x[i]) / count; });
      each([&](int64_t i, int64_t) { variance += (rows::load(x[i]) - mean) * (rows::load(x[i]) - mean) / count; });
      each([&](int64_t i, int64_t c) {
        out[static_cast<size_t>(i)] = (rows::load(x[i]) - mean) / std::sqrt(variance + kEps) * weight[c] + bias[c];
      });
    }
  return out;
}

// `offset` numbers into their memory, so that they do not lie at multiples of four.
template <class In, class Out>
void compare(const Sizes& s, int64_t offset) {
  const auto size = static_cast<size_t>(s.images * s.positions * s.channels + offset);
  Shared<In> x(size);
  Shared<Out> out(size), again(size);
  Shared<float> weight(static_cast<size_t>(s.channels)), bias(weight.size);
  Shared<char> scratch(static_cast<size_t>(groups::scratch_bytes(s.images, s.channels, s.groups)));
  fill(x, 1, 1.5f, 3.0f), fill(weight, 2, 0.5f, 1.0f), fill(bias, 3);
  const std::vector<double> right = normalised(s, x.data + offset, weight.data, bias.data);
  const std::string name = std::to_string(s.images) + " x " + std::to_string(s.positions) + " x " +
                           std::to_string(s.channels) + " in " + std::to_string(s.groups) + ", " +
                           std::to_string(sizeof(In)) + " to " + std::to_string(sizeof(Out)) + " bytes";
  for (const bool silu : {false, true}) {
    for (Shared<Out>* target : {&out, &again}) {
      target->poison(), scratch.poison();
      groups::run(groups::GroupNormPass<In, Out>{s.images, s.positions, s.channels, s.groups, x.data + offset,
                                                 weight.data, bias.data, kEps, silu, target->data + offset,
                                                 scratch.data});
      test::wait_for_the_device();
      expect(target->guard_holds() && scratch.guard_holds(), name + ": it wrote behind its memory");
    }
    expect(std::memcmp(out.data, again.data, size * sizeof(Out)) == 0, name + ": not the same each time");
    double difference = 0, norm = 0, largest = 0;
    for (size_t i = 0; i < right.size(); ++i) {
      const double y = silu ? right[i] / (1 + std::exp(-right[i])) : right[i];
      const double error = std::abs(rows::load(out.data[i + static_cast<size_t>(offset)]) - y);
      difference += error * error, norm += y * y;
      if (!(error / (1 + std::abs(y)) <= largest)) largest = error / (1 + std::abs(y));  // no number stays none
    }
    const double relative = std::sqrt(difference / norm), allowed = sizeof(Out) == sizeof(float) ? 1e-5 : 4e-3;
    std::printf("%-44s silu %d: %.1e, at most %.1e\n", name.c_str(), silu, relative, largest);
    expect(relative < allowed && largest < allowed, name + " differs from its definition");
  }
}

void compare_all(const Sizes& s, int64_t offset = 0) {
  compare<float, float>(s, offset);
  compare<float, c10::BFloat16>(s, offset);
  compare<c10::BFloat16, float>(s, offset);
  compare<c10::BFloat16, c10::BFloat16>(s, offset);
}

void check() {
  for (const auto& [channels, groups] :
       std::vector<std::pair<int64_t, int64_t>>{{128, 32}, {256, 32}, {512, 32}, {64, 16}, {12, 3}, {6, 3}, {35, 5}})
    for (const auto& [images, positions] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {2, 37}, {3, 256}, {1, 4100}, {3, 4099}})
      compare_all({images, positions, channels, groups});
  compare_all({2, 37, 128, 32}, 1);  // not at multiples of four numbers
  compare_all({2, 37, 2056, 2});     // more channels than a block's threads, a group of which two blocks share
  compare_all({2, 37, 1030, 2});     // the same, one by one
  compare_all({1000, 5, 12, 3});     // more images than parts
  compare_all({1, 65536, 128, 32});  // published sizes
}

void one_kernel() {
  alignas(16) float x[2] = {}, room[512] = {};
  groups::run(groups::GroupNormPass<float, float>{1, 1, 1, 1, x, x, x, kEps, false, x + 1, room});
}

}  // namespace
}  // namespace crescendo

int main() { return crescendo::test::run(crescendo::check, crescendo::one_kernel); }
