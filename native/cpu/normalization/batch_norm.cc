// Batch normalization (Ioffe & Szegedy 2015) over all axes but the last, for training and for inference. In training a residual may be
// added and an activation applied while the result is written. Statistics take one pass over x. Each short run of rows is measured from its
// own first row and the runs are added in double, so a mean that is large against the deviation does not cancel, and a constant channel has
// variance exactly 0.
#include "cpu/normalization/batch_norm.h"

#include <algorithm>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/parallel.h"
#include "cpu/reductions/column_reduction.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

// y = (x - mean) * factor + bias for each channel, plus the residual, then activated.
template <class T, Activation kActivation, bool kResidual>
KW_WIDE void normalize_rows(const T* x, const T* residual, int64_t rows, int64_t channels, const float* mean, const float* factor,
                            const float* bias, T* y) {
  for (int64_t row = 0; row < rows; ++row) {
    const T *x_row = x + row * channels, *residual_row = kResidual ? residual + row * channels : x;
    T* y_row = y + row * channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      float value = normalized(x_row[c], mean[c], factor[c], bias[c]);
      if constexpr (kResidual) value += residual_row[c];
      y_row[c] = static_cast<T>(activated<kActivation>(value));
    }
  }
}

template <class T>
using NormalizeRows = void (*)(const T*, const T*, int64_t, int64_t, const float*, const float*, const float*, T*);

template <class T>
NormalizeRows<T> normalize_function(Activation activation, bool residual) {
  switch (activation) {
    case Activation::relu:
      return residual ? normalize_rows<T, Activation::relu, true> : normalize_rows<T, Activation::relu, false>;
    case Activation::relu6:
      return residual ? normalize_rows<T, Activation::relu6, true> : normalize_rows<T, Activation::relu6, false>;
    case Activation::none:
      break;
  }
  return residual ? normalize_rows<T, Activation::none, true> : normalize_rows<T, Activation::none, false>;
}

// Adds x - origin and its square of some rows to `sum` and `square`. Four rows at a time, so that the sums are read and written less often.
template <class T>
KW_WIDE void add_moments(const T* x, int64_t rows, int64_t channels, const T* origin, float* sum, float* square) {
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    const T *first = x + row * channels, *second = first + channels, *third = second + channels, *fourth = third + channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      const float from = origin[c];
      const float a = first[c] - from, b = second[c] - from, d = third[c] - from, e = fourth[c] - from;
      sum[c] += (a + b) + (d + e);
      square[c] += (a * a + b * b) + (d * d + e * e);
    }
  }
  for (; row < rows; ++row) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      const float difference = x[row * channels + c] - static_cast<float>(origin[c]);
      sum[c] += difference;
      square[c] += difference * difference;
    }
  }
}

// Adds a run's sums, which are about `origin`, to totals about `base`.
template <class T>
KW_WIDE void add_shifted(const T* origin, const T* base, double rows, int64_t channels, const float* sum, const float* square,
                         double* totals) {
#pragma omp simd
  for (int64_t c = 0; c < channels; ++c) {
    const double shift = static_cast<double>(static_cast<float>(origin[c])) - static_cast<float>(base[c]);
    totals[c] += rows * shift + sum[c];
    totals[channels + c] += square[c] + 2 * shift * sum[c] + rows * shift * shift;
  }
}

// Totals [2][channels]: the sums of x - x[0] and of its square, x[0] being the first row.
template <class T>
const double* moments(const ColumnReduction<2>& reduction, Matrix matrix, const T* x, std::byte* scratch) {
  const int64_t channels = matrix.channels;
  return reduction.run(scratch, [=](int64_t first, int64_t last, float* runs, double* totals) {
    const T* origin = x + first * channels;
    add_moments(origin, last - first, channels, origin, runs, runs + channels);
    add_shifted(origin, x, static_cast<double>(last - first), channels, runs, runs + channels, totals);
  });
}

