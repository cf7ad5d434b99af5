// Batch normalization (Ioffe & Szegedy 2015) over all axes but the last, for training and for inference, with gradients.
// Statistics take one pass over x. Each short run of rows is measured from its own first row and the runs are added in double, so a mean
// that is large against the deviation does not cancel, and a constant channel has variance exactly 0.
#include <algorithm>
#include <cmath>

#include "cpu/column_reduction.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernel.h"
#include "cpu/parallel.h"

namespace kw::cpu {
namespace {

// y = (x - center) * factor + offset for each channel.
void normalize(int threads, Matrix matrix, const float* x, const float* center, const float* factor, const float* offset, float* y) {
  const int64_t channels = matrix.channels;
  parallel_for(threads, matrix.rows, rows_per_thread(channels), [=](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x_row = x + row * channels;
      float* y_row = y + row * channels;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) y_row[c] = (x_row[c] - center[c]) * factor[c] + offset[c];
    }
  });
}

float inverse_deviation(float variance, double epsilon) { return static_cast<float>(1.0 / std::sqrt(variance + epsilon)); }

// Totals [2][channels]: the sums of x - x[0] and of its square, x[0] being the first row.
const double* moments(const ColumnReduction<2>& reduction, Matrix matrix, const float* x, std::byte* scratch) {
  const int64_t channels = matrix.channels;
  return reduction.run(scratch, [=](int64_t first, int64_t last, float* runs, double* totals) {
    const float* origin = x + first * channels;
    float *sum = runs, *square = runs + channels;
    for (int64_t row = first + 1; row < last; ++row) {
      const float* x_row = x + row * channels;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        const float difference = x_row[c] - origin[c];
        sum[c] += difference;
        square[c] += difference * difference;
      }
    }
    const double rows = static_cast<double>(last - first);
    for (int64_t c = 0; c < channels; ++c) {
      const double shift = static_cast<double>(origin[c]) - x[c];
      totals[c] += rows * shift + sum[c];
      totals[channels + c] += square[c] + 2 * shift * sum[c] + rows * shift * shift;
    }
  });
}

// Totals [2][channels]: the sums of dy and of dy * (x - mean).
const double* gradient_sums(const ColumnReduction<2>& reduction, Matrix matrix, const float* dy, const float* x, const float* mean,
                            std::byte* scratch) {
  const int64_t channels = matrix.channels;
  return reduction.run(scratch, [=, &reduction](int64_t first, int64_t last, float* runs, double* totals) {
    float *sum = runs, *product = runs + channels;
    for (int64_t row = first; row < last; ++row) {
      const float *dy_row = dy + row * channels, *x_row = x + row * channels;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        sum[c] += dy_row[c];
        product[c] += dy_row[c] * (x_row[c] - mean[c]);
      }
    }
    reduction.add_run(runs, totals);
  });
}

std::unique_ptr<Kernel> prepare_batch_norm(const StepContext& context) {
  const Tensor &x = context.input(0), &scale = context.input(1), &bias = context.input(2);
  const Tensor &y = context.output(0), &mean = context.output(1), &variance = context.output(2);
  const Matrix matrix = as_matrix(context, "x", x);
  expect_shape(context, "scale", scale, {matrix.channels});
  expect_shape(context, "bias", bias, {matrix.channels});
  expect_shape(context, "y", y, x.shape);
  expect_shape(context, "mean", mean, {matrix.channels});
  expect_shape(context, "variance", variance, {matrix.channels});
  const double epsilon = context.number("epsilon");
  const ColumnReduction<2> reduction(matrix, context.threads);
  context.reserve_scratch(reduction.scratch_bytes() + static_cast<size_t>(matrix.channels) * sizeof(float));
  return make_kernel([&, matrix, epsilon, reduction, threads = context.threads](const Memory& memory) {
    const float *in = memory.data<float>(x), *scales = memory.data<float>(scale);
    float *means = memory.data<float>(mean), *variances = memory.data<float>(variance);
    float* factor = reinterpret_cast<float*>(memory.scratch() + reduction.scratch_bytes());
    const double* totals = moments(reduction, matrix, in, memory.scratch());
    const double rows = static_cast<double>(matrix.rows);
    for (int64_t c = 0; c < matrix.channels; ++c) {
      const double shift = totals[c] / rows;
      means[c] = static_cast<float>(in[c] + shift);
      variances[c] = static_cast<float>(std::max(0.0, totals[matrix.channels + c] / rows - shift * shift));
      factor[c] = scales[c] * inverse_deviation(variances[c], epsilon);
    }
    normalize(threads, matrix, in, means, factor, memory.data<float>(bias), memory.data<float>(y));
  });
}

std::unique_ptr<Kernel> prepare_batch_norm_inference(const StepContext& context) {
  const Tensor &x = context.input(0), &scale = context.input(1), &bias = context.input(2);
  const Tensor &mean = context.input(3), &variance = context.input(4), &y = context.output(0);
  const Matrix matrix = as_matrix(context, "x", x);
  expect_shape(context, "scale", scale, {matrix.channels});
  expect_shape(context, "bias", bias, {matrix.channels});
  expect_shape(context, "mean", mean, {matrix.channels});
  expect_shape(context, "variance", variance, {matrix.channels});
  expect_shape(context, "y", y, x.shape);
  const double epsilon = context.number("epsilon");
  context.reserve_scratch(static_cast<size_t>(matrix.channels) * sizeof(float));
  return make_kernel([&, matrix, epsilon, threads = context.threads](const Memory& memory) {
    const float *scales = memory.data<float>(scale), *variances = memory.data<float>(variance);
    float* factor = reinterpret_cast<float*>(memory.scratch());
    for (int64_t c = 0; c < matrix.channels; ++c) factor[c] = scales[c] * inverse_deviation(variances[c], epsilon);
    normalize(threads, matrix, memory.data<float>(x), memory.data<float>(mean), factor, memory.data<float>(bias), memory.data<float>(y));
  });
}

