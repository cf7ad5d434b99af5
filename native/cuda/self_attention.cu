// Multi-head self-attention and its gradient.
#include "cuda/kernels/self_attention.cuh"

#include <cmath>

#include "cuda/kernel.h"
#include "cuda/lane_grid.h"
#include "cuda/launch.h"
#include "cuda/pass.h"

namespace kw::cuda {
namespace {

struct Tokens {
  int64_t samples, tokens, channels, heads;

  int64_t count() const { return samples * heads; }
  int64_t width() const { return channels / heads; }
  std::vector<int64_t> rows() const { return {samples, heads, tokens}; }
  device::AttentionHeads at(bool packed) const {
    return {static_cast<int>(tokens), static_cast<int>(heads), static_cast<int>(width()),
            static_cast<float>(1.0 / std::sqrt(static_cast<double>(width()))), packed && width() % 4 == 0};
  }
  // A block for each head, each tile of tokens, and each chunk of channels.
  dim3 blocks() const {
    const auto tiles = [](int64_t size) { return static_cast<unsigned>((size + device::kAttentionTile - 1) / device::kAttentionTile); };
    return dim3(static_cast<unsigned>(count()), tiles(tokens), tiles(width()));
  }
};

Tokens check_tokens(const StepContext& context, const char* name, const Tensor& tokens) {
  expect_rank(context, name, tokens, 3);
  const int64_t heads = context.integer("heads");
  if (heads < 1 || tokens.elements() == 0 || tokens.shape[2] % heads != 0) {
    context.fail("expected tokens [N, T, D], not empty, and heads that divide D, but received shape " + describe(tokens.shape) + " and " +
                 std::to_string(heads) + " heads");
  }
  return {tokens.shape[0], tokens.shape[1], tokens.shape[2], heads};
}

std::unique_ptr<Kernel> prepare_self_attention(const Device& gpu, const StepContext& context) {
  const Tensor &query = context.input(0), &key = context.input(1), &value = context.input(2);
  const Tensor &y = context.output(0), &log_sum_exp = context.output(1);
  const Tokens tokens = check_tokens(context, "query", query);
  expect_shape(context, "key", key, query.shape);
  expect_shape(context, "value", value, query.shape);
  expect_shape(context, "y", y, query.shape);
  expect_shape(context, "logSumExp", log_sum_exp, tokens.rows());
  return make_kernel([&gpu, &query, &key, &value, &y, &log_sum_exp, tokens](const Memory& memory) {
    const float *q = memory.data<float>(query), *k = memory.data<float>(key), *v = memory.data<float>(value);
    launch(device::self_attention, tokens.blocks(), device::kAttentionThreads, device::kAttentionForwardBytes, gpu.stream, q, k, v,
           tokens.at(starts_packs({q, k, v})), memory.data<float>(y), memory.data<float>(log_sum_exp));
  });
}

std::unique_ptr<Kernel> prepare_self_attention_backward(const Device& gpu, const StepContext& context) {
  const Tensor &dy = context.input(0), &query = context.input(1), &key = context.input(2), &value = context.input(3);
  const Tensor &y = context.input(4), &log_sum_exp = context.input(5);
  const Tensor &dquery = context.output(0), &dkey = context.output(1), &dvalue = context.output(2);
  const Tokens tokens = check_tokens(context, "dy", dy);
  expect_shape(context, "query", query, dy.shape);
  expect_shape(context, "key", key, dy.shape);
  expect_shape(context, "value", value, dy.shape);
  expect_shape(context, "y", y, dy.shape);
  expect_shape(context, "logSumExp", log_sum_exp, tokens.rows());
  expect_shape(context, "dquery", dquery, dy.shape);
  expect_shape(context, "dkey", dkey, dy.shape);
  expect_shape(context, "dvalue", dvalue, dy.shape);
  const int64_t rows = log_sum_exp.elements();
  context.reserve_scratch(static_cast<size_t>(rows) * sizeof(float));
  return make_kernel([&gpu, &dy, &query, &key, &value, &y, &log_sum_exp, &dquery, &dkey, &dvalue, tokens, rows](const Memory& memory) {
    const float *gradient_of_y = memory.data<float>(dy), *q = memory.data<float>(query), *k = memory.data<float>(key),
                *v = memory.data<float>(value);
    const device::AttentionHeads heads = tokens.at(starts_packs({gradient_of_y, q, k, v}));
    auto* dots = reinterpret_cast<float*>(memory.scratch());
    const LaneGrid grid(rows, tokens.width(), 1);
    launch(device::attention_dots, grid.blocks(), device::kGroupThreads, 0, gpu.stream, gradient_of_y, memory.data<float>(y), heads, rows,
           grid.lanes, dots);
    const device::AttentionGradient gradient = {gradient_of_y,
                                                q,
                                                k,
                                                v,
                                                memory.data<float>(log_sum_exp),
                                                dots,
                                                heads,
                                                memory.data<float>(dquery),
                                                memory.data<float>(dkey),
                                                memory.data<float>(dvalue)};
    launch(device::attention_key_gradient, tokens.blocks(), device::kAttentionThreads, device::kAttentionBackwardBytes, gpu.stream,
           gradient);
    launch(device::attention_query_gradient, tokens.blocks(), device::kAttentionThreads, device::kAttentionBackwardBytes, gpu.stream,
           gradient);
  });
}

}  // namespace

void add_self_attention(KernelRegistry& ops, const Device& gpu) {
  ops.add("self_attention", [&gpu](const StepContext& context) { return prepare_self_attention(gpu, context); });
  ops.add("self_attention_backward", [&gpu](const StepContext& context) { return prepare_self_attention_backward(gpu, context); });
}

}  // namespace kw::cuda
