#include "crescendo/metrics/inception_network.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/core/finite.h"
#include "crescendo/io/tensor_map.h"

namespace crescendo {

namespace {

constexpr double kNormEps = 1e-3;
constexpr int64_t kClasses = 1008;
constexpr int64_t kWidth = 2048;
constexpr int64_t kSpatialChannels = 7;
constexpr int64_t kSmallestSide = 75;  // a place is left of it at the end

// What a layer needs to know to be built.
struct Source {
  const TensorMap& weights;
  at::ScalarType dtype;
  at::Device device;
  const std::string& where;

  // The tensor called `name` in double.
  Tensor get(const std::string& name, at::IntArrayRef shape) const {
    const Tensor& t = get_tensor(weights, name, where);
    check(t.sizes() == shape, where, ": ", name, " is ", describe_tensor(t), ", and has the shape ", shape,
          " in the FID Inception network; another Inception's weights do not serve");
    check(t.is_floating_point() && all_finite(t), where, ": ", name, " holds numbers that are not finite");
    return t.to(at::kCPU, at::kDouble);
  }
};

struct Kernel {
  int64_t height, width, stride;
  bool padded;  // so that the size is kept
};
constexpr Kernel k1x1{1, 1, 1, false}, k3x3{3, 3, 1, true}, k5x5{5, 5, 1, true}, k1x7{1, 7, 1, true},
    k7x1{7, 1, 1, true}, k1x3{1, 3, 1, true}, k3x1{3, 1, 1, true}, k3x3Valid{3, 3, 1, false}, k3x3By2{3, 3, 2, false};

// oneDNN's convolution with weights laid out once and the ReLU in the same pass, as LibTorch offers it to its compiler.
// None where LibTorch is built without it, or the place or type is not served.
std::optional<c10::IValue> prepacked(const Tensor& weight, const Tensor& bias, at::IntArrayRef stride,
                                     at::IntArrayRef padding, at::IntArrayRef input, const char* end) {
  if (!weight.is_cpu() || weight.scalar_type() != at::kFloat || !at::globalContext().userEnabledMkldnn())
    return std::nullopt;
  const auto op = c10::Dispatcher::singleton().findSchema({"mkldnn_prepacked::conv2d_prepack", ""});
  if (!op) return std::nullopt;
  torch::jit::Stack stack = {weight,     bias,        stride.vec(),    padding.vec(), std::vector<int64_t>{1, 1},
                             int64_t{1}, input.vec(), std::string(end)};
  op->callBoxed(stack);
  return stack.at(0);
}

Tensor run_prepacked(const Tensor& x, const c10::IValue& convolution) {
  static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn_prepacked::conv2d_run", "");
  torch::jit::Stack stack = {x, convolution};
  op.callBoxed(stack);
  return stack.at(0).toTensor();
}

// Convolution, batch norm and ReLU.
class Layer {
 public:
  enum class End { kRelu, kLinear };

  Layer(const Source& source, const std::string& name, int64_t in, int64_t out, const Kernel& kernel, int64_t side,
        End end = End::kRelu)
      : stride_{kernel.stride, kernel.stride}, end_(end) {
    if (kernel.padded) padding_ = {kernel.height / 2, kernel.width / 2};
    const auto norm = [&](const char* what) { return source.get(name + ".bn." + what, {out}); };
    const Tensor scale = norm("weight") / (norm("running_var") + kNormEps).sqrt();  // (out)
    const Tensor weight = source.get(name + ".conv.weight", {out, in, kernel.height, kernel.width});
    weight_ = (weight * scale.view({out, 1, 1, 1}))
                  .to(source.device, source.dtype)
                  .contiguous(at::MemoryFormat::ChannelsLast);
    bias_ = (norm("bias") - norm("running_mean") * scale).to(source.device, source.dtype);
    prepacked_ = prepacked(weight_, bias_, stride_, padding_, {8, in, side, side}, end == End::kRelu ? "relu" : "none");
  }

  Tensor operator()(const Tensor& x) const {
    if (prepacked_) return run_prepacked(x, *prepacked_);
    Tensor y = at::conv2d(x, weight_, bias_, stride_, padding_);
    return end_ == End::kRelu ? y.relu_() : y;
  }

 private:
  std::vector<int64_t> stride_, padding_ = {0, 0};
  End end_;
  Tensor weight_, bias_;
  std::optional<c10::IValue> prepacked_;
};

// Layers one behind the other, and where the last of them are two, side by side.
struct Branch {
  std::vector<Layer> chain, ends;
};

// Branches side by side; their channels are put one behind the other, the pool's at the end.
struct Block {
  enum class Pool {
    kAverage,  // of 3 x 3 places inside the picture, then a 1 x 1 convolution
    kMax,      // of 3 x 3 places, then a 1 x 1 convolution
    kReduce,   // the maximum of 3 x 3 places, of every second one
  };
  std::vector<Branch> branches;
  Pool pool = Pool::kReduce;
  std::optional<Layer> branch_pool;

