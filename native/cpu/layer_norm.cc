// Layer normalization (Ba et al. 2016) over the last axis, with its gradient.
#include <algorithm>
#include <cmath>

#include "cpu/column_reduction.h"
#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"

namespace kw::cpu {
namespace {

// Terms added in float before they go to a double sum.
constexpr int64_t kRun = 128;

// Sum of x - origin.
template <class T>
KW_WIDE double sum_from(const T* x, int64_t count, float origin) {
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
template <class T>
KW_WIDE double square_sum_from(const T* x, int64_t count, float origin) {
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

// The parameters [channels] are the same for every row.
template <class T>
KW_WIDE void normalize_row(const T* x, int64_t channels, float mean, float inverse, const float* scale, const float* bias, T* y) {
#pragma omp simd
  for (int64_t c = 0; c < channels; ++c) y[c] = static_cast<T>((x[c] - mean) * inverse * scale[c] + bias[c]);
}

template <class T>
std::unique_ptr<Kernel> make_layer_norm(const StepContext& context, Matrix matrix) {
  const Tensor &x = context.input(0), &scale = context.input(1), &bias = context.input(2);
  const Tensor &y = context.output(0), &mean = context.output(1), &variance = context.output(2);
  const double epsilon = context.number("epsilon");
  return make_kernel([&, matrix, epsilon, threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(x);
    const float *scales = memory.data<float>(scale), *biases = memory.data<float>(bias);
    T* out = memory.data<T>(y);
    float *means = memory.data<float>(mean), *variances = memory.data<float>(variance);
    const int64_t channels = matrix.channels;
    parallel_for(threads, matrix.rows, rows_per_thread(channels), [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* x_row = in + row * channels;
        const float first = x_row[0];
        const double exact_mean = first + sum_from(x_row, channels, first) / static_cast<double>(channels);
        const float row_mean = static_cast<float>(exact_mean);
        const double rounding = exact_mean - row_mean;
        const double square = square_sum_from(x_row, channels, row_mean) / static_cast<double>(channels) - rounding * rounding;
        const double row_variance = std::max(0.0, square);
        means[row] = row_mean;
        variances[row] = static_cast<float>(row_variance);
        const float inverse = static_cast<float>(1.0 / std::sqrt(row_variance + epsilon));
        normalize_row(x_row, channels, row_mean, inverse, scales, biases, out + row * channels);
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_layer_norm(const StepContext& context) {
  const Tensor& x = context.input(0);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  expect_shape(context, "scale", context.input(1), {matrix.channels});
  expect_shape(context, "bias", context.input(2), {matrix.channels});
  expect_shape(context, "y", context.output(0), x.shape, x.type);
  expect_shape(context, "mean", context.output(1), {matrix.rows});
  expect_shape(context, "variance", context.output(2), {matrix.rows});
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) { return make_layer_norm<T>(context, matrix); });
}

// With h = (x - mean) / deviation and g = dy * scale: dx = (g - mean(g) - h mean(g h)) / deviation, dscale = sum(dy h), dbias = sum(dy).
// One row, whose part of the sums for dscale and dbias is added to them.
template <class T>
KW_WIDE void gradient_row(const T* dy, const T* x, int64_t channels, float mean, float inverse, const float* scale, float* scale_sum,
                          float* bias_sum, T* dx) {
  double sum = 0, product = 0;
  for (int64_t begin = 0; begin < channels; begin += kRun) {
    const int64_t end = std::min(begin + kRun, channels);
    float run_sum = 0, run_product = 0;
#pragma omp simd reduction(+ : run_sum, run_product)
    for (int64_t c = begin; c < end; ++c) {
      const float gradient = dy[c], normal = (x[c] - mean) * inverse, scaled = gradient * scale[c];
      run_sum += scaled;
      run_product += scaled * normal;
      scale_sum[c] += gradient * normal;
      bias_sum[c] += gradient;
    }
    sum += run_sum;
    product += run_product;
  }
  const float sum_mean = static_cast<float>(sum / static_cast<double>(channels));
  const float product_mean = static_cast<float>(product / static_cast<double>(channels));
#pragma omp simd
  for (int64_t c = 0; c < channels; ++c) {
    const float normal = (x[c] - mean) * inverse;
    dx[c] = static_cast<T>((dy[c] * scale[c] - sum_mean - normal * product_mean) * inverse);
  }
}

// One pass: a row's dx needs that row only, and the parameters' gradients add up beside it.
template <class T>
std::unique_ptr<Kernel> make_layer_norm_backward(const StepContext& context, Matrix matrix) {
  const Tensor &dy = context.input(0), &x = context.input(1), &scale = context.input(2);
  const Tensor &mean = context.input(3), &variance = context.input(4);
  const Tensor &dx = context.output(0), &dscale = context.output(1), &dbias = context.output(2);
  const double epsilon = context.number("epsilon");
  const ColumnReduction<2> reduction(matrix, context.threads);
  context.reserve_scratch(reduction.scratch_bytes());
  return make_kernel([&, matrix, epsilon, reduction](const Memory& memory) {
    const T *gradient = memory.data<T>(dy), *in = memory.data<T>(x);
    const float *scales = memory.data<float>(scale), *means = memory.data<float>(mean), *variances = memory.data<float>(variance);
    T* out = memory.data<T>(dx);
    float *scale_gradient = memory.data<float>(dscale), *bias_gradient = memory.data<float>(dbias);
    const int64_t channels = matrix.channels;
    const double* totals = reduction.run(memory.scratch(), [=, &reduction](int64_t first, int64_t last, float* runs, double* part_totals) {
      for (int64_t row = first; row < last; ++row) {
        const float inverse = static_cast<float>(1.0 / std::sqrt(variances[row] + epsilon));
        const int64_t start = row * channels;
        gradient_row(gradient + start, in + start, channels, means[row], inverse, scales, runs, runs + channels, out + start);
      }
      reduction.add_run(runs, part_totals);
    });
    for (int64_t c = 0; c < channels; ++c) {
      scale_gradient[c] = static_cast<float>(totals[c]);
      bias_gradient[c] = static_cast<float>(totals[channels + c]);
    }
  });
}

std::unique_ptr<Kernel> prepare_layer_norm_backward(const StepContext& context) {
  const Tensor& x = context.input(1);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  expect_shape(context, "dy", context.input(0), x.shape, x.type);
  expect_shape(context, "scale", context.input(2), {matrix.channels});
  expect_shape(context, "mean", context.input(3), {matrix.rows});
  expect_shape(context, "variance", context.input(4), {matrix.rows});
  expect_shape(context, "dx", context.output(0), x.shape, x.type);
  expect_shape(context, "dscale", context.output(1), {matrix.channels});
  expect_shape(context, "dbias", context.output(2), {matrix.channels});
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) { return make_layer_norm_backward<T>(context, matrix); });
}

}  // namespace

void add_layer_norm(KernelRegistry& registry) {
  registry.add("layer_norm", prepare_layer_norm);
  registry.add("layer_norm_backward", prepare_layer_norm_backward);
}

}  // namespace kw::cpu
