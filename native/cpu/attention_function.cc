// From logits to attentions (KernelWarehouse, section 3.3): alpha = (1-t) f(z) + t beta, each row of logits z being one mixture. f is the
// contrasting function of equation 3 or one of those that the paper compares it with (Table 8). The last logit belongs to the zero cell,
// which counts in f's sums and has no output, unless there is none (DY-Conv, ODConv). Softmax and sigmoid are of z over a temperature T.
#include "cpu/attention_function.h"

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/exponential.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "runtime/kernel_checks.h"

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

struct Function {
  const char* name;
  AttentionRow forward;
  BackwardRow backward;
};

Function read_function(const StepContext& context) {
  const std::array<Function, 4> functions = {{{"contrasting", contrasting, contrasting_backward},
                                              {"softmax", softmax, softmax_backward},
                                              {"sigmoid", sigmoid, sigmoid_backward},
                                              {"rectified", rectified, rectified_backward}}};
  const std::string name = context.text("function");
  for (const Function& function : functions) {
    if (name == function.name) return function;
  }
  context.fail("expected function contrasting, softmax, sigmoid or rectified but received '" + name + "'");
}

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

std::unique_ptr<Kernel> prepare_attention_function(const StepContext& context) {
  const Tensor &logits = context.input(0), &temperature = context.input(1), &attention = context.output(0);
  const AttentionShape shape = check_shapes(context, logits, temperature, attention);
  const Tensor* divisor = softmax_temperature(context, 2);
  const AttentionRow forward = attention_row(context);
  const float epsilon = static_cast<float>(context.number("epsilon"));
  return make_kernel([&, shape, divisor, forward, epsilon,
                      assignment = read_assignment(context, shape.mixtures, shape.cells, shape.columns),
                      threads = context.threads](const Memory& memory) {
    const float* in = memory.data<float>(logits);
    float* out = memory.data<float>(attention);
    const float* beta = assignment.beta.data();
    const float t = assignment.present ? *memory.data<float>(temperature) : 0.0f;
    const AttentionRowOptions of = {shape.cells, shape.columns, t, epsilon, divisor ? 1.0f / *memory.data<float>(*divisor) : 1.0f};
    parallel_for(threads, shape.rows, rows_per_thread(of.columns), [=, mixtures = shape.mixtures](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        forward(in + row * of.columns, beta + row % mixtures * of.cells, of, out + row * of.cells);
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_attention_function_backward(const StepContext& context) {
  const Tensor &dattention = context.input(0), &logits = context.input(1), &temperature = context.input(2), &dlogits = context.output(0);
  const AttentionShape shape = check_shapes(context, logits, temperature, dattention);
  const Tensor* divisor = softmax_temperature(context, 3);
  expect_shape(context, "dlogits", dlogits, logits.shape);
  const BackwardRow backward = read_function(context).backward;
  const float epsilon = static_cast<float>(context.number("epsilon"));
  const bool assigned = read_assignment(context, shape.mixtures, shape.cells, shape.columns).present;
  return make_kernel([&, shape, divisor, backward, epsilon, assigned, threads = context.threads](const Memory& memory) {
    const float *gradient = memory.data<float>(dattention), *in = memory.data<float>(logits);
    float* out = memory.data<float>(dlogits);
    const float t = assigned ? *memory.data<float>(temperature) : 0.0f;
    const AttentionRowOptions of = {shape.cells, shape.columns, t, epsilon, divisor ? 1.0f / *memory.data<float>(*divisor) : 1.0f};
    parallel_for(threads, shape.rows, rows_per_thread(of.columns), [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        backward(gradient + row * of.cells, in + row * of.columns, of, out + row * of.columns);
      }
    });
  });
}

}  // namespace

AttentionRow attention_row(const StepContext& context) { return read_function(context).forward; }

const Tensor* softmax_temperature(const StepContext& context, size_t position) {
  if (!context.has_input(position)) return nullptr;
  expect_shape(context, "softmax temperature", context.input(position), {});
  return &context.input(position);
}

// For each mixture the cells whose beta is 1; n stands for the zero cell, which has no output.
Assignment read_assignment(const StepContext& context, int64_t mixtures, int64_t cells, int64_t columns) {
  const std::vector<std::vector<int64_t>> assignment = context.integer_lists("assignment");
  std::vector<float> beta(static_cast<size_t>(mixtures * cells), 0.0f);
  if (assignment.empty()) return {false, beta};
  if (assignment.size() != static_cast<size_t>(mixtures)) {
    context.fail("expected attribute assignment with " + std::to_string(mixtures) + " lists, or none, but received " +
                 std::to_string(assignment.size()));
  }
  for (int64_t mixture = 0; mixture < mixtures; ++mixture) {
    for (const int64_t cell : assignment[static_cast<size_t>(mixture)]) {
      if (cell < 0 || cell >= columns) {
        context.fail("expected cell indices in 0.." + std::to_string(columns - 1) + " but assignment of mixture " +
                     std::to_string(mixture) + " holds " + std::to_string(cell));
      }
      if (cell < cells) beta[static_cast<size_t>(mixture * cells + cell)] = 1.0f;
    }
  }
  return {true, beta};
}

void add_attention_function(KernelRegistry& registry) {
  registry.add("attention_function", prepare_attention_function);
  registry.add("attention_function_backward", prepare_attention_function_backward);
}

}  // namespace kw::cpu