  Tensor operator()(const Tensor& x) const {
    std::vector<Tensor> out;
    for (const Branch& branch : branches) {
      Tensor y = x;
      for (const Layer& layer : branch.chain) y = layer(y);
      if (branch.ends.empty()) out.push_back(y);
      for (const Layer& layer : branch.ends) out.push_back(layer(y));
    }
    out.push_back(pooled(x));
    return at::cat(out, 1);
  }

 private:
  Tensor pooled(const Tensor& x) const {
    switch (pool) {
      case Pool::kAverage:
        // A mean over places and a sum over channels may change places. The convolution leaves fewer channels to pool.
        return at::avg_pool2d((*branch_pool)(x), {3, 3}, {1, 1}, {1, 1}, /*ceil_mode=*/false,
                              /*count_include_pad=*/false)
            .relu_();
      case Pool::kMax:
        return (*branch_pool)(at::max_pool2d(x, {3, 3}, {1, 1}, {1, 1}));
      case Pool::kReduce:
        return at::max_pool2d(x, {3, 3}, {2, 2});
    }
    fail("inception: pool ", static_cast<int>(pool), " is unknown");
  }
};

// A block under construction.
class BlockBuilder {
 public:
  struct Part {
    const char* name;
    int64_t out;
    Kernel kernel;
  };

  BlockBuilder(const Source& source, std::string name, int64_t in, int64_t side)
      : source_(source), name_(std::move(name)), in_(in), side_(side) {}

  BlockBuilder& branch(std::initializer_list<Part> chain, std::initializer_list<Part> ends = {}) {
    Branch branch;
    int64_t in = in_;
    for (const Part& part : chain) {
      branch.chain.push_back(layer(part, in));
      in = part.out;
    }
    for (const Part& part : ends) branch.ends.push_back(layer(part, in));
    block_.branches.push_back(std::move(branch));
    return *this;
  }
  Block pool(Block::Pool pool, int64_t out = 0) {
    block_.pool = pool;
    if (pool != Block::Pool::kReduce)
      block_.branch_pool.emplace(layer({"branch_pool", out, k1x1}, in_,
                                       pool == Block::Pool::kAverage ? Layer::End::kLinear : Layer::End::kRelu));
    return std::move(block_);
  }

 private:
  Layer layer(const Part& part, int64_t in, Layer::End end = Layer::End::kRelu) const {
    return Layer(source_, name_ + "." + part.name, in, part.out, part.kernel, side_, end);
  }

