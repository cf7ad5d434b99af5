// A layer's attention for inference in one step: fully connected, normalization with given statistics or over the row or none, ReLU, fully
// connected, attention function.
#include <algorithm>
#include <cmath>

#include "cpu/attention_function.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "runtime/kernel_checks.h"

namespace kw::cpu {
namespace {

// products[s] = <weight, rows[s]> for each of the `samples` rows, which lie side by side.
KW_WIDE void dot_products(const float* weight, const float* rows, int64_t samples, int64_t length, float* products, int64_t stride) {
  for (int64_t s = 0; s < samples; ++s) {
    const float* row = rows + s * length;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < length; ++i) sum += weight[i] * row[i];
    products[s * stride] = sum;
  }
}

struct Inputs {
  const Tensor &pooled, &first_weight, &second_weight, &second_bias, &temperature;
  const Tensor *first_bias, *scale, *shift, *mean, *variance, *softmax_temperature;
};

struct Sizes {
  int64_t samples, channels, hidden, mixtures, cells;
  int64_t columns;  // logits of a mixture
};

Inputs read_inputs(const StepContext& context) {
  const auto optional = [&](size_t position) { return context.has_input(position) ? &context.input(position) : nullptr; };
  const Inputs inputs = {context.input(0),
                         context.input(1),
                         context.input(7),
                         context.input(8),
                         context.input(9),
                         optional(2),
                         optional(3),
                         optional(4),
                         optional(5),
                         optional(6),
                         softmax_temperature(context, 10)};
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

float relu(float value) { return 0.0f > value ? 0.0f : value; }

// LayerNorm and ReLU of one row, in place.
void normalize_row(const float* scale, const float* shift, int64_t count, double epsilon, float* row) {
  double sum = 0, squares = 0;
  for (int64_t k = 0; k < count; ++k) sum += row[k];
  const double mean = sum / static_cast<double>(count);
  for (int64_t k = 0; k < count; ++k) squares += (row[k] - mean) * (row[k] - mean);
  const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(count) + epsilon);
  for (int64_t k = 0; k < count; ++k) row[k] = relu(static_cast<float>((row[k] - mean) * inverse) * scale[k] + shift[k]);
}

std::unique_ptr<Kernel> prepare_attention_module(const StepContext& context) {
  const Tensor& attention = context.output(0);
  const Inputs inputs = read_inputs(context);
  const Sizes sizes = check(context, inputs, attention);
  const double norm_epsilon = context.number("normEpsilon");
  const float epsilon = static_cast<float>(context.number("epsilon"));
  // hidden [N,h], then logits [N,m,columns]
  context.reserve_scratch(static_cast<size_t>(sizes.samples * (sizes.hidden + sizes.mixtures * sizes.columns)) * sizeof(float));
  return make_kernel([&attention, inputs, sizes, norm_epsilon, epsilon, function = attention_row(context),
                      assignment = read_assignment(context, sizes.mixtures, sizes.cells, sizes.columns),
                      threads = context.threads](const Memory& memory) {
    const auto [samples, channels, width, mixtures, cells, columns] = sizes;
    const auto vector = [&](const Tensor* tensor) { return tensor ? memory.data<float>(*tensor) : nullptr; };
    const float *pooled = memory.data<float>(inputs.pooled), *first = memory.data<float>(inputs.first_weight);
    const float *bias = vector(inputs.first_bias), *mean = vector(inputs.mean), *variance = vector(inputs.variance);
    const float *scale = vector(inputs.scale), *shift = vector(inputs.shift);
    auto* hidden = reinterpret_cast<float*>(memory.scratch());
    float* logits = hidden + samples * width;

    parallel_for(threads, width, rows_per_thread(samples * channels), [&, samples, channels, width](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        dot_products(first + k * channels, pooled, samples, channels, hidden + k, width);
        const float offset = bias ? bias[k] : 0.0f;
        const float factor = mean ? scale[k] * static_cast<float>(1.0 / std::sqrt(variance[k] + norm_epsilon)) : 0.0f;
        for (int64_t s = 0; s < samples; ++s) {
          float& value = hidden[s * width + k];
          value += offset;
          if (mean) value = relu((value - mean[k]) * factor + shift[k]);
          if (!scale) value = relu(value);
        }
      }
    });
    if (scale && !mean) {
      for (int64_t s = 0; s < samples; ++s) normalize_row(scale, shift, width, norm_epsilon, hidden + s * width);
    }

    const float *second = memory.data<float>(inputs.second_weight), *second_bias = memory.data<float>(inputs.second_bias);
    const float* beta = assignment.beta.data();
    const float t = assignment.present ? *memory.data<float>(inputs.temperature) : 0.0f;
    const Tensor* divisor = inputs.softmax_temperature;
    const AttentionRowOptions of = {cells, columns, t, epsilon, divisor ? 1.0f / *memory.data<float>(*divisor) : 1.0f};
    float* out = memory.data<float>(attention);
    const int64_t count = mixtures * columns;
    parallel_for(threads, mixtures, rows_per_thread(samples * columns * width), [&, cells, columns](int64_t begin, int64_t end) {
      for (int64_t row = begin * columns; row < end * columns; ++row) {
        dot_products(second + row * width, hidden, samples, width, logits + row, count);
        for (int64_t s = 0; s < samples; ++s) logits[s * count + row] += second_bias[row];
      }
      for (int64_t s = 0; s < samples; ++s) {
        for (int64_t mixture = begin; mixture < end; ++mixture) {
          function(logits + s * count + mixture * columns, beta + mixture * cells, of, out + (s * mixtures + mixture) * cells);
        }
      }
    });
  });
}

}  // namespace

void add_attention_module(KernelRegistry& registry) { registry.add("attention_module", prepare_attention_module); }

}  // namespace kw::cpu