// With the batch's own statistics dx = factor * ((dy - mean dy) - (x - mean) * slope), slope = mean(dy (x - mean)) / (variance + epsilon);
// with constant statistics dx = factor * dy. factor = scale / sqrt(variance + epsilon).
std::unique_ptr<Kernel> prepare_backward(const StepContext& context, bool constant_statistics) {
  const Tensor &dy = context.input(0), &x = context.input(1), &scale = context.input(2);
  const Tensor &mean = context.input(3), &variance = context.input(4);
  const Tensor &dx = context.output(0), &dscale = context.output(1), &dbias = context.output(2);
  const Matrix matrix = as_matrix(context, "x", x);
  expect_shape(context, "dy", dy, x.shape);
  expect_shape(context, "scale", scale, {matrix.channels});
  expect_shape(context, "mean", mean, {matrix.channels});
  expect_shape(context, "variance", variance, {matrix.channels});
  expect_shape(context, "dx", dx, x.shape);
  expect_shape(context, "dscale", dscale, {matrix.channels});
  expect_shape(context, "dbias", dbias, {matrix.channels});
  const double epsilon = context.number("epsilon");
  const ColumnReduction<2> reduction(matrix, context.threads);
  context.reserve_scratch(reduction.scratch_bytes() + 3 * static_cast<size_t>(matrix.channels) * sizeof(float));
  return make_kernel([&, matrix, epsilon, reduction, constant_statistics, threads = context.threads](const Memory& memory) {
    const float *gradient = memory.data<float>(dy), *in = memory.data<float>(x), *scales = memory.data<float>(scale);
    const float *means = memory.data<float>(mean), *variances = memory.data<float>(variance);
    float *out = memory.data<float>(dx), *scale_gradient = memory.data<float>(dscale), *bias_gradient = memory.data<float>(dbias);
    const int64_t channels = matrix.channels;
    float* factor = reinterpret_cast<float*>(memory.scratch() + reduction.scratch_bytes());
    float *gradient_mean = factor + channels, *slope = gradient_mean + channels;
    const double* totals = gradient_sums(reduction, matrix, gradient, in, means, memory.scratch());
    const double rows = static_cast<double>(matrix.rows);
    for (int64_t c = 0; c < channels; ++c) {
      const float inverse = inverse_deviation(variances[c], epsilon);
      bias_gradient[c] = static_cast<float>(totals[c]);
      scale_gradient[c] = static_cast<float>(totals[channels + c] * inverse);
      factor[c] = scales[c] * inverse;
      gradient_mean[c] = static_cast<float>(totals[c] / rows);
      slope[c] = static_cast<float>(totals[channels + c] / rows * inverse * inverse);
    }
    parallel_for(threads, matrix.rows, rows_per_thread(channels), [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float *dy_row = gradient + row * channels, *x_row = in + row * channels;
        float* dx_row = out + row * channels;
        if (constant_statistics) {
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) dx_row[c] = dy_row[c] * factor[c];
        } else {
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) {
            dx_row[c] = factor[c] * ((dy_row[c] - gradient_mean[c]) - (x_row[c] - means[c]) * slope[c]);
          }
        }
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_update_running_statistics(const StepContext& context) {
  const Tensor &running_mean = context.input(0), &running_variance = context.input(1);
  const Tensor &mean = context.input(2), &variance = context.input(3);
  const int64_t channels = as_matrix(context, "runningMean", running_mean).channels;
  for (const Tensor* tensor : {&running_mean, &running_variance, &mean, &variance}) {
    expect_shape(context, "statistics", *tensor, {channels});
  }
  const double momentum = context.number("momentum");
  const double count = static_cast<double>(context.integer("count"));
  const float keep = static_cast<float>(1 - momentum), mean_weight = static_cast<float>(momentum);
  const float variance_weight = static_cast<float>(count > 1 ? momentum * count / (count - 1) : momentum);
  return make_kernel([&, channels, keep, mean_weight, variance_weight](const Memory& memory) {
    float *means = memory.data<float>(running_mean), *variances = memory.data<float>(running_variance);
    const float *batch_means = memory.data<float>(mean), *batch_variances = memory.data<float>(variance);
    for (int64_t c = 0; c < channels; ++c) {
      means[c] = keep * means[c] + mean_weight * batch_means[c];
      variances[c] = keep * variances[c] + variance_weight * batch_variances[c];
    }
  });
}

}  // namespace

void add_batch_norm(KernelRegistry& registry) {
  registry.add("batch_norm", prepare_batch_norm);
  registry.add("batch_norm_backward", [](const StepContext& context) { return prepare_backward(context, false); });
  registry.add("batch_norm_inference", prepare_batch_norm_inference);
  registry.add("batch_norm_inference_backward", [](const StepContext& context) { return prepare_backward(context, true); });
  registry.add("update_running_statistics", prepare_update_running_statistics);
}

}  // namespace kw::cpu
