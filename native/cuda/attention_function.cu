// From logits to attentions, and the gradient.
#include "cuda/kernels/attention_function.cuh"

#include "cuda/attention_rule.h"
#include "cuda/kernel.h"
#include "cuda/lane_grid.h"
#include "cuda/launch.h"

namespace kw::cuda {
namespace {

struct AttentionShape {
  int64_t rows;      // N * m
  int64_t mixtures;  // m
  int64_t cells;     // n, without the zero cell
  int64_t columns;   // logits of a mixture
};

AttentionShape check_shapes(const StepContext& context, const Tensor& logits, const Tensor& temperature, const Tensor& attention) {
  expect_rank(context, "logits", logits, 3);
  const bool zero_cell = context.boolean("zeroCell");
  const int64_t samples = logits.shape[0], mixtures = logits.shape[1], columns = logits.shape[2], cells = columns - zero_cell;
  if (cells < 1) {
    const std::string expected = zero_cell ? "at least one cell and the zero cell" : "at least one cell";
    context.fail("expected logits of " + expected + " but received shape " + describe(logits.shape));
  }
  expect_shape(context, "temperature", temperature, {});
  expect_shape(context, "attention", attention, {samples, mixtures, cells});
  return {samples * mixtures, mixtures, cells, columns};
}

std::unique_ptr<Kernel> prepare_attention_function(const Device& gpu, const StepContext& context) {
  const Tensor &logits = context.input(0), &temperature = context.input(1), &attention = context.output(0);
  const AttentionShape shape = check_shapes(context, logits, temperature, attention);
  const LaneGrid grid(shape.rows, shape.columns, 1);
  const AttentionRule prepared(context, shape.mixtures, shape.cells, 2);
  return make_kernel([&, grid, rows = shape.rows, rule = prepared](const Memory& memory) {
    if (rows == 0) return;
    launch(device::attention_function, grid.blocks(), device::kGroupThreads, 0, gpu.stream, memory.data<float>(logits),
           rule.at(memory, temperature), rows, grid.lanes, memory.data<float>(attention));
  });
}

std::unique_ptr<Kernel> prepare_attention_function_backward(const Device& gpu, const StepContext& context) {
  const Tensor &dattention = context.input(0), &logits = context.input(1), &temperature = context.input(2), &dlogits = context.output(0);
  const AttentionShape shape = check_shapes(context, logits, temperature, dattention);
  expect_shape(context, "dlogits", dlogits, logits.shape);
  const LaneGrid grid(shape.rows, shape.columns, 1);
  const AttentionRule prepared(context, shape.mixtures, shape.cells, 3);
  return make_kernel([&, grid, rows = shape.rows, rule = prepared](const Memory& memory) {
    if (rows == 0) return;
    launch(device::attention_function_backward, grid.blocks(), device::kGroupThreads, 0, gpu.stream, memory.data<float>(dattention),
           memory.data<float>(logits), rule.at(memory, temperature), rows, grid.lanes, memory.data<float>(dlogits));
  });
}

}  // namespace

void add_attention_function(KernelRegistry& ops, const Device& gpu) {
  ops.add("attention_function", [&gpu](const StepContext& context) { return prepare_attention_function(gpu, context); });
  ops.add("attention_function_backward", [&gpu](const StepContext& context) { return prepare_attention_function_backward(gpu, context); });
}

}  // namespace kw::cuda
