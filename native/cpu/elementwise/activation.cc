// Activations of single elements with their gradients: relu, relu6, gelu, sigmoid. An output may be its first input's memory, so pointers
// are not __restrict; `omp simd` says that elements do not depend on each other.
#include <bit>
#include <cmath>
#include <cstdint>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/exponential.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "ops/normal_tail.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

template <class T>
using Forward = void (*)(const T* x, int64_t count, T* y);
// `kept` is what the forward op kept: its input or its output.
template <class T>
using Backward = void (*)(const T* dy, const T* kept, int64_t count, T* dx);

template <class T>
KW_WIDE void relu(const T* x, int64_t count, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float value = x[i];
    y[i] = static_cast<T>(0.0f > value ? 0.0f : value);  // this order lets a NaN through
  }
}

template <class T>
KW_WIDE void relu_backward(const T* dy, const T* y, int64_t count, T* dx) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float passed = dy[i], shown = y[i];  // read in any case: a conditional read would not vectorise
    dx[i] = static_cast<T>(shown > 0.0f ? passed : 0.0f);
  }
}

template <class T>
KW_WIDE void relu6(const T* x, int64_t count, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float value = x[i];
    const float positive = 0.0f > value ? 0.0f : value;
    y[i] = static_cast<T>(6.0f < positive ? 6.0f : positive);
  }
}

template <class T>
KW_WIDE void relu6_backward(const T* dy, const T* y, int64_t count, T* dx) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float passed = dy[i], shown = y[i];
    const float positive = shown > 0.0f ? passed : 0.0f;
    dx[i] = static_cast<T>(shown < 6.0f ? positive : 0.0f);
  }
}

template <class T>
KW_WIDE void sigmoid(const T* x, int64_t count, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(logistic(x[i]));
}

template <class T>
KW_WIDE void sigmoid_backward(const T* dy, const T* y, int64_t count, T* dx) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = dy[i], shown = y[i];
    dx[i] = static_cast<T>(gradient * shown * (1.0f - shown));
  }
}

struct Normal {
  float cumulative;   // 0.5 (1 + erf(x / sqrt 2))
  float exponential;  // exp(-x^2 / 2)
};

[[gnu::always_inline]] inline Normal standard_normal(float x) {
  const float magnitude = std::fabs(x) > 16.0f ? 16.0f : std::fabs(x);  // exp is 0 there
  const float t = 1.0f / (1.0f + 0.35f * magnitude);
  // x^2 in two parts, the first exact: its rounding would be an error of exp(-x^2/2) many times as large.
  const float high = std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) & 0xfffff000u);
  const float power = exponential(-0.5f * high * high, -0.5f * (magnitude - high) * (magnitude + high));
  const float tail = power * scaled_normal_tail(t);
  return {x > 0.0f ? 1.0f - tail : tail, power};
}

template <class T>
KW_WIDE void gelu(const T* x, int64_t count, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float value = x[i];
    y[i] = static_cast<T>(value * standard_normal(value).cumulative);
  }
}

template <class T>
KW_WIDE void gelu_backward(const T* dy, const T* x, int64_t count, T* dx) {
  constexpr float kDensity = 0.398942280f;  // 1 / sqrt(2 pi)
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = dy[i], value = x[i];
    const Normal normal = standard_normal(value);
    dx[i] = static_cast<T>(gradient * (normal.cumulative + kDensity * value * normal.exponential));
  }
}

template <class T>
std::unique_ptr<Kernel> make_forward(const ActivationStep& step, const KernelContext& context, Forward<T> function) {
  return make_kernel([step, function, count = step.y.elements(), threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(step.x);
    T* out = memory.data<T>(step.y);
    parallel_for(threads, count, kElementsPerThread, [=](int64_t begin, int64_t end) { function(in + begin, end - begin, out + begin); });
  });
}

void add_forward(KernelRegistry& registry, Op<ActivationStep> op, Forward<float> function, Forward<bfloat16> bfloat16_function) {
  add_kernel(registry, op, [=](const ActivationStep& step, const KernelContext& context) {
    if (step.x.type == DataType::bfloat16) return make_forward(step, context, bfloat16_function);
    return make_forward(step, context, function);
  });
}

template <class T>
std::unique_ptr<Kernel> make_backward(const ActivationBackwardStep& step, const KernelContext& context, Backward<T> function) {
  return make_kernel([step, function, count = step.dx.elements(), threads = context.threads](const Memory& memory) {
    const T *gradient = memory.data<T>(step.dy), *from = memory.data<T>(step.kept);
    T* out = memory.data<T>(step.dx);
    parallel_for(threads, count, kElementsPerThread,
                 [=](int64_t begin, int64_t end) { function(gradient + begin, from + begin, end - begin, out + begin); });
  });
}

void add_backward(KernelRegistry& registry, Op<ActivationBackwardStep> op, Backward<float> function, Backward<bfloat16> bfloat16_function) {
  add_kernel(registry, op, [=](const ActivationBackwardStep& step, const KernelContext& context) {
    if (step.dy.type == DataType::bfloat16) return make_backward(step, context, bfloat16_function);
    return make_backward(step, context, function);
  });
}

}  // namespace

void add_activations(KernelRegistry& registry) {
  add_forward(registry, ops::relu, relu<float>, relu<bfloat16>);
  add_backward(registry, ops::relu_backward, relu_backward<float>, relu_backward<bfloat16>);
  add_forward(registry, ops::relu6, relu6<float>, relu6<bfloat16>);
  add_backward(registry, ops::relu6_backward, relu6_backward<float>, relu6_backward<bfloat16>);
  add_forward(registry, ops::gelu, gelu<float>, gelu<bfloat16>);
  add_backward(registry, ops::gelu_backward, gelu_backward<float>, gelu_backward<bfloat16>);
  add_forward(registry, ops::sigmoid, sigmoid<float>, sigmoid<bfloat16>);
  add_backward(registry, ops::sigmoid_backward, sigmoid_backward<float>, sigmoid_backward<bfloat16>);
}

}  // namespace kw::cpu
