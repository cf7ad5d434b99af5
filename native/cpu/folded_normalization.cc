#include "cpu/folded_normalization.h"

#include <cmath>

#include "runtime/kernel_checks.h"

namespace kw::cpu {

FoldedNormalization::FoldedNormalization(const StepContext& context, size_t first, const Tensor& y)
    : channels_(y.shape.back()),
      bias_(context.has_input(first - 1) ? &context.input(first - 1) : nullptr),
      scale_(context.input(first)),
      shift_(context.input(first + 1)),
      mean_(context.input(first + 2)),
      variance_(context.input(first + 3)),
      residual_(context.has_input(first + 4) ? &context.input(first + 4) : nullptr),
      epsilon_(context.number("epsilon")),
      activation_(activation_of(context)) {
  if (bias_) expect_shape(context, "bias", *bias_, {channels_});
  expect_shape(context, "scale", scale_, {channels_});
  expect_shape(context, "shift", shift_, {channels_});
  expect_shape(context, "mean", mean_, {channels_});
  expect_shape(context, "variance", variance_, {channels_});
  if (residual_) expect_shape(context, "residual", *residual_, y.shape, y.type);
}

std::vector<CopyState> FoldedNormalization::states(const StepContext& context) const {
  std::vector<CopyState> states;
  for (const Tensor* tensor : {bias_, &scale_, &shift_, &mean_, &variance_}) {
    if (tensor) states.emplace_back(context, *tensor);
  }
  return states;
}

void FoldedNormalization::fold(const Memory& memory, float* factor, float* shift) const {
  const float *scales = memory.data<float>(scale_), *shifts = memory.data<float>(shift_);
  const float *means = memory.data<float>(mean_), *variances = memory.data<float>(variance_);
  const float* biases = bias_ ? memory.data<float>(*bias_) : nullptr;
  for (int64_t c = 0; c < channels_; ++c) {
    const double slope = scales[c] / std::sqrt(variances[c] + epsilon_);
    factor[c] = static_cast<float>(slope);
    shift[c] = static_cast<float>(shifts[c] + ((biases ? biases[c] : 0.0f) - static_cast<double>(means[c])) * slope);
  }
}

NormalizedEpilogue::NormalizedEpilogue(const StepContext& context, size_t first, const Tensor& y)
    : normalization_(context, first, y), means_(context.step.outputs.size() > 1 ? &context.output(1) : nullptr) {
  if (means_) expect_shape(context, "means", *means_, {y.shape.front(), y.shape.back()});
}

size_t NormalizedEpilogue::scratch_bytes() const {
  return (2 * static_cast<size_t>(normalization_.channels()) * sizeof(float) + 63) / 64 * 64;
}

Epilogue NormalizedEpilogue::prepare(const Memory& memory, std::byte* scratch) const {
  auto* factor = reinterpret_cast<float*>(scratch);
  auto* shift = factor + normalization_.channels();
  normalization_.fold(memory, factor, shift);
  return {normalization_.channels(), normalization_.activation(), factor, shift};
}

}  // namespace kw::cpu
