// A layer's attention module for inference (KernelWarehouse, appendix A.3): linear, normalization, ReLU, linear, attention function.
#pragma once

#include "cuda/kernels/attention_row.cuh"
#include "cuda/kernels/pack.cuh"

namespace kw::cuda::device {

constexpr int kModuleThreads = kGroupThreads;
constexpr int kModuleSamples = 8;  // of a block

/**
 * hidden [samples, width] of pooled [samples, channels]; without mean and variance, [width] each, it is not normalized here, and without
 * scale and shift not at all.
 */
struct AttentionHidden {
  const float* pooled;
  const float* weight;  // [width, channels]
  const float* bias;    // [width]; null: none
  const float* scale;
  const float* shift;
  const float* mean;
  const float* variance;
  double epsilon;
  int samples, channels, width;
  float* hidden;
};

/** A warp has one row of the weight and kModuleSamples samples. */
template <int kCount>
__global__ void __launch_bounds__(kModuleThreads) attention_hidden(AttentionHidden layer) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int k = static_cast<int>(blockIdx.x) * (kModuleThreads / kWarpSize) + static_cast<int>(threadIdx.x) / kWarpSize;
  const int first = static_cast<int>(blockIdx.y) * kModuleSamples, samples = min(kModuleSamples, layer.samples - first);
  if (k >= layer.width) return;
  const float* weight = layer.weight + static_cast<long long>(k) * layer.channels;
  const float* pooled = layer.pooled + static_cast<long long>(first) * layer.channels;
  float sums[kModuleSamples] = {};
  for (int c = lane * kCount; c < layer.channels; c += kWarpSize * kCount) {
    const Pack<float, kCount> factors = load_pack<kCount>(weight + c);
#pragma unroll
    for (int s = 0; s < kModuleSamples; ++s) {
      if (s >= samples) continue;
      const Pack<float, kCount> values = load_pack<kCount>(pooled + static_cast<long long>(s) * layer.channels + c);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sums[s] = fmaf(factors[i], values[i], sums[s]);
    }
  }
  float own = 0;  // lane s keeps the sum of sample s
#pragma unroll
  for (int s = 0; s < kModuleSamples; ++s) {
    const float sum = warp_sum(sums[s]);
    if (lane == s) own = sum;
  }
  if (lane >= samples) return;
  if (layer.bias) own += layer.bias[k];
  if (layer.mean) {
    const float factor = layer.scale[k] * static_cast<float>(1.0 / sqrt(layer.variance[k] + layer.epsilon));
    own = positive_part(fmaf(own - layer.mean[k], factor, layer.shift[k]));
  }
  if (!layer.scale) own = positive_part(own);
  layer.hidden[static_cast<long long>(first + lane) * layer.width + k] = own;
}

/** LayerNorm and ReLU of each row of hidden [samples, width], in place. A warp has one row. */
__global__ void __launch_bounds__(kModuleThreads) normalize_attention_hidden(AttentionHidden layer) {
  const LaneGroup group(kWarpSize);
  const bool active = group.row < layer.samples;
  float* row = layer.hidden + group.row * layer.width;
  const auto sum_of = [&](const auto& term) {
    double sum = 0;
    if (active) {
      for (int k = group.lane; k < layer.width; k += kWarpSize) sum += term(static_cast<double>(row[k]));
    }
    return group.sum(sum);
  };
  const double mean = sum_of([](double value) { return value; }) / layer.width;
  const double variance = sum_of([mean](double value) { return (value - mean) * (value - mean); }) / layer.width;
  if (!active) return;
  const double inverse = 1.0 / sqrt(variance + layer.epsilon);
  for (int k = group.lane; k < layer.width; k += kWarpSize) {
    row[k] = positive_part(fmaf(static_cast<float>((row[k] - mean) * inverse), layer.scale[k], layer.shift[k]));
  }
}

/** attention [samples, mixtures, cells] of hidden [samples, width]. `logits` [samples, mixtures, columns] is scratch. */
struct AttentionLogits {
  const float* hidden;
  const float* weight;  // [mixtures * columns, width]
  const float* bias;
  int samples, width;
  int mixtures_of_block;
  int lanes;  // for one row of logits
  AttentionRule rule;
  float* logits;
  float* attention;
};

/** A block has some mixtures of kModuleSamples samples: its threads take one logit each, then its groups of lanes one row each. */
template <int kCount>
__global__ void __launch_bounds__(kModuleThreads, 2) attention_of_hidden(AttentionLogits layer) {
  const int columns = layer.rule.columns, cells = layer.rule.cells, mixtures = layer.rule.mixtures;
  const int first_mixture = static_cast<int>(blockIdx.x) * layer.mixtures_of_block;
  const int own_mixtures = min(layer.mixtures_of_block, mixtures - first_mixture);
  const int first = static_cast<int>(blockIdx.y) * kModuleSamples, samples = min(kModuleSamples, layer.samples - first);
  const float* hidden = layer.hidden + static_cast<long long>(first) * layer.width;
  for (int j = static_cast<int>(threadIdx.x); j < own_mixtures * columns; j += kModuleThreads) {
    const long long column = static_cast<long long>(first_mixture) * columns + j;
    const float* weight = layer.weight + column * layer.width;
    float sums[kModuleSamples] = {};
    for (int k = 0; k < layer.width; k += kCount) {
      const Pack<float, kCount> factors = load_pack<kCount>(weight + k);
#pragma unroll
      for (int s = 0; s < kModuleSamples; ++s) {
        if (s >= samples) continue;
        const Pack<float, kCount> values = load_pack<kCount>(hidden + static_cast<long long>(s) * layer.width + k);
#pragma unroll
        for (int i = 0; i < kCount; ++i) sums[s] = fmaf(factors[i], values[i], sums[s]);
      }
    }
    const float bias = layer.bias[column];
#pragma unroll
    for (int s = 0; s < kModuleSamples; ++s) {
      if (s < samples) layer.logits[static_cast<long long>(first + s) * mixtures * columns + column] = sums[s] + bias;
    }
  }
  syncthreads();
  const LaneGroup group(layer.lanes);
  const int groups = kModuleThreads / layer.lanes, rows = own_mixtures * samples;
  for (int begin = 0; begin < rows; begin += groups) {
    const int row = begin + static_cast<int>(threadIdx.x) / layer.lanes;
    const bool active = row < rows;
    const int mixture = first_mixture + (active ? row % own_mixtures : 0);
    const long long at = static_cast<long long>(first + (active ? row / own_mixtures : 0)) * mixtures + mixture;
    attention_row(layer.rule, group, layer.logits + at * columns, mixture, active, layer.attention + at * cells);
  }
}

}  // namespace kw::cuda::device
