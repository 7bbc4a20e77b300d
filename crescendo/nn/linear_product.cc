#include "crescendo/nn/linear_product.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "crescendo/core/check.h"
#include "crescendo/core/torch_compat.h"
#include "crescendo/kernels/cpu/onednn.h"

namespace crescendo {

namespace {

// t as matrix (rows, columns) of contiguous numbers, or transposed.
onednn::Matrix matrix(const Tensor& t) { return {t.data_ptr(), t.size(-1), 1}; }
onednn::Matrix transposed(const Tensor& t) { return {t.data_ptr(), 1, t.size(-1)}; }

// out (M, N) = x (M, K) y (K, N) + bias (N).
void multiply(const Tensor& x, const onednn::Matrix& rows, const onednn::Matrix& y, int64_t depth, const Tensor& out,
              const Tensor& bias = {}) {
  const int64_t outputs = out.size(-1);
  onednn::multiply({.type = x.scalar_type(),
                    .out_type = out.scalar_type(),
                    .rows = out.numel() / outputs,
                    .depth = depth,
                    .outputs = outputs,
                    .x = rows,
                    .weight = y,
                    .added = bias.defined() ? bias.data_ptr<float>() : nullptr,
                    .out = out.data_ptr(),
                    .out_stride = outputs});
}

struct LinearNode : torch::autograd::Function<LinearNode> {
  using Context = torch::autograd::AutogradContext;
  using Tensors = torch::autograd::variable_list;

  static Tensor forward(Context* context, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        at::ScalarType type) {
    const Tensor rows = x.to(type).contiguous(), factor = weight.to(type).contiguous();
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = weight.size(0);
    Tensor out = at::empty(shape, rows.options().requires_grad(false));
    multiply(rows, matrix(rows), transposed(factor), weight.size(1), out, bias.contiguous());
    context->save_for_backward({rows, factor});
    context->saved_data["of_x"] = x.scalar_type();
    return out;
  }

  static Tensors backward(Context* context, const Tensors& gradients) {
    check(!at::GradMode::is_enabled(), "linear: has no second derivative");
    const Tensors saved = context->get_saved_variables();
    const Tensor &rows = saved[0], &factor = saved[1];
    const Tensor of_out = gradients[0].to(rows.scalar_type()).contiguous();
    Tensor of_x, of_weight, of_bias;
    if (context->needs_input_grad(0)) {
      of_x = at::empty(rows.sizes(), rows.options().dtype(context->saved_data["of_x"].toScalarType()));
      multiply(of_out, matrix(of_out), matrix(factor), factor.size(0), of_x);
    }
    if (context->needs_input_grad(1)) {
      of_weight = at::empty(factor.sizes(), factor.options().dtype(at::kFloat));
      multiply(of_out, transposed(of_out), matrix(rows), rows.numel() / rows.size(-1), of_weight);
    }
    if (context->needs_input_grad(2)) of_bias = at::sum(of_out.view({-1, of_out.size(-1)}), {0}, false, at::kFloat);
    return {of_x, of_weight, of_bias, {}};
  }
};

// fp32 or bf16, or nothing where LibTorch's own product serves.
std::optional<at::ScalarType> type_of_product(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!at::GradMode::is_enabled() || !(x.requires_grad() || weight.requires_grad() || bias.requires_grad()) ||
      !x.is_cpu() || x.numel() == 0 || weight.scalar_type() != at::kFloat || bias.scalar_type() != at::kFloat)
    return std::nullopt;
  const at::ScalarType type = cpu_autocast_dtype(), given = x.scalar_type();
  if ((given != at::kFloat && given != type) || onednn::instructions(type).empty()) return std::nullopt;
  return type;
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (const auto type = type_of_product(x, weight, bias)) return LinearNode::apply(x, weight, bias, *type);
  return at::linear(x, weight, bias);
}

}  // namespace crescendo
