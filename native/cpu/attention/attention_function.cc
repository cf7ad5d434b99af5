// From logits to attentions (KernelWarehouse, section 3.4): alpha = (1-t) f(z) + t beta, each row of logits z being one mixture. f is the
// contrasting function of equation 4 or one of those that the paper compares it with (Table 8). The last logit belongs to the zero cell,
// which counts in f's sums and has no output, unless there is none (DY-Conv, ODConv). Softmax and sigmoid are of z over a temperature T.
#include "cpu/attention/attention_function.h"

#include <cmath>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/exponential.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

// A row of dalpha [cells] and z [columns] to dz [columns].
using BackwardRow = void (*)(const float* dalpha, const float* z, const AttentionRowOptions& of, float* dz);

[[gnu::always_inline]] inline float absolute_sum(const float* z, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; ++j) sum += std::fabs(z[j]);
  return sum;
}

KW_WIDE void contrasting(const float* z, const float* beta, const AttentionRowOptions& of, float* alpha) {
  const float t = of.t, factor = (1.0f - t) / (absolute_sum(z, of.columns) + of.epsilon);
#pragma omp simd
  for (int64_t j = 0; j < of.cells; ++j) alpha[j] = factor * z[j] + t * beta[j];
}

// With S = sum|z| + epsilon: dz_j = (1-t) (g_j / S - sign(z_j) sum_k(g_k z_k) / S^2); g of the zero cell is 0, sign(0) is 0.
KW_WIDE void contrasting_backward(const float* g, const float* z, const AttentionRowOptions& of, float* dz) {
  const int64_t cells = of.cells;
  float product = 0;
#pragma omp simd reduction(+ : product)
  for (int64_t j = 0; j < cells; ++j) product += g[j] * z[j];
  const float inverse = 1.0f / (absolute_sum(z, of.columns) + of.epsilon);
  const float factor = (1.0f - of.t) * inverse, slope = factor * product * inverse;
#pragma omp simd
  for (int64_t j = 0; j < cells; ++j) dz[j] = factor * g[j] - (z[j] > 0.0f ? slope : z[j] < 0.0f ? -slope : 0.0f);
  if (of.columns > cells) dz[cells] = z[cells] > 0.0f ? -slope : z[cells] < 0.0f ? slope : 0.0f;
}

KW_WIDE void rectified(const float* z, const float* beta, const AttentionRowOptions& of, float* alpha) {
  const float t = of.t, factor = (1.0f - t) / (absolute_sum(z, of.columns) + of.epsilon);
#pragma omp simd
  for (int64_t j = 0; j < of.cells; ++j) alpha[j] = factor * (0.0f > z[j] ? 0.0f : z[j]) + t * beta[j];
}

// As contrasting_backward, but with max(z, 0) and its slope in place of z and 1.
KW_WIDE void rectified_backward(const float* g, const float* z, const AttentionRowOptions& of, float* dz) {
  const int64_t cells = of.cells;
  float product = 0;
#pragma omp simd reduction(+ : product)
  for (int64_t j = 0; j < cells; ++j) product += g[j] * (0.0f > z[j] ? 0.0f : z[j]);
  const float inverse = 1.0f / (absolute_sum(z, of.columns) + of.epsilon);
  const float factor = (1.0f - of.t) * inverse, slope = factor * product * inverse;
#pragma omp simd
  for (int64_t j = 0; j < cells; ++j) {
    const float passed = factor * g[j] - slope;
    dz[j] = z[j] > 0.0f ? passed : z[j] < 0.0f ? slope : 0.0f;
  }
  if (of.columns > cells) dz[cells] = z[cells] > 0.0f ? -slope : z[cells] < 0.0f ? slope : 0.0f;
}

KW_WIDE void sigmoid(const float* z, const float* beta, const AttentionRowOptions& of, float* alpha) {
  const float t = of.t, scale = of.scale;
#pragma omp simd
  for (int64_t j = 0; j < of.cells; ++j) alpha[j] = (1.0f - t) * logistic(scale * z[j]) + t * beta[j];
}

KW_WIDE void sigmoid_backward(const float* g, const float* z, const AttentionRowOptions& of, float* dz) {
  const float scale = of.scale, factor = (1.0f - of.t) * scale;
#pragma omp simd
  for (int64_t j = 0; j < of.cells; ++j) {
    const float f = logistic(scale * z[j]);
    dz[j] = factor * g[j] * f * (1.0f - f);
  }
  if (of.columns > of.cells) dz[of.cells] = 0.0f;
}

[[gnu::always_inline]] inline void scaled_logits(const float* z, int64_t count, float scale, float* scaled) {
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) scaled[j] = scale * z[j];
}

