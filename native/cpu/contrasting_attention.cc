// The contrasting-driven attention function (KernelWarehouse, section 3.3, equation 3): alpha = (1-t) z / (sum|z| + epsilon) + t beta, each
// row of n+1 logits z being one mixture. The last logit belongs to the zero cell: it counts in the sum and has no output.
#include <cmath>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/kernel.h"
#include "cpu/parallel.h"

namespace kw::cpu {
namespace {

struct AttentionShape {
  int64_t rows;      // N * m
  int64_t mixtures;  // m
  int64_t cells;     // n, without the zero cell
};

AttentionShape check_shapes(const StepContext& context, const Tensor& logits, const Tensor& temperature, const Tensor& attention) {
  expect_rank(context, "logits", logits, 3);
  const int64_t samples = logits.shape[0], mixtures = logits.shape[1], cells = logits.shape[2] - 1;
  if (cells < 1) context.fail("expected logits of at least one cell and the zero cell but received shape " + describe(logits.shape));
  expect_shape(context, "temperature", temperature, {});
  expect_shape(context, "attention", attention, {samples, mixtures, cells});
  return {samples * mixtures, mixtures, cells};
}

// beta [m, n] of the attribute `assignment`: for each mixture the cells whose beta is 1; n stands for the zero cell, which has no output.
std::vector<float> read_assignment(const StepContext& context, int64_t mixtures, int64_t cells) {
  const std::vector<std::vector<int64_t>> assignment = context.integer_lists("assignment");
  if (assignment.size() != static_cast<size_t>(mixtures)) {
    context.fail("expected attribute assignment with " + std::to_string(mixtures) + " lists but received " +
                 std::to_string(assignment.size()));
  }
  std::vector<float> beta(static_cast<size_t>(mixtures * cells), 0.0f);
  for (int64_t mixture = 0; mixture < mixtures; ++mixture) {
    for (const int64_t cell : assignment[static_cast<size_t>(mixture)]) {
      if (cell < 0 || cell > cells) {
        context.fail("expected cell indices in 0.." + std::to_string(cells) + " but assignment of mixture " + std::to_string(mixture) +
                     " holds " + std::to_string(cell));
      }
      if (cell < cells) beta[static_cast<size_t>(mixture * cells + cell)] = 1.0f;
    }
  }
  return beta;
}

float absolute_sum(const float* z, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; ++j) sum += std::fabs(z[j]);
  return sum;
}

std::unique_ptr<Kernel> prepare_contrasting_attention(const StepContext& context) {
  const Tensor &logits = context.input(0), &temperature = context.input(1), &attention = context.output(0);
  const AttentionShape shape = check_shapes(context, logits, temperature, attention);
  const float epsilon = static_cast<float>(context.number("epsilon"));
  return make_kernel(
      [&, shape, epsilon, beta = read_assignment(context, shape.mixtures, shape.cells), threads = context.threads](const Memory& memory) {
        const float* in = memory.data<float>(logits);
        float* out = memory.data<float>(attention);
        const float* beta_rows = beta.data();
        const float t = *memory.data<float>(temperature);
        const int64_t cells = shape.cells, mixtures = shape.mixtures;
        parallel_for(threads, shape.rows, rows_per_thread(cells), [=](int64_t begin, int64_t end) {
          for (int64_t row = begin; row < end; ++row) {
            const float* z = in + row * (cells + 1);
            const float* assigned = beta_rows + row % mixtures * cells;
            float* alpha = out + row * cells;
            const float factor = (1.0f - t) / (absolute_sum(z, cells + 1) + epsilon);
#pragma omp simd
            for (int64_t j = 0; j < cells; ++j) alpha[j] = factor * z[j] + t * assigned[j];
          }
        });
      });
}

// With S = sum|z| + epsilon: dz_j = (1-t) (g_j / S - sign(z_j) sum_k(g_k z_k) / S^2); g of the zero cell is 0, sign(0) is 0.
std::unique_ptr<Kernel> prepare_contrasting_attention_backward(const StepContext& context) {
  const Tensor &dattention = context.input(0), &logits = context.input(1), &temperature = context.input(2), &dlogits = context.output(0);
  const AttentionShape shape = check_shapes(context, logits, temperature, dattention);
  expect_shape(context, "dlogits", dlogits, logits.shape);
  const float epsilon = static_cast<float>(context.number("epsilon"));
  return make_kernel([&, shape, epsilon, threads = context.threads](const Memory& memory) {
    const float *gradient = memory.data<float>(dattention), *in = memory.data<float>(logits);
    float* out = memory.data<float>(dlogits);
    const float t = *memory.data<float>(temperature);
    const int64_t cells = shape.cells;
    parallel_for(threads, shape.rows, rows_per_thread(cells), [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float *z = in + row * (cells + 1), *g = gradient + row * cells;
        float* dz = out + row * (cells + 1);
        float product = 0;
#pragma omp simd reduction(+ : product)
        for (int64_t j = 0; j < cells; ++j) product += g[j] * z[j];
        const float inverse = 1.0f / (absolute_sum(z, cells + 1) + epsilon);
        const float factor = (1.0f - t) * inverse, slope = factor * product * inverse;
#pragma omp simd
        for (int64_t j = 0; j < cells; ++j) dz[j] = factor * g[j] - (z[j] > 0.0f ? slope : z[j] < 0.0f ? -slope : 0.0f);
        dz[cells] = z[cells] > 0.0f ? -slope : z[cells] < 0.0f ? slope : 0.0f;
      }
    });
  });
}

}  // namespace

void add_attention(KernelRegistry& registry) {
  registry.add("contrasting_attention", prepare_contrasting_attention);
  registry.add("contrasting_attention_backward", prepare_contrasting_attention_backward);
}

}  // namespace kw::cpu
