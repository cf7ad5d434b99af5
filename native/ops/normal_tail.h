// The polynomial of the exact GELU, for the kernels of every backend.
#pragma once

namespace kw {

// The tail of the normal distribution beyond |x| is exp(-x^2/2) q(t), t = 1 / (1 + 0.35 |x|), so it keeps its relative accuracy (5e-7)
// where it is tiny, which 1 + erf does not. q is our least-maximum fit to the scaled complementary error function on 0 <= |x| <= 14; it is
// off by 3e-8. This is t q(t).
#if defined(__GNUC__) && !defined(__CUDACC__)
[[gnu::always_inline]]
#endif
inline constexpr float scaled_normal_tail(float t) {
  float q = -0.0291459281f;
  q = q * t + 0.143971682f;
  q = q * t - 0.255714238f;
  q = q * t + 0.159174129f;
  q = q * t - 0.0231098142f;
  q = q * t + 0.105507992f;
  q = q * t + 0.119832873f;
  q = q * t + 0.139861867f;
  q = q * t + 0.139621407f;
  return q * t;
}

}  // namespace kw
