// exp in float and sums of it, without branches or calls, so that `omp simd` vectorises the loops that use them; the library calls a
// function for each element.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

namespace kw::cpu {

// exp(x + low), where |low| is small against 1 and holds what x had to leave away; to about 1e-7 of the result. 0 below x = -87.33, where
// the result would be denormal, and infinite above x = 88.37.
[[gnu::always_inline]] inline float exponential(float x, float low = 0.0f) {
  constexpr float kLowest = -87.33f, kHighest = 88.37f;
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which then stands in the lowest bits
  const float bounded = x < kLowest ? kLowest : x > kHighest ? kHighest : x;
  const float shifted = bounded * kLog2E + kShift;
  const float power = shifted - kShift;
  const float r = bounded - power * kLn2High - power * kLn2Low + low;  // |r| <= ln(2) / 2 but for low
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  const float scale = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) + 127u) << 23);  // 2^power
  const float value = series * scale;
  return x < kLowest ? 0.0f : x > kHighest ? std::numeric_limits<float>::infinity() : value;
}

[[gnu::always_inline]] inline float logistic(float x) { return 1.0f / (1.0f + exponential(-x)); }

[[gnu::always_inline]] inline float largest_of(const float* z, int64_t count) {
  float largest = z[0];
#pragma omp simd reduction(max : largest)
  for (int64_t j = 0; j < count; ++j) largest = std::max(largest, z[j]);
  return largest;
}

// powers[j] = exp(z[j] - largest) for count elements, which may take z's place; returns their sum.
[[gnu::always_inline]] inline float exponentials(const float* z, int64_t count, float largest, float* powers) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; ++j) {
    powers[j] = exponential(z[j] - largest);
    sum += powers[j];
  }
  return sum;
}

}  // namespace kw::cpu