KW_WIDE void softmax(const float* z, const float* beta, const AttentionRowOptions& of, float* alpha) {
  const int64_t cells = of.cells;
  const float t = of.t, largest = of.scale * largest_of(z, of.columns);
  scaled_logits(z, cells, of.scale, alpha);
  const float beside = of.columns > cells ? exponential(of.scale * z[cells] - largest) : 0.0f;
  const float factor = (1.0f - t) / (exponentials(alpha, cells, largest, alpha) + beside);
#pragma omp simd
  for (int64_t j = 0; j < cells; ++j) alpha[j] = factor * alpha[j] + t * beta[j];
}

// dz_j = (1-t) / T f_j (g_j - sum_k(g_k f_k)); g of the zero cell is 0.
KW_WIDE void softmax_backward(const float* g, const float* z, const AttentionRowOptions& of, float* dz) {
  const int64_t cells = of.cells;
  const float largest = of.scale * largest_of(z, of.columns);
  scaled_logits(z, of.columns, of.scale, dz);
  const float inverse = 1.0f / exponentials(dz, of.columns, largest, dz);
  float product = 0;
#pragma omp simd reduction(+ : product)
  for (int64_t j = 0; j < cells; ++j) product += g[j] * dz[j];
  const float mean = product * inverse, factor = (1.0f - of.t) * of.scale * inverse;
#pragma omp simd
  for (int64_t j = 0; j < cells; ++j) dz[j] = factor * dz[j] * (g[j] - mean);
  if (of.columns > cells) dz[cells] = -factor * dz[cells] * mean;
}

BackwardRow backward_row(AttentionFunction function) {
  switch (function) {
    case AttentionFunction::softmax:
      return softmax_backward;
    case AttentionFunction::sigmoid:
      return sigmoid_backward;
    case AttentionFunction::rectified:
      return rectified_backward;
    case AttentionFunction::contrasting:
      break;
  }
  return contrasting_backward;
}

std::unique_ptr<Kernel> prepare_attention_function(const AttentionFunctionStep& step, const KernelContext& context) {
  const AttentionRow forward = attention_row(step.rule.function);
  return make_kernel([step, forward, betas = beta_rows(step.rule), threads = context.threads](const Memory& memory) {
    const float* in = memory.data<float>(step.logits);
    float* out = memory.data<float>(step.attention);
    const float* beta = betas.data();
    const AttentionRowOptions of = row_options(step.rule, memory);
    parallel_for(threads, step.rows, rows_per_thread(of.columns), [=, mixtures = step.rule.mixtures](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        forward(in + row * of.columns, beta + row % mixtures * of.cells, of, out + row * of.cells);
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_attention_function_backward(const AttentionFunctionBackwardStep& step, const KernelContext& context) {
  const BackwardRow backward = backward_row(step.rule.function);
  return make_kernel([step, backward, threads = context.threads](const Memory& memory) {
    const float *gradient = memory.data<float>(step.dattention), *in = memory.data<float>(step.logits);
    float* out = memory.data<float>(step.dlogits);
    const AttentionRowOptions of = row_options(step.rule, memory);
    parallel_for(threads, step.rows, rows_per_thread(of.columns), [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        backward(gradient + row * of.cells, in + row * of.columns, of, out + row * of.columns);
      }
    });
  });
}

}  // namespace

AttentionRow attention_row(AttentionFunction function) {
  switch (function) {
    case AttentionFunction::softmax:
      return softmax;
    case AttentionFunction::sigmoid:
      return sigmoid;
    case AttentionFunction::rectified:
      return rectified;
    case AttentionFunction::contrasting:
      break;
  }
  return contrasting;
}

AttentionRowOptions row_options(const AttentionRule& rule, const Memory& memory) {
  const float t = rule.assignment.empty() ? 0.0f : *memory.data<float>(rule.temperature);
  const float scale = rule.softmax_temperature ? 1.0f / *memory.data<float>(*rule.softmax_temperature) : 1.0f;
  return {rule.cells, rule.columns, t, rule.epsilon, scale};
}

std::vector<float> beta_rows(const AttentionRule& rule) {
  std::vector<float> beta(static_cast<size_t>(rule.mixtures * rule.cells), 0.0f);
  for (size_t mixture = 0; mixture < rule.assignment.size(); ++mixture) {
    for (const int64_t cell : rule.assignment[mixture]) {
      if (cell < rule.cells) beta[mixture * static_cast<size_t>(rule.cells) + static_cast<size_t>(cell)] = 1.0f;
    }
  }
  return beta;
}

void add_attention_function(KernelRegistry& registry) {
  add_kernel(registry, ops::attention_function, prepare_attention_function);
  add_kernel(registry, ops::attention_function_backward, prepare_attention_function_backward);
}

}  // namespace kw::cpu
