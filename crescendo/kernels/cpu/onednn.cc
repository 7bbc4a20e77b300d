#include "crescendo/kernels/cpu/onednn.h"

#include <omp.h>

#include <compare>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>

#include "crescendo/core/check.h"
#include "crescendo/core/device.h"

namespace crescendo::onednn {

struct LaidOut {
  dnnl::memory memory;
};

namespace {

using c10::ScalarType;
using dnnl::memory;

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory::data_type data_type(ScalarType type) {
  if (type == ScalarType::Float) return memory::data_type::f32;
  if (type == ScalarType::BFloat16) return memory::data_type::bf16;
  if (type == ScalarType::Byte) return memory::data_type::u8;
  if (type == ScalarType::Char) return memory::data_type::s8;
  check(type == ScalarType::Int, "oneDNN: no products of ", c10::toString(type));
  return memory::data_type::s32;
}

enum class Added { kNothing, kBias, kRows };

// What a primitive is made for.
struct Shape {
  ScalarType type, out_type;
  int64_t rows, depth, outputs, x_row_stride, x_column_stride, weight_row_stride, weight_column_stride, out_stride;
  Added added;
  bool laid_out;
  int threads;
  auto operator<=>(const Shape&) const = default;

  memory::desc x() const {
    return {{rows, depth},
            data_type(type == ScalarType::Char ? ScalarType::Byte : type),
            memory::dims{x_row_stride, x_column_stride}};
  }
  memory::desc weight() const {
    return {{depth, outputs}, data_type(type), memory::dims{weight_row_stride, weight_column_stride}};
  }
  memory::desc addend() const {
    return {{added == Added::kRows ? rows : 1, outputs}, memory::data_type::f32, memory::format_tag::ab};
  }
  memory::desc out() const { return {{rows, outputs}, data_type(out_type), memory::dims{out_stride, 1}}; }
};

using Description = dnnl::matmul::primitive_desc;

Description describe(const Shape& s, const memory::desc& weight) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (s.added == Added::kRows) {
    dnnl::post_ops then;
    then.append_binary(dnnl::algorithm::binary_add, s.addend());
    attributes.set_post_ops(then);
  }
  const memory::desc bias = s.added == Added::kBias ? s.addend() : memory::desc();
#if DNNL_VERSION_MAJOR >= 3
  return {cpu(), s.x(), weight, bias, s.out(), attributes};
#else
  return {{s.x(), weight, bias, s.out()}, attributes, cpu()};
#endif
}

// A weight's layout follows from its sizes alone, so that products of any number of rows share it.
Description describe_with_any_layout(ScalarType type, int64_t outputs, int64_t depth) {
  constexpr int64_t kRows = 128;
  const ScalarType out = type == ScalarType::Char ? ScalarType::Int : ScalarType::Float;
  return describe({type, out, kRows, depth, outputs, depth, 1, 0, 0, outputs, Added::kNothing, true, 0},
                  {{depth, outputs}, data_type(type), memory::format_tag::any});
}

std::string find_instructions(ScalarType type) {
  // A program may find another version than the one it was built with, whose structures differ.
  if (dnnl_version()->major != DNNL_VERSION_MAJOR) return {};
  if (type == ScalarType::BFloat16 && !cpu_has_bf16()) return {};  // it would convert
  std::string how;
  try {
    how = describe_with_any_layout(type, 64, 64).impl_info_str();
  } catch (const dnnl::error&) {
    return {};
  }
  const auto names = [&how](std::string_view part) { return how.find(part) != std::string::npos; };
  if (names("ref")) return {};
  if (names("amx")) return "AMX";
  if (type == ScalarType::BFloat16) return "AVX512-BF16";
  if (type == ScalarType::Char && (names("vnni") || names("avx10"))) return "VNNI";
  if (names("avx512") || names("avx10")) return "AVX-512";
  return names("jit") || names("avx2") ? "AVX2" : how;
}

// A parallel region runs a primitive on one thread, so it has to be made for one; OpenMP names all of them even there.
class CallersThreads {
 public:
  CallersThreads() : all_(omp_get_max_threads()), count_(omp_in_parallel() ? 1 : all_) { omp_set_num_threads(count_); }
  ~CallersThreads() { omp_set_num_threads(all_); }
  CallersThreads(const CallersThreads&) = delete;
  CallersThreads& operator=(const CallersThreads&) = delete;
  int count() const { return count_; }