template <class T>
std::unique_ptr<Kernel> make_batch_norm(const BatchNormStep& step, const KernelContext& context) {
  const NormalizeRows<T> normalize = normalize_function<T>(step.activation, step.residual != nullptr);
  const ColumnReduction<2> reduction(step.matrix, context.threads);
  context.reserve_scratch(reduction.scratch_bytes() + static_cast<size_t>(step.matrix.channels) * sizeof(float));
  return make_kernel([step, normalize, reduction, threads = context.threads](const Memory& memory) {
    const T *in = memory.data<T>(step.x), *added = step.residual ? memory.data<T>(*step.residual) : nullptr;
    const float *scales = memory.data<float>(step.scale), *biases = memory.data<float>(step.bias);
    float *means = memory.data<float>(step.mean), *variances = memory.data<float>(step.variance);
    T* out = memory.data<T>(step.y);
    const Matrix matrix = step.matrix;
    float* factor = reinterpret_cast<float*>(memory.scratch() + reduction.scratch_bytes());
    const int64_t channels = matrix.channels;
    const double* totals = moments(reduction, matrix, in, memory.scratch());
    const double rows = static_cast<double>(matrix.rows);
    for (int64_t c = 0; c < channels; ++c) {
      const double shift = totals[c] / rows;
      means[c] = static_cast<float>(static_cast<float>(in[c]) + shift);
      variances[c] = static_cast<float>(std::max(0.0, totals[channels + c] / rows - shift * shift));
      factor[c] = scales[c] * inverse_deviation(variances[c], step.epsilon);
    }
    parallel_for(threads, matrix.rows, rows_per_thread(channels), [=](int64_t begin, int64_t end) {
      const int64_t start = begin * channels;
      normalize(in + start, added ? added + start : nullptr, end - begin, channels, means, factor, biases, out + start);
    });
  });
}

std::unique_ptr<Kernel> prepare_batch_norm(const BatchNormStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_batch_norm<T>(step, context); });
}

template <class T>
std::unique_ptr<Kernel> make_batch_norm_inference(const BatchNormInferenceStep& step, const KernelContext& context) {
  context.reserve_scratch(static_cast<size_t>(step.matrix.channels) * sizeof(float));
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    const float *scales = memory.data<float>(step.scale), *biases = memory.data<float>(step.bias);
    const float *means = memory.data<float>(step.mean), *variances = memory.data<float>(step.variance);
    const T* in = memory.data<T>(step.x);
    T* out = memory.data<T>(step.y);
    const Matrix matrix = step.matrix;
    float* factor = reinterpret_cast<float*>(memory.scratch());
    const int64_t channels = matrix.channels;
    for (int64_t c = 0; c < channels; ++c) factor[c] = scales[c] * inverse_deviation(variances[c], step.epsilon);
    parallel_for(threads, matrix.rows, rows_per_thread(channels), [=](int64_t begin, int64_t end) {
      const int64_t start = begin * channels;
      normalize_rows<T, Activation::none, false>(in + start, nullptr, end - begin, channels, means, factor, biases, out + start);
    });
  });
}

std::unique_ptr<Kernel> prepare_batch_norm_inference(const BatchNormInferenceStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_batch_norm_inference<T>(step, context); });
}

std::unique_ptr<Kernel> prepare_update_running_statistics(const UpdateRunningStatisticsStep& step, const KernelContext&) {
  return make_kernel([step](const Memory& memory) {
    float *means = memory.data<float>(step.running_mean), *variances = memory.data<float>(step.running_variance);
    const float *batch_means = memory.data<float>(step.mean), *batch_variances = memory.data<float>(step.variance);
    for (int64_t c = 0; c < step.channels; ++c) {
      means[c] = step.keep * means[c] + step.mean_weight * batch_means[c];
      variances[c] = step.keep * variances[c] + step.variance_weight * batch_variances[c];
    }
  });
}

}  // namespace

void add_batch_norm(KernelRegistry& registry) {
  add_kernel(registry, ops::batch_norm, prepare_batch_norm);
  add_kernel(registry, ops::batch_norm_backward, prepare_batch_norm_backward);
  add_kernel(registry, ops::batch_norm_inference, prepare_batch_norm_inference);
  add_kernel(registry, ops::batch_norm_inference_backward, prepare_batch_norm_backward);
  add_kernel(registry, ops::update_running_statistics, prepare_update_running_statistics);
}

}  // namespace kw::cpu
