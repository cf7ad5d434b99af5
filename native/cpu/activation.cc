// Activations of single elements with their gradients: relu, relu6, gelu, sigmoid. An output may be its first input's memory, so pointers
// are not __restrict; `omp simd` says that elements do not depend on each other.
#include <bit>
#include <cmath>
#include <cstdint>

#include "cpu/cpu_backend.h"
#include "cpu/exponential.h"
#include "cpu/kernel.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"

namespace kw::cpu {
namespace {

using Forward = void (*)(const float* x, int64_t count, float* y);
// `kept` is what the forward op kept: its input or its output.
using Backward = void (*)(const float* dy, const float* kept, int64_t count, float* dx);

KW_WIDE void relu(const float* x, int64_t count, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = 0.0f > x[i] ? 0.0f : x[i];  // this order lets a NaN through
}

KW_WIDE void relu_backward(const float* dy, const float* y, int64_t count, float* dx) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float passed = dy[i];  // read in any case: a conditional read would not vectorise
    dx[i] = y[i] > 0.0f ? passed : 0.0f;
  }
}

KW_WIDE void relu6(const float* x, int64_t count, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float positive = 0.0f > x[i] ? 0.0f : x[i];
    y[i] = 6.0f < positive ? 6.0f : positive;
  }
}

KW_WIDE void relu6_backward(const float* dy, const float* y, int64_t count, float* dx) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float passed = dy[i];
    const float positive = y[i] > 0.0f ? passed : 0.0f;
    dx[i] = y[i] < 6.0f ? positive : 0.0f;
  }
}

KW_WIDE void sigmoid(const float* x, int64_t count, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = logistic(x[i]);
}

KW_WIDE void sigmoid_backward(const float* dy, const float* y, int64_t count, float* dx) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) dx[i] = dy[i] * y[i] * (1.0f - y[i]);
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

KW_WIDE void gelu(const float* x, int64_t count, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * standard_normal(x[i]).cumulative;
}

KW_WIDE void gelu_backward(const float* dy, const float* x, int64_t count, float* dx) {
  constexpr float kDensity = 0.398942280f;  // 1 / sqrt(2 pi)
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const Normal normal = standard_normal(x[i]);
    dx[i] = dy[i] * (normal.cumulative + kDensity * x[i] * normal.exponential);
  }
}

KernelFactory forward_factory(Forward function) {
  return [function](const StepContext& context) {
    const Tensor &x = context.input(0), &y = context.output(0);
    expect_type(context, "x", x);
    expect_shape(context, "y", y, x.shape);
    return make_kernel([&x, &y, function, count = y.elements(), threads = context.threads](const Memory& memory) {
      const float* in = memory.data<float>(x);
      float* out = memory.data<float>(y);
      parallel_for(threads, count, kElementsPerThread, [=](int64_t begin, int64_t end) { function(in + begin, end - begin, out + begin); });
    });
  };
}

KernelFactory backward_factory(Backward function, const char* kept_name) {
  return [function, kept_name](const StepContext& context) {
    const Tensor &dy = context.input(0), &kept = context.input(1), &dx = context.output(0);
    expect_type(context, "dy", dy);
    expect_shape(context, kept_name, kept, dy.shape);
    expect_shape(context, "dx", dx, dy.shape);
    return make_kernel([&dy, &kept, &dx, function, count = dx.elements(), threads = context.threads](const Memory& memory) {
      const float *gradient = memory.data<float>(dy), *from = memory.data<float>(kept);
      float* out = memory.data<float>(dx);
      parallel_for(threads, count, kElementsPerThread,
                   [=](int64_t begin, int64_t end) { function(gradient + begin, from + begin, end - begin, out + begin); });
    });
  };
}

}  // namespace

void add_activations(KernelRegistry& registry) {
  registry.add("relu", forward_factory(relu));
  registry.add("relu_backward", backward_factory(relu_backward, "y"));
  registry.add("relu6", forward_factory(relu6));
  registry.add("relu6_backward", backward_factory(relu6_backward, "y"));
  registry.add("gelu", forward_factory(gelu));
  registry.add("gelu_backward", backward_factory(gelu_backward, "x"));
  registry.add("sigmoid", forward_factory(sigmoid));
  registry.add("sigmoid_backward", backward_factory(sigmoid_backward, "y"));
}

}  // namespace kw::cpu
