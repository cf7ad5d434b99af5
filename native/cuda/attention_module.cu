// A layer's attention for inference in two launches: fully connected with normalization and ReLU, then fully connected with the attention
// function.
#include "cuda/kernels/attention_module.cuh"

#include "cuda/attention_rule.h"
#include "cuda/kernel.h"
#include "cuda/lane_grid.h"
#include "cuda/launch.h"
#include "cuda/pass.h"

namespace kw::cuda {
namespace {

struct Inputs {
  const Tensor &pooled, &first_weight, &second_weight, &second_bias, &temperature;
  const Tensor *first_bias, *scale, *shift, *mean, *variance;
};

struct Sizes {
  int64_t samples, channels, hidden, mixtures, cells;
  int64_t columns;  // logits of a mixture
};

Inputs read_inputs(const StepContext& context) {
  const auto optional = [&](size_t position) { return context.has_input(position) ? &context.input(position) : nullptr; };
  const Inputs inputs = {context.input(0), context.input(1), context.input(7), context.input(8), context.input(9),
                         optional(2),      optional(3),      optional(4),      optional(5),      optional(6)};
  if (!inputs.scale != !inputs.shift) context.fail("expected both scale and shift, or neither");
  if (!inputs.mean != !inputs.variance) context.fail("expected both mean and variance, or neither");
  if (inputs.mean && !inputs.scale) context.fail("expected scale and shift where there are mean and variance");
  return inputs;
}

Sizes check(const StepContext& context, const Inputs& inputs, const Tensor& attention) {
  expect_rank(context, "pooled", inputs.pooled, 2);
  expect_rank(context, "attention", attention, 3);
  expect_rank(context, "first weight", inputs.first_weight, 2);
  const int64_t cells = attention.shape[2], columns = cells + context.boolean("zeroCell");
  const Sizes sizes = {inputs.pooled.shape[0], inputs.pooled.shape[1], inputs.first_weight.shape[0], attention.shape[1], cells, columns};
  const int64_t logits = sizes.mixtures * columns;
  expect_shape(context, "attention", attention, {sizes.samples, sizes.mixtures, sizes.cells});
  expect_shape(context, "first weight", inputs.first_weight, {sizes.hidden, sizes.channels});
  for (const Tensor* vector : {inputs.first_bias, inputs.scale, inputs.shift, inputs.mean, inputs.variance}) {
    if (vector) expect_shape(context, "vector", *vector, {sizes.hidden});
  }
  expect_shape(context, "second weight", inputs.second_weight, {logits, sizes.hidden});
  expect_shape(context, "second bias", inputs.second_bias, {logits});
  expect_shape(context, "temperature", inputs.temperature, {});
  return sizes;
}

unsigned blocks_for(int64_t count, int64_t size) { return static_cast<unsigned>((count + size - 1) / size); }

std::unique_ptr<Kernel> prepare_attention_module(const Device& gpu, const StepContext& context) {
  const Tensor& attention = context.output(0);
  const Inputs inputs = read_inputs(context);
  const Sizes sizes = check(context, inputs, attention);
  const double norm_epsilon = context.number("normEpsilon");
  const int64_t columns = sizes.columns;
  const size_t hidden_bytes = static_cast<size_t>((sizes.samples * sizes.hidden + 15) / 16 * 16) * sizeof(float);
  context.reserve_scratch(hidden_bytes + static_cast<size_t>(sizes.samples * sizes.mixtures * columns) * sizeof(float));
  return make_kernel([&gpu, &attention, inputs, sizes, norm_epsilon, columns, hidden_bytes,
                      rule = AttentionRule(context, sizes.mixtures, sizes.cells, 10)](const Memory& memory) {
    if (attention.elements() == 0) return;
    const auto vector = [&](const Tensor* tensor) { return tensor ? memory.data<float>(*tensor) : nullptr; };
    const int samples = static_cast<int>(sizes.samples), width = static_cast<int>(sizes.hidden);
    const device::AttentionHidden first = {memory.data<float>(inputs.pooled),
                                           memory.data<float>(inputs.first_weight),
                                           vector(inputs.first_bias),
                                           vector(inputs.scale),
                                           vector(inputs.shift),
                                           vector(inputs.mean),
                                           vector(inputs.variance),
                                           norm_epsilon,
                                           samples,
                                           static_cast<int>(sizes.channels),
                                           width,
                                           reinterpret_cast<float*>(memory.scratch())};
    const unsigned sample_blocks = blocks_for(samples, device::kModuleSamples);
    const auto hidden =
        sizes.channels % 4 == 0 && starts_packs({first.pooled, first.weight}) ? device::attention_hidden<4> : device::attention_hidden<1>;
    launch(hidden, dim3(blocks_for(width, device::kModuleThreads / device::kWarpSize), sample_blocks), device::kModuleThreads, 0,
           gpu.stream, first);
    if (inputs.scale && !inputs.mean) {
      const LaneGrid grid(samples, device::kWarpSize, 1);
      launch(device::normalize_attention_hidden, grid.blocks(), device::kModuleThreads, 0, gpu.stream, first);
    }
    const int mixtures_of_block = static_cast<int>(std::max<int64_t>(1, device::kModuleThreads / columns));
    const device::AttentionLogits second = {first.hidden,
                                            memory.data<float>(inputs.second_weight),
                                            memory.data<float>(inputs.second_bias),
                                            samples,
                                            width,
                                            mixtures_of_block,
                                            LaneGrid(1, columns, 1).lanes,
                                            rule.at(memory, inputs.temperature),
                                            reinterpret_cast<float*>(memory.scratch() + hidden_bytes),
                                            memory.data<float>(attention)};
    const auto attend = width % 4 == 0 && starts_packs({second.weight}) ? device::attention_of_hidden<4> : device::attention_of_hidden<1>;
    launch(attend, dim3(blocks_for(sizes.mixtures, mixtures_of_block), sample_blocks), device::kModuleThreads, 0, gpu.stream, second);
  });
}

}  // namespace

void add_attention_module(KernelRegistry& ops, const Device& gpu) {
  ops.add("attention_module", [&gpu](const StepContext& context) { return prepare_attention_module(gpu, context); });
}

}  // namespace kw::cuda
