// Softmax cross-entropy with label smoothing. A block does a sample; sums are of doubles.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

struct Targets {
  const std::int32_t* labels;  // [N], or null
  const float* weights;        // [N, K], where there are no labels
  long long classes;
  double smoothing;

  // Whether the sample's label is a class. The host cannot refuse others without waiting for the GPU: they give NaN.
  __device__ __forceinline__ bool is_valid(long long sample) const { return !labels || (labels[sample] >= 0 && labels[sample] < classes); }
};

// The largest value of the block, in every thread; passes over NaN, which the sum of exponentials finds.
__device__ __forceinline__ float block_max(float value) {
  float* largest = shared_array<struct BlockMax, float, kWarpSize>();
  value = warp_max(value);
  syncthreads();
  if (threadIdx.x % kWarpSize == 0) largest[threadIdx.x / kWarpSize] = value;
  syncthreads();
  value = largest[0];
  for (int warp = 1; warp < static_cast<int>(blockDim.x) / kWarpSize; ++warp) value = max(value, largest[warp]);
  return value;
}

// Writes a row of probabilities and the sample's loss.
__global__ void softmax_losses(const float* logits, Targets targets, float* probabilities, double* losses) {
  const long long sample = blockIdx.x, classes = targets.classes;
  const float* row = logits + sample * classes;
  float* out = probabilities + sample * classes;
  float largest = bits_to_float(0xff800000u);  // -infinity
  for (long long k = threadIdx.x; k < classes; k += blockDim.x) largest = max(largest, row[k]);
  largest = block_max(largest);
  double sum = 0;
  for (long long k = threadIdx.x; k < classes; k += blockDim.x) {
    out[k] = expf(row[k] - largest);
    sum += out[k];
  }
  sum = block_sum(sum);
  const float factor = static_cast<float>(1 / sum);
  const double log_sum = largest + log(sum), sharp = 1 - targets.smoothing, uniform = targets.smoothing / static_cast<double>(classes);
  double loss = 0;
  for (long long k = threadIdx.x; k < classes; k += blockDim.x) {
    out[k] *= factor;
    if (targets.labels) {
      if (k == targets.labels[sample]) loss += sharp * (log_sum - row[k]);
      if (uniform > 0) loss += uniform * (log_sum - row[k]);
    } else {
      loss += (sharp * targets.weights[sample * classes + k] + uniform) * (log_sum - row[k]);
    }
  }
  loss = block_sum(loss);
  if (threadIdx.x == 0) losses[sample] = targets.is_valid(sample) ? loss : bits_to_float(0x7fc00000u);
}

// One block.
__global__ void mean_loss(const double* losses, long long samples, float* loss) {
  double sum = 0;
  for (long long sample = threadIdx.x; sample < samples; sample += blockDim.x) sum += losses[sample];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(sum / static_cast<double>(samples));
}

// dlogits = dloss / N * (probabilities * sum(t) - t), t the smoothed targets; dlogits may be probabilities' memory.
__global__ void cross_entropy_backward(const float* dloss, const float* probabilities, Targets targets, long long samples, float* dlogits) {
  const long long sample = blockIdx.x, classes = targets.classes;
  const float* row = probabilities + sample * classes;
  float* out = dlogits + sample * classes;
  const float factor = targets.is_valid(sample) ? *dloss / static_cast<float>(samples) : bits_to_float(0x7fc00000u);
  const float uniform = static_cast<float>(targets.smoothing / static_cast<double>(classes)),
              sharp = static_cast<float>(1 - targets.smoothing);
  if (targets.labels) {
    for (long long k = threadIdx.x; k < classes; k += blockDim.x) {
      const float smoothed = factor * (row[k] - uniform);
      out[k] = k == targets.labels[sample] ? smoothed - factor * sharp : smoothed;
    }
    return;
  }
  const float* weights = targets.weights + sample * classes;
  double sum = 0;
  for (long long k = threadIdx.x; k < classes; k += blockDim.x) sum += weights[k];
  const float total = static_cast<float>((1 - targets.smoothing) * block_sum(sum) + targets.smoothing);
  for (long long k = threadIdx.x; k < classes; k += blockDim.x) out[k] = factor * (row[k] * total - (sharp * weights[k] + uniform));
}

}  // namespace kw::cuda::device