  const Source& source_;
  std::string name_;
  int64_t in_, side_;
  Block block_;
};

// The blocks by the letters of torchvision's classes; the sides are those for pictures of 299.

Block block_a(const Source& source, const std::string& name, int64_t in, int64_t pool) {  // in -> 224 + pool
  return BlockBuilder(source, name, in, 35)
      .branch({{"branch1x1", 64, k1x1}})
      .branch({{"branch5x5_1", 48, k1x1}, {"branch5x5_2", 64, k5x5}})
      .branch({{"branch3x3dbl_1", 64, k1x1}, {"branch3x3dbl_2", 96, k3x3}, {"branch3x3dbl_3", 96, k3x3}})
      .pool(Block::Pool::kAverage, pool);
}

Block block_b(const Source& source, const std::string& name) {  // 288 -> 768, half the side
  return BlockBuilder(source, name, 288, 35)
      .branch({{"branch3x3", 384, k3x3By2}})
      .branch({{"branch3x3dbl_1", 64, k1x1}, {"branch3x3dbl_2", 96, k3x3}, {"branch3x3dbl_3", 96, k3x3By2}})
      .pool(Block::Pool::kReduce);
}

Block block_c(const Source& source, const std::string& name, int64_t inner) {  // 768 -> 768
  return BlockBuilder(source, name, 768, 17)
      .branch({{"branch1x1", 192, k1x1}})
      .branch({{"branch7x7_1", inner, k1x1}, {"branch7x7_2", inner, k1x7}, {"branch7x7_3", 192, k7x1}})
      .branch({{"branch7x7dbl_1", inner, k1x1},
               {"branch7x7dbl_2", inner, k7x1},
               {"branch7x7dbl_3", inner, k1x7},
               {"branch7x7dbl_4", inner, k7x1},
               {"branch7x7dbl_5", 192, k1x7}})
      .pool(Block::Pool::kAverage, 192);
}

Block block_d(const Source& source, const std::string& name) {  // 768 -> 1280, half the side
  return BlockBuilder(source, name, 768, 17)
      .branch({{"branch3x3_1", 192, k1x1}, {"branch3x3_2", 320, k3x3By2}})
      .branch({{"branch7x7x3_1", 192, k1x1},
               {"branch7x7x3_2", 192, k1x7},
               {"branch7x7x3_3", 192, k7x1},
               {"branch7x7x3_4", 192, k3x3By2}})
      .pool(Block::Pool::kReduce);
}

Block block_e(const Source& source, const std::string& name, int64_t in, Block::Pool pool) {  // in -> 2048
  return BlockBuilder(source, name, in, 8)
      .branch({{"branch1x1", 320, k1x1}})
      .branch({{"branch3x3_1", 384, k1x1}}, {{"branch3x3_2a", 384, k1x3}, {"branch3x3_2b", 384, k3x1}})
      .branch({{"branch3x3dbl_1", 448, k1x1}, {"branch3x3dbl_2", 384, k3x3}},
              {{"branch3x3dbl_3a", 384, k1x3}, {"branch3x3dbl_3b", 384, k3x1}})
      .pool(pool, 192);
}

}  // namespace

struct InceptionNetwork::Blocks {
  explicit Blocks(const Source& s)
      : classes(s.get("fc.weight", {kClasses, kWidth}).to(s.device, s.dtype == at::kDouble ? at::kDouble : at::kFloat)),
        conv_1a(s, "Conv2d_1a_3x3", 3, 32, k3x3By2, 299),
        conv_2a(s, "Conv2d_2a_3x3", 32, 32, k3x3Valid, 149),
        conv_2b(s, "Conv2d_2b_3x3", 32, 64, k3x3, 147),
        conv_3b(s, "Conv2d_3b_1x1", 64, 80, k1x1, 73),
        conv_4a(s, "Conv2d_4a_3x3", 80, 192, k3x3Valid, 73),
        device(s.device),
        dtype(s.dtype) {
    mixed.push_back(block_a(s, "Mixed_5b", 192, 32));
    mixed.push_back(block_a(s, "Mixed_5c", 256, 64));
    mixed.push_back(block_a(s, "Mixed_5d", 288, 64));
    mixed.push_back(block_b(s, "Mixed_6a"));
    mixed.push_back(block_c(s, "Mixed_6b", 128));
    mixed.push_back(block_c(s, "Mixed_6c", 160));
    mixed.push_back(block_c(s, "Mixed_6d", 160));
    spatial_after = mixed.size();
    mixed.push_back(block_c(s, "Mixed_6e", 192));
    mixed.push_back(block_d(s, "Mixed_7a"));
    mixed.push_back(block_e(s, "Mixed_7b", 1280, Block::Pool::kAverage));
    mixed.push_back(block_e(s, "Mixed_7c", 2048, Block::Pool::kMax));
  }

  Tensor classes;  // (1008, 2048); first, since its shape tells another Inception at once
  Layer conv_1a, conv_2a, conv_2b, conv_3b, conv_4a;
  std::vector<Block> mixed;
  size_t spatial_after = 0;  // so many of them
  at::Device device;
  at::ScalarType dtype;
};

InceptionNetwork::InceptionNetwork(const TensorMap& weights, at::ScalarType dtype, at::Device device,
                                   const std::string& where) {
  check_usage(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kDouble,
              "inception: computes in fp32, bf16 or fp64, got ", dtype_name(dtype));
  blocks_ = std::make_unique<const Blocks>(Source{weights, dtype, device, where});
}

InceptionNetwork::~InceptionNetwork() = default;
InceptionNetwork::InceptionNetwork(InceptionNetwork&&) noexcept = default;

InceptionOutput InceptionNetwork::operator()(const Tensor& input) const {
  check(input.dim() == 4 && input.size(1) == 3 && input.size(2) >= kSmallestSide && input.size(3) >= kSmallestSide,
        "inception: expected (B, 3, h, w) with sides of ", kSmallestSide, " and more, got ", input.sizes());
  const at::NoGradGuard no_grad;
  const Blocks& b = *blocks_;
  const auto reduced = [](const Tensor& x) { return at::max_pool2d(x, {3, 3}, {2, 2}); };
  Tensor x = input.to(b.device, b.dtype).contiguous(at::MemoryFormat::ChannelsLast);
  x = reduced(b.conv_2b(b.conv_2a(b.conv_1a(x))));  // (B, 64, 73, 73)
  x = reduced(b.conv_4a(b.conv_3b(x)));             // (B, 192, 35, 35)
  InceptionOutput out;
  for (size_t i = 0; i < b.mixed.size(); ++i) {
    x = b.mixed[i](x);
    if (i + 1 != b.spatial_after) continue;  // (B, 768, 17, 17), the first branch's channels in front
    const Tensor places = x.narrow(1, 0, kSpatialChannels).permute({0, 2, 3, 1});  // (B, 17, 17, 7)
    out.spatial = places.to(at::kFloat).reshape({x.size(0), -1});
  }
  const Tensor pool = x.to(b.classes.scalar_type()).mean(at::IntArrayRef{2, 3});  // (B, 2048)
  out.pool = pool.to(at::kFloat);
  out.logits = at::mm(pool, b.classes.t()).to(at::kFloat);
  return out;
}

}  // namespace crescendo
