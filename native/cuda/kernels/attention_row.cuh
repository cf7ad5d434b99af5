// From logits to attentions (KernelWarehouse, section 3.4): alpha = (1-t) f(z) + t beta, where each row of logits z is one mixture. f is
// the contrasting-driven function of equation 4, or one of those that the paper compares it with (Table 8). The last logit belongs to the
// zero cell, which counts in f's sums and has no output; DY-Conv and ODConv have no zero cell. Softmax and sigmoid are of z over a
// temperature T.
#pragma once

#include "cuda/kernels/lane_group.cuh"

namespace kw::cuda::device {

enum class AttentionFunction { contrasting, softmax, sigmoid, rectified };

/** What turns the rows of `mixtures` mixtures, each of `columns` logits, into attentions of `cells`. */
struct AttentionRule {
  AttentionFunction function;
  float epsilon;
  int mixtures, cells;
  int columns;                       // cells, and the zero cell where there is one
  const std::uint32_t* assigned;     // [mixtures, ceil(cells / 32)]: bit j % 32 of word j / 32 is beta of cell j; null: no assignment
  const float* temperature;          // one number, read only with an assignment
  const float* softmax_temperature;  // one number, T; null: 1

  __device__ __forceinline__ float share() const { return assigned ? *temperature : 0.0f; }
  __device__ __forceinline__ float scale() const { return softmax_temperature ? 1.0f / *softmax_temperature : 1.0f; }
  __device__ __forceinline__ float beta(int mixture, int cell) const {
    if (!assigned) return 0.0f;
    const long long word = static_cast<long long>(mixture) * ceil_divide(cells, 32) + cell / 32;
    return assigned[word] >> (cell % 32) & 1u ? 1.0f : 0.0f;
  }
};

/** 0 where z is negative; lets a NaN through. */
__device__ __forceinline__ float positive_part(float z) { return 0.0f > z ? 0.0f : z; }

__device__ __forceinline__ float logistic(float z) { return 1.0f / (1.0f + expf(-z)); }

/** Adds term(j) over j = lane, lane + lanes, ... below `count`, then over the group; 0 for inactive ones. All lanes of the warp take part.
 */
template <class Term>
__device__ __forceinline__ float group_sum(const LaneGroup& group, int count, bool active, const Term& term) {
  float sum = 0;
  if (active) {
    for (int j = group.lane; j < count; j += group.lanes) sum += term(j);
  }
  return group.sum(sum);
}

__device__ __forceinline__ float group_largest(const LaneGroup& group, const float* z, int count, bool active) {
  float largest = bits_to_float(0xff800000u);  // minus infinity
  if (active) {
    for (int j = group.lane; j < count; j += group.lanes) largest = fmaxf(largest, z[j]);
  }
  return group.largest(largest);
}

/** One row of logits z [columns] to alpha [cells]. All lanes of the warp take part, with the row of their group where that is `active`.
 */
__device__ __forceinline__ void attention_row(const AttentionRule& rule, const LaneGroup& group, const float* z, int mixture, bool active,
                                              float* alpha) {
  const int cells = rule.cells, columns = rule.columns;
  const float t = rule.share(), rest = 1.0f - t, scale = rule.scale();
  const auto write = [&](const auto& value) {
    if (!active) return;
    for (int j = group.lane; j < cells; j += group.lanes) alpha[j] = value(z[j]) + t * rule.beta(mixture, j);
  };
  if (rule.function == AttentionFunction::sigmoid) {
    write([&](float value) { return rest * logistic(scale * value); });
  } else if (rule.function == AttentionFunction::softmax) {
    const float largest = group_largest(group, z, columns, active);
    const float factor = rest / group_sum(group, columns, active, [&](int j) { return expf(scale * (z[j] - largest)); });
    write([&](float value) { return factor * expf(scale * (value - largest)); });
  } else {
    const float factor = rest / (group_sum(group, columns, active, [&](int j) { return fabsf(z[j]); }) + rule.epsilon);
    const bool rectified = rule.function == AttentionFunction::rectified;
    write([&](float value) { return factor * (rectified ? positive_part(value) : value); });
  }
}

/**
 * One row of dalpha g [cells] and logits z [columns] to dz [columns], which may be z's memory. With S = sum|z| + epsilon, contrasting:
 * dz_j = (1-t) (g_j / S - sign(z_j) sum_k(g_k z_k) / S^2), and rectified the same with max(z, 0) and its slope in place of z and 1;
 * softmax: dz_j = (1-t) / T f_j (g_j - sum_k(g_k f_k)). g of the zero cell is 0, and so is sign(0).
 */
__device__ __forceinline__ void attention_row_backward(const AttentionRule& rule, const LaneGroup& group, const float* g, const float* z,
                                                       bool active, float* dz) {
  const int cells = rule.cells, columns = rule.columns;
  const float rest = 1.0f - rule.share(), scale = rule.scale();
  const auto write = [&](const auto& value) {
    if (!active) return;
    for (int j = group.lane; j < columns; j += group.lanes) dz[j] = value(j < cells ? g[j] : 0.0f, z[j], j == cells);
  };
  if (rule.function == AttentionFunction::sigmoid) {
    write([&](float gradient, float value, bool is_zero_cell) {
      const float f = logistic(scale * value);
      return is_zero_cell ? 0.0f : rest * scale * gradient * f * (1.0f - f);
    });
  } else if (rule.function == AttentionFunction::softmax) {
    const float largest = group_largest(group, z, columns, active);
    const float inverse = 1.0f / group_sum(group, columns, active, [&](int j) { return expf(scale * (z[j] - largest)); });
    const float mean = group_sum(group, cells, active, [&](int j) { return g[j] * expf(scale * (z[j] - largest)); }) * inverse;
    const float factor = rest * scale * inverse;
    write([&](float gradient, float value, bool) { return factor * expf(scale * (value - largest)) * (gradient - mean); });
  } else {
    const bool rectified = rule.function == AttentionFunction::rectified;
    const float product = group_sum(group, cells, active, [&](int j) { return g[j] * (rectified ? positive_part(z[j]) : z[j]); });
    const float inverse = 1.0f / (group_sum(group, columns, active, [&](int j) { return fabsf(z[j]); }) + rule.epsilon);
    const float factor = rest * inverse, slope = factor * product * inverse;
    write([&](float gradient, float value, bool) {
      const float passed = rectified && !(value > 0.0f) ? 0.0f : factor * gradient;
      return passed - (value > 0.0f ? slope : value < 0.0f ? -slope : 0.0f);
    });
  }
}

}  // namespace kw::cuda::device
