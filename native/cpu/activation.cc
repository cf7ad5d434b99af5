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

// The tail beyond |x| is exp(-x^2/2) q(t), t = 1 / (1 + 0.35 |x|), so it keeps its relative accuracy (5e-7) where it is tiny. q is our
// least-maximum fit to the scaled complementary error function on 0 <= |x| <= 14; it is off by 3e-8.
[[gnu::always_inline]] inline Normal standard_normal(float x) {
  const float magnitude = std::fabs(x) > 16.0f ? 16.0f : std::fabs(x);  // exp is 0 there
  const float t = 1.0f / (1.0f + 0.35f * magnitude);
  float q = -0.0291459281f;
  q = q * t + 0.143971682f;
  q = q * t - 0.255714238f;
  q = q * t + 0.159174129f;
  q = q * t - 0.0231098142f;
  q = q * t + 0.105507992f;
  q = q * t + 0.119832873f;
  q = q * t + 0.139861867f;
  q = q * t + 0.139621407f;
  // x^2 in two parts, the first exact: its rounding would be an error of exp(-x^2/2) many times as large.
  const float high = std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) & 0xfffff000u);
  const float power = exponential(-0.5f * high * high, -0.5f * (magnitude - high) * (magnitude + high));
  const float tail = power * (q * t);
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
std::unique_ptr<Kernel> make_forward(const StepContext& context, Forward<T> function) {
  const Tensor &x = context.input(0), &y = context.output(0);
  return make_kernel([&x, &y, function, count = y.elements(), threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(x);
    T* out = memory.data<T>(y);
    parallel_for(threads, count, kElementsPerThread, [=](int64_t begin, int64_t end) { function(in + begin, end - begin, out + begin); });
  });
}

KernelFactory forward_factory(Forward<float> function, Forward<bfloat16> bfloat16_function) {
  return [=](const StepContext& context) {
    const Tensor& x = context.input(0);
    expect_shape(context, "y", context.output(0), x.shape, x.type);
    return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
      if constexpr (std::is_same_v<T, float>) {
        return make_forward<T>(context, function);
      } else {
        return make_forward<T>(context, bfloat16_function);
      }
    });
  };
}

template <class T>
std::unique_ptr<Kernel> make_backward(const StepContext& context, Backward<T> function) {
  const Tensor &dy = context.input(0), &kept = context.input(1), &dx = context.output(0);
  return make_kernel([&dy, &kept, &dx, function, count = dx.elements(), threads = context.threads](const Memory& memory) {
    const T *gradient = memory.data<T>(dy), *from = memory.data<T>(kept);
    T* out = memory.data<T>(dx);
    parallel_for(threads, count, kElementsPerThread,
                 [=](int64_t begin, int64_t end) { function(gradient + begin, from + begin, end - begin, out + begin); });
  });
}

KernelFactory backward_factory(Backward<float> function, Backward<bfloat16> bfloat16_function, const char* kept_name) {
  return [=](const StepContext& context) {
    const Tensor& dy = context.input(0);
    expect_shape(context, kept_name, context.input(1), dy.shape, dy.type);
    expect_shape(context, "dx", context.output(0), dy.shape, dy.type);
    return for_element(context, "dy", dy, [&]<class T>(std::type_identity<T>) {
      if constexpr (std::is_same_v<T, float>) {
        return make_backward<T>(context, function);
      } else {
        return make_backward<T>(context, bfloat16_function);
      }
    });
  };
}

}  // namespace

void add_activations(KernelRegistry& registry) {
  registry.add("relu", forward_factory(relu<float>, relu<bfloat16>));
  registry.add("relu_backward", backward_factory(relu_backward<float>, relu_backward<bfloat16>, "y"));
  registry.add("relu6", forward_factory(relu6<float>, relu6<bfloat16>));
  registry.add("relu6_backward", backward_factory(relu6_backward<float>, relu6_backward<bfloat16>, "y"));
  registry.add("gelu", forward_factory(gelu<float>, gelu<bfloat16>));
  registry.add("gelu_backward", backward_factory(gelu_backward<float>, gelu_backward<bfloat16>, "x"));
  registry.add("sigmoid", forward_factory(sigmoid<float>, sigmoid<bfloat16>));
  registry.add("sigmoid_backward", backward_factory(sigmoid_backward<float>, sigmoid_backward<bfloat16>, "y"));
}

}  // namespace kw::cpu
