// The gradient of batch normalization in two passes: sums over the rows, then dx. With g the gradient that the activation lets pass,
// dx = factor * ((g - mean(g)) - (x - mean) * slope), slope = mean(g (x - mean)) / (variance + epsilon), factor = scale / deviation.
// Without a residual the activation's input is computed again from x; with one, its output y tells, and g is stored: it is the residual's
// gradient, and the second pass reads it.
#include "cpu/element.h"
#include "cpu/normalization/batch_norm.h"
#include "cpu/parallel.h"
#include "cpu/reductions/column_reduction.h"
#include "cpu/wide.h"

namespace kw::cpu {
namespace {

// Vectors [channels] of one normalization.
struct Channels {
  int64_t count;
  const float *mean, *factor, *bias;  // bias only where the activation's input is computed again
};

// Adds g and g * (x - mean) of some rows to `sum` and `product`. `shown` is y, and then g goes to `passed`, which may be dy's memory.
template <class T, Activation kActivation, bool kStored>
KW_WIDE void add_gradient_sums(const T* dy, const T* x, const T* shown, int64_t rows, Channels channels, float* sum, float* product,
                               T* passed) {
  const int64_t count = channels.count;
  const float *mean = channels.mean, *factor = channels.factor, *bias = channels.bias;
  constexpr bool kBias = kActivation != Activation::none && !kStored;
  int64_t row = 0;
  for (; row + 2 <= rows; row += 2) {
    const int64_t first = row * count, second = first + count;
#pragma omp simd
    for (int64_t c = 0; c < count; ++c) {
      const float a = x[first + c] - mean[c], b = x[second + c] - mean[c];
      float g = dy[first + c], h = dy[second + c];
      if constexpr (kStored) {
        g = masked<kActivation>(g, shown[first + c]);
        h = masked<kActivation>(h, shown[second + c]);
        passed[first + c] = static_cast<T>(g);
        passed[second + c] = static_cast<T>(h);
      } else if constexpr (kBias) {
        g = masked<kActivation>(g, a * factor[c] + bias[c]);
        h = masked<kActivation>(h, b * factor[c] + bias[c]);
      }
      sum[c] += g + h;
      product[c] += g * a + h * b;
    }
  }
  for (; row < rows; ++row) {
    const int64_t first = row * count;
#pragma omp simd
    for (int64_t c = 0; c < count; ++c) {
      const float a = x[first + c] - mean[c];
      float g = dy[first + c];
      if constexpr (kStored) {
        g = masked<kActivation>(g, shown[first + c]);
        passed[first + c] = static_cast<T>(g);
      } else if constexpr (kBias) {
        g = masked<kActivation>(g, a * factor[c] + bias[c]);
      }
      sum[c] += g;
      product[c] += g * a;
    }
  }
}

template <class T, Activation kActivation>
KW_WIDE void gradient_rows(const T* dy, const T* x, int64_t rows, Channels channels, const float* gradient_mean, const float* slope,
                           T* dx) {
  const int64_t count = channels.count;
  const float *mean = channels.mean, *factor = channels.factor, *bias = channels.bias;
  for (int64_t row = 0; row < rows; ++row) {
    const T *dy_row = dy + row * count, *x_row = x + row * count;
    T* dx_row = dx + row * count;
#pragma omp simd
    for (int64_t c = 0; c < count; ++c) {
      const float centred = x_row[c] - mean[c];
      float g = dy_row[c];
      if constexpr (kActivation != Activation::none) g = masked<kActivation>(g, centred * factor[c] + bias[c]);
      dx_row[c] = static_cast<T>(factor[c] * ((g - gradient_mean[c]) - centred * slope[c]));
    }
  }
}

template <class T>
KW_WIDE void scale_rows(const T* dy, int64_t rows, int64_t channels, const float* factor, T* dx) {
  for (int64_t row = 0; row < rows; ++row) {
    const T* dy_row = dy + row * channels;
    T* dx_row = dx + row * channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) dx_row[c] = static_cast<T>(dy_row[c] * factor[c]);
  }
}

template <class T>
using AddGradientSums = void (*)(const T*, const T*, const T*, int64_t, Channels, float*, float*, T*);
template <class T>
using GradientRows = void (*)(const T*, const T*, int64_t, Channels, const float*, const float*, T*);

template <class T>
AddGradientSums<T> sums_function(Activation activation, bool stored) {
  switch (activation) {
    case Activation::relu:
      return stored ? add_gradient_sums<T, Activation::relu, true> : add_gradient_sums<T, Activation::relu, false>;
    case Activation::relu6:
      return stored ? add_gradient_sums<T, Activation::relu6, true> : add_gradient_sums<T, Activation::relu6, false>;
    case Activation::none:
      break;
  }
  return add_gradient_sums<T, Activation::none, false>;
}

template <class T>
GradientRows<T> rows_function(Activation activation, bool stored) {
  if (stored || activation == Activation::none) return gradient_rows<T, Activation::none>;
  return activation == Activation::relu ? gradient_rows<T, Activation::relu> : gradient_rows<T, Activation::relu6>;
}

template <class T>
std::unique_ptr<Kernel> make_backward(const BatchNormGradientStep& step, const KernelContext& context) {
  const AddGradientSums<T> add_sums = sums_function<T>(step.activation, step.y != nullptr);
  const GradientRows<T> gradient = rows_function<T>(step.activation, step.y != nullptr);
  const ColumnReduction<2> reduction(step.matrix, context.threads);
  context.reserve_scratch(reduction.scratch_bytes() + 3 * static_cast<size_t>(step.matrix.channels) * sizeof(float));
  return make_kernel([step, reduction, add_sums, gradient, threads = context.threads](const Memory& memory) {
    const T *in = memory.data<T>(step.x), *upper = memory.data<T>(step.dy), *shown = step.y ? memory.data<T>(*step.y) : nullptr;
    const float *scales = memory.data<float>(step.scale), *means = memory.data<float>(step.mean);
    const float* variances = memory.data<float>(step.variance);
    T *out = memory.data<T>(step.dx), *passed = step.dresidual ? memory.data<T>(*step.dresidual) : nullptr;
    float *scale_gradient = memory.data<float>(step.dscale), *bias_gradient = memory.data<float>(step.dbias);
    const double epsilon = step.epsilon;
    const Matrix matrix = step.matrix;
    const int64_t channels = matrix.channels;
    float* factor = reinterpret_cast<float*>(memory.scratch() + reduction.scratch_bytes());
    float *gradient_mean = factor + channels, *slope = gradient_mean + channels;
    for (int64_t c = 0; c < channels; ++c) factor[c] = scales[c] * inverse_deviation(variances[c], epsilon);
    const Channels vectors{channels, means, factor, step.bias ? memory.data<float>(*step.bias) : nullptr};

    const auto at = [channels](auto* base, int64_t row) { return base ? base + row * channels : base; };
    const double* totals = reduction.run(memory.scratch(), [=, &reduction](int64_t first, int64_t last, float* runs, double* part_totals) {
      add_sums(at(upper, first), at(in, first), at(shown, first), last - first, vectors, runs, runs + channels, at(passed, first));
      reduction.add_run(runs, part_totals);
    });
    const double rows = static_cast<double>(matrix.rows);
    for (int64_t c = 0; c < channels; ++c) {
      const float inverse = inverse_deviation(variances[c], epsilon);
      bias_gradient[c] = static_cast<float>(totals[c]);
      scale_gradient[c] = static_cast<float>(totals[channels + c] * inverse);
      gradient_mean[c] = static_cast<float>(totals[c] / rows);
      slope[c] = static_cast<float>(totals[channels + c] / rows * inverse * inverse);
    }
    const T* from = passed ? passed : upper;
    parallel_for(threads, matrix.rows, rows_per_thread(channels),
                 [=, constant_statistics = step.constant_statistics](int64_t begin, int64_t end) {
                   if (constant_statistics) {
                     scale_rows(at(from, begin), end - begin, channels, factor, at(out, begin));
                   } else {
                     gradient(at(from, begin), at(in, begin), end - begin, vectors, gradient_mean, slope, at(out, begin));
                   }
                 });
  });
}

}  // namespace

std::unique_ptr<Kernel> prepare_batch_norm_backward(const BatchNormGradientStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_backward<T>(step, context); });
}

}  // namespace kw::cpu
