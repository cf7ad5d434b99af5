// Layer normalization (Ba et al. 2016) over the last axis, with its gradient.
#include <algorithm>
#include <cmath>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/parallel.h"
#include "cpu/reductions/column_reduction.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

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
std::unique_ptr<Kernel> make_layer_norm(const LayerNormStep& step, const KernelContext& context) {
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(step.x);
    const float *scales = memory.data<float>(step.scale), *biases = memory.data<float>(step.bias);
    T* out = memory.data<T>(step.y);
    float *means = memory.data<float>(step.mean), *variances = memory.data<float>(step.variance);
    const Matrix matrix = step.matrix;
    const double epsilon = step.epsilon;
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

std::unique_ptr<Kernel> prepare_layer_norm(const LayerNormStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_layer_norm<T>(step, context); });
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
std::unique_ptr<Kernel> make_layer_norm_backward(const LayerNormBackwardStep& step, const KernelContext& context) {
  const ColumnReduction<2> reduction(step.matrix, context.threads);
  context.reserve_scratch(reduction.scratch_bytes());
  return make_kernel([step, reduction](const Memory& memory) {
    const T *gradient = memory.data<T>(step.dy), *in = memory.data<T>(step.x);
    const float *scales = memory.data<float>(step.scale), *means = memory.data<float>(step.mean);
    const float* variances = memory.data<float>(step.variance);
    T* out = memory.data<T>(step.dx);
    float *scale_gradient = memory.data<float>(step.dscale), *bias_gradient = memory.data<float>(step.dbias);
    const Matrix matrix = step.matrix;
    const double epsilon = step.epsilon;
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

std::unique_ptr<Kernel> prepare_layer_norm_backward(const LayerNormBackwardStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_layer_norm_backward<T>(step, context); });
}

}  // namespace

void add_layer_norm(KernelRegistry& registry) {
  add_kernel(registry, ops::layer_norm, prepare_layer_norm);
  add_kernel(registry, ops::layer_norm_backward, prepare_layer_norm_backward);
}

}  // namespace kw::cpu
