// What the forward and the backward of batch normalization share: the formula of its value, which both compute from the same expression so
// that they decide alike where it is limited.
#pragma once

#include <cmath>
#include <cstdint>

#include "cpu/elementwise/activation.h"
#include "ops/normalization.h"

namespace kw::cpu {

inline float inverse_deviation(float variance, double epsilon) { return static_cast<float>(1.0 / std::sqrt(variance + epsilon)); }

// factor is scale / deviation. Always inlined, because loops compiled for several instruction sets use it.
[[gnu::always_inline]] inline float normalized(float x, float mean, float factor, float bias) { return (x - mean) * factor + bias; }

std::unique_ptr<Kernel> prepare_batch_norm_backward(const BatchNormGradientStep& step, const KernelContext& context);

}  // namespace kw::cpu
