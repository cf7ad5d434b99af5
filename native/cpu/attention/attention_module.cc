// A layer's attention for inference in one step: fully connected, normalization with given statistics or over the row or none, ReLU, fully
// connected, attention function.
#include <algorithm>
#include <cmath>

#include "cpu/attention/attention_function.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

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

std::unique_ptr<Kernel> prepare_attention_module(const AttentionModuleStep& step, const KernelContext& context) {
  // hidden [N,h], then logits [N,m,columns]
  context.reserve_scratch(static_cast<size_t>(step.hidden_elements + step.logit_elements) * sizeof(float));
  return make_kernel(
      [step, function = attention_row(step.rule.function), betas = beta_rows(step.rule), threads = context.threads](const Memory& memory) {
        const int64_t samples = step.samples, channels = step.channels, width = step.hidden, mixtures = step.rule.mixtures;
        const int64_t cells = step.rule.cells, columns = step.rule.columns;
        const double norm_epsilon = step.norm_epsilon;
        const auto vector = [&](const Tensor* tensor) { return tensor ? memory.data<float>(*tensor) : nullptr; };
        const float *pooled = memory.data<float>(step.pooled), *first = memory.data<float>(step.first_weight);
        const float *bias = vector(step.first_bias), *mean = vector(step.mean), *variance = vector(step.variance);
        const float *scale = vector(step.scale), *shift = vector(step.shift);
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

        const float *second = memory.data<float>(step.second_weight), *second_bias = memory.data<float>(step.second_bias);
        const float* beta = betas.data();
        const AttentionRowOptions of = row_options(step.rule, memory);
        float* out = memory.data<float>(step.attention);
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

void add_attention_module(KernelRegistry& registry) { add_kernel(registry, ops::attention_module, prepare_attention_module); }

}  // namespace kw::cpu
