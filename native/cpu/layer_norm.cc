// Layer normalization (Ba et al. 2016) over the last axis, with its gradient.
#include <algorithm>
#include <cmath>

#include "cpu/column_reduction.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernel.h"
#include "cpu/parallel.h"

namespace kw::cpu {
namespace {

// Terms added in float before they go to a double sum.
constexpr int64_t kRun = 128;

// Sum of x - origin.
double sum_from(const float* x, int64_t count, float origin) {
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t end = std::min(begin + kRun, count);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) sum += x[i] - origin;
    total += sum;
  }
  return total;
}

// Sum of (x - origin)^2.
double square_sum_from(const float* x, int64_t count, float origin) {
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t end = std::min(begin + kRun, count);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) sum += (x[i] - origin) * (x[i] - origin);
    total += sum;
  }
  return total;
}

std::unique_ptr<Kernel> prepare_layer_norm(const StepContext& context) {
  const Tensor &x = context.input(0), &scale = context.input(1), &bias = context.input(2);
  const Tensor &y = context.output(0), &mean = context.output(1), &variance = context.output(2);
  const Matrix matrix = as_matrix(context, "x", x);
  expect_shape(context, "scale", scale, {matrix.channels});
  expect_shape(context, "bias", bias, {matrix.channels});
  expect_shape(context, "y", y, x.shape);
  expect_shape(context, "mean", mean, {matrix.rows});
  expect_shape(context, "variance", variance, {matrix.rows});
  const double epsilon = context.number("epsilon");
  return make_kernel([&, matrix, epsilon, threads = context.threads](const Memory& memory) {
    const float *in = memory.data<float>(x), *scales = memory.data<float>(scale), *biases = memory.data<float>(bias);
    float *out = memory.data<float>(y), *means = memory.data<float>(mean), *variances = memory.data<float>(variance);
    const int64_t channels = matrix.channels;
    parallel_for(threads, matrix.rows, rows_per_thread(channels), [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* x_row = in + row * channels;
        float* y_row = out + row * channels;
        const double exact_mean = x_row[0] + sum_from(x_row, channels, x_row[0]) / static_cast<double>(channels);
        const float row_mean = static_cast<float>(exact_mean);
        const double rounding = exact_mean - row_mean;
        const double square = square_sum_from(x_row, channels, row_mean) / static_cast<double>(channels) - rounding * rounding;
        const double row_variance = std::max(0.0, square);
        const float inverse = static_cast<float>(1.0 / std::sqrt(row_variance + epsilon));
        means[row] = row_mean;
        variances[row] = static_cast<float>(row_variance);
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) y_row[c] = (x_row[c] - row_mean) * inverse * scales[c] + biases[c];
      }
    });
  });
}

// With h = (x - mean) / deviation and g = dy * scale: dx = (g - mean(g) - h mean(g h)) / deviation, dscale = sum(dy h), dbias = sum(dy).
// One pass: a row's dx needs that row only, and the parameters' gradients add up beside it.
std::unique_ptr<Kernel> prepare_layer_norm_backward(const StepContext& context) {
  const Tensor &dy = context.input(0), &x = context.input(1), &scale = context.input(2);
  const Tensor &mean = context.input(3), &variance = context.input(4);
  const Tensor &dx = context.output(0), &dscale = context.output(1), &dbias = context.output(2);
  const Matrix matrix = as_matrix(context, "x", x);
  expect_shape(context, "dy", dy, x.shape);
  expect_shape(context, "scale", scale, {matrix.channels});
  expect_shape(context, "mean", mean, {matrix.rows});
  expect_shape(context, "variance", variance, {matrix.rows});
  expect_shape(context, "dx", dx, x.shape);
  expect_shape(context, "dscale", dscale, {matrix.channels});
  expect_shape(context, "dbias", dbias, {matrix.channels});
  const double epsilon = context.number("epsilon");
  const ColumnReduction<2> reduction(matrix, context.threads);
  context.reserve_scratch(reduction.scratch_bytes());
  return make_kernel([&, matrix, epsilon, reduction](const Memory& memory) {
    const float *gradient = memory.data<float>(dy), *in = memory.data<float>(x), *scales = memory.data<float>(scale);
    const float *means = memory.data<float>(mean), *variances = memory.data<float>(variance);
    float *out = memory.data<float>(dx), *scale_gradient = memory.data<float>(dscale), *bias_gradient = memory.data<float>(dbias);
    const int64_t channels = matrix.channels;
    const double* totals = reduction.run(memory.scratch(), [=, &reduction](int64_t first, int64_t last, float* runs, double* part_totals) {
      float *scale_sum = runs, *bias_sum = runs + channels;
      for (int64_t row = first; row < last; ++row) {
        const float *dy_row = gradient + row * channels, *x_row = in + row * channels;
        float* dx_row = out + row * channels;
        const float row_mean = means[row], inverse = static_cast<float>(1.0 / std::sqrt(variances[row] + epsilon));
        double sum = 0, product = 0;
        for (int64_t begin = 0; begin < channels; begin += kRun) {
          const int64_t end = std::min(begin + kRun, channels);
          float run_sum = 0, run_product = 0;
#pragma omp simd reduction(+ : run_sum, run_product)
          for (int64_t c = begin; c < end; ++c) {
            const float normal = (x_row[c] - row_mean) * inverse, scaled = dy_row[c] * scales[c];
            run_sum += scaled;
            run_product += scaled * normal;
            scale_sum[c] += dy_row[c] * normal;
            bias_sum[c] += dy_row[c];
          }
          sum += run_sum;
          product += run_product;
        }
        const float sum_mean = static_cast<float>(sum / static_cast<double>(channels));
        const float product_mean = static_cast<float>(product / static_cast<double>(channels));
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
          const float normal = (x_row[c] - row_mean) * inverse;
          dx_row[c] = (dy_row[c] * scales[c] - sum_mean - normal * product_mean) * inverse;
        }
      }
      reduction.add_run(runs, part_totals);
    });
    for (int64_t c = 0; c < channels; ++c) {
      scale_gradient[c] = static_cast<float>(totals[c]);
      bias_gradient[c] = static_cast<float>(totals[channels + c]);
    }
  });
}

}  // namespace

void add_layer_norm(KernelRegistry& registry) {
  registry.add("layer_norm", prepare_layer_norm);
  registry.add("layer_norm_backward", prepare_layer_norm_backward);
}

}  // namespace kw::cpu