 private:
  int all_, count_;
};

struct Primitive {
  dnnl::matmul matmul;
  memory x, weight, added, out, scratch;
  size_t scratch_bytes;
};

Primitive make(const Shape& s, const LaidOut* laid_out) {
  const auto place = [](const memory::desc& desc) { return memory(desc, cpu(), DNNL_MEMORY_NONE); };
  try {
    const Description description = describe(s, laid_out ? laid_out->memory.get_desc() : s.weight());
    const memory::desc scratch = description.scratchpad_desc();
    return {dnnl::matmul(description),
            place(s.x()),
            laid_out ? memory() : place(s.weight()),
            s.added == Added::kNothing ? memory() : place(s.addend()),
            place(s.out()),
            place(scratch),
            scratch.get_size()};
  } catch (const dnnl::error& e) {
    fail("oneDNN: no product of ", s.rows, " x ", s.depth, " x ", s.outputs, " in ", c10::toString(s.type), ": ",
         e.what());
  }
}

}  // namespace

std::string version() {
  const auto* v = dnnl_version();
  return concat("oneDNN ", v->major, ".", v->minor, ".", v->patch);
}

const std::string& instructions(ScalarType type) {
  static const std::string of_fp32 = find_instructions(ScalarType::Float),
                           of_bf16 = find_instructions(ScalarType::BFloat16),
                           of_int8 = find_instructions(ScalarType::Char), of_others;
  return type == ScalarType::Float      ? of_fp32
         : type == ScalarType::BFloat16 ? of_bf16
         : type == ScalarType::Char     ? of_int8
                                        : of_others;
}

std::shared_ptr<const LaidOut> lay_out(ScalarType type, int64_t outputs, int64_t depth, const void* weight) {
  try {
    const memory plain({{depth, outputs}, data_type(type), memory::dims{1, depth}}, cpu(), const_cast<void*>(weight)),
        laid_out(describe_with_any_layout(type, outputs, depth).weights_desc(), cpu());
    dnnl::stream stream(cpu());
    dnnl::reorder(plain, laid_out).execute(stream, {{DNNL_ARG_FROM, plain}, {DNNL_ARG_TO, laid_out}});
    stream.wait();
    return std::make_shared<LaidOut>(LaidOut{laid_out});
  } catch (const dnnl::error& e) {
    fail("oneDNN: no layout of ", outputs, " x ", depth, " numbers of ", c10::toString(type), ": ", e.what());
  }
}

void multiply(const Product& p) {
  if (p.rows == 0 || p.outputs == 0) return;
  // To make a primitive takes a tenth of a millisecond, so every thread keeps its own.
  constexpr size_t kMost = 1000;
  thread_local std::map<Shape, Primitive> primitives;
  thread_local dnnl::stream stream(cpu());
  thread_local std::unique_ptr<memory> scratch;
  thread_local size_t scratch_bytes = 0;

  const CallersThreads threads;
  const Added added = p.added == nullptr ? Added::kNothing : p.added_by_rows ? Added::kRows : Added::kBias;
  const Matrix w = p.laid_out ? Matrix{nullptr, 0, 0} : p.weight;
  const Shape shape{p.type,
                    p.out_type,
                    p.rows,
                    p.depth,
                    p.outputs,
                    p.x.row_stride,
                    p.x.column_stride,
                    w.row_stride,
                    w.column_stride,
                    p.out_stride,
                    added,
                    p.laid_out != nullptr,
                    threads.count()};
  auto found = primitives.find(shape);
  if (found == primitives.end()) {
    if (primitives.size() == kMost) primitives.clear();
    found = primitives.emplace(shape, make(shape, p.laid_out)).first;
  }
  Primitive& by = found->second;
  if (by.scratch_bytes > scratch_bytes) {
    scratch = std::make_unique<memory>(by.scratch.get_desc(), cpu());
    scratch_bytes = by.scratch_bytes;
  }
  // By the interface for C, which copies no arguments: small products take about as long as a copy.
  const auto at = [](const memory& place, const void* numbers) {
    place.set_data_handle(const_cast<void*>(numbers));
    return place.get();
  };
  const dnnl_exec_arg_t arguments[] = {
      {DNNL_ARG_SRC, at(by.x, p.x.numbers)},
      {DNNL_ARG_WEIGHTS, p.laid_out ? p.laid_out->memory.get() : at(by.weight, w.numbers)},
      {DNNL_ARG_DST, at(by.out, p.out)},
      {DNNL_ARG_SCRATCHPAD, at(by.scratch, scratch ? scratch->get_data_handle() : nullptr)},
      {added == Added::kBias ? DNNL_ARG_BIAS : DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1,
       added == Added::kNothing ? nullptr : at(by.added, p.added)}};
  const dnnl_status_t status =
      dnnl_primitive_execute(by.matmul.get(), stream.get(), added == Added::kNothing ? 4 : 5, arguments);
  check(status == dnnl_success, "oneDNN: a product failed with status ", static_cast<int>(status));
  stream.wait();
}

}  // namespace crescendo::onednn
