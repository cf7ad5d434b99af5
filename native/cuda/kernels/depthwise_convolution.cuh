// Depth-wise convolutions, one channel of x for each of y, which are bound by memory: a thread has 16 bytes of channels, so that every
// access is as wide as can be, and several positions where it can keep what it reads.
#pragma once

#include "cuda/kernels/direct_convolution.cuh"

namespace kw::cuda::device {

constexpr int kDepthwiseThreads = 256;  // at most, of a block
constexpr int kStrip = 4;               // positions of a thread, side by side

struct DepthwiseProblem {
  GatherProblem gather;  // depth and width 1
  int block_vectors;     // of 16 bytes of channels, in a block
  int channel_blocks;
  int block_items;        // positions, or strips, in a block
  long long item_blocks;  // for each weight
  float* means;           // [weights,item_blocks,O], each block's share of the mean over y's positions; null: none
};

/** Bytes of shared memory: the block's weights and its channels of the epilogue, and then what its items add to the means. */
template <class T>
constexpr int depthwise_bytes(int taps, int block_vectors, int block_items) {
  return max(taps + 2, block_items) * block_vectors * ChannelVector<T>::kSize * static_cast<int>(sizeof(float));
}

/** Where a block and a thread of it are. */
struct DepthwisePlace {
  int vector;         // of the block's, this thread's
  int block_item;     // the same
  int first_channel;  // of the block
  int channel;        // this thread's first
  long long weight, item_block, item;
  bool active;  // whether there is something for this thread
};

template <class T>
__device__ __forceinline__ DepthwisePlace depthwise_place(const DepthwiseProblem& problem, long long items) {
  DepthwisePlace place;
  const int thread = static_cast<int>(threadIdx.x);
  long long block = blockIdx.x;
  place.first_channel = static_cast<int>(block % problem.channel_blocks) * problem.block_vectors * ChannelVector<T>::kSize;
  block /= problem.channel_blocks;
  place.block_item = thread / problem.block_vectors;
  place.item_block = block % problem.item_blocks;
  place.item = place.item_block * problem.block_items + place.block_item;
  place.weight = block / problem.item_blocks;
  place.vector = thread % problem.block_vectors;
  place.channel = place.first_channel + place.vector * ChannelVector<T>::kSize;
  place.active = place.block_item < problem.block_items && place.item < items && place.channel < problem.gather.groups;
  return place;
}

/** Reads the block's weights to shared memory as float32 [taps][channels], then its epilogue's factors and shifts; `flips` the order of the
 * taps. */
template <class T>
__device__ __forceinline__ void load_depthwise_weights(const DepthwiseProblem& problem, const DepthwisePlace& place, bool flips,
                                                       float* shared) {
  const GatherProblem& p = problem.gather;
  const int channels = problem.block_vectors * ChannelVector<T>::kSize;
  const T* weight = static_cast<const T*>(p.weight) + place.weight * p.weight_stride + static_cast<long long>(place.first_channel) * p.taps;
  for (int i = static_cast<int>(threadIdx.x); i < channels * p.taps; i += static_cast<int>(blockDim.x)) {
    const int channel = i / p.taps, tap = i % p.taps;
    const bool within = place.first_channel + channel < p.groups;
    shared[(flips ? p.taps - 1 - tap : tap) * channels + channel] = within ? to_float(weight[i]) : 0.0f;
  }
  float* factors = shared + p.taps * channels;
  for (int i = static_cast<int>(threadIdx.x); i < channels; i += static_cast<int>(blockDim.x)) {
    const bool within = place.first_channel + i < p.groups;
    const float2 channel = within ? p.epilogue.channel(place.first_channel + i) : make_float2(0.0f, 0.0f);
    factors[i] = channel.x;
    factors[channels + i] = channel.y;
  }
  syncthreads();
}

/** As many float32 of shared memory as 16 bytes of T have channels. */
template <class T>
__device__ __forceinline__ ChannelVector<T> shared_vector(const float* from) {
  ChannelVector<T> result;
#pragma unroll
  for (int c = 0; c < ChannelVector<T>::kSize; c += 4) {
    const float4 four = load_vector<float4>(from + c);
    result.value[c] = four.x, result.value[c + 1] = four.y, result.value[c + 2] = four.z, result.value[c + 3] = four.w;
  }
  return result;
}

/** Writes the block's share of the means. `finished`: the sum over this thread's positions; `shared`: room for the block's items, which may
 * be in use until now. */
template <class T>
__device__ __forceinline__ void share_depthwise_means(const DepthwiseProblem& problem, const DepthwisePlace& place,
                                                      const ChannelVector<T>& finished, long long positions, float* shared) {
  const int channels = problem.block_vectors * ChannelVector<T>::kSize;
  syncthreads();
  if (place.block_item < problem.block_items) {
#pragma unroll
    for (int c = 0; c < ChannelVector<T>::kSize; ++c) {
      shared[place.block_item * channels + place.vector * ChannelVector<T>::kSize + c] = finished.value[c];
    }
  }
  syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < channels; i += static_cast<int>(blockDim.x)) {
    if (place.first_channel + i >= problem.gather.groups) continue;
    float sum = 0.0f;
    for (int item = 0; item < problem.block_items; ++item) sum += shared[item * channels + i];
    problem.means[(place.weight * problem.item_blocks + place.item_block) * problem.gather.groups + place.first_channel + i] =
        sum / static_cast<float>(positions);
  }
}

/** Finishes a thread's channels at one position, and adds them to `finished`. `factors` is where the epilogue's are in shared memory, of
 * this thread. */
template <class T>
__device__ __forceinline__ void store_depthwise(const GatherProblem& p, const ChannelVector<T>& sums, const float* factors, int channels,
                                                ChannelVector<T>& finished, long long offset) {
  ChannelVector<T> values = sums, residual;
  const ChannelVector<T> factor = shared_vector<T>(factors), shift = shared_vector<T>(factors + channels);
  residual.clear();
  if (p.epilogue.residual) residual.load(static_cast<const T*>(p.epilogue.residual) + offset);
#pragma unroll
  for (int c = 0; c < ChannelVector<T>::kSize; ++c) {
    values.value[c] = p.epilogue.limited(values.value[c] * factor.value[c] + shift.value[c] + residual.value[c]);
    finished.value[c] += as_stored<T>(values.value[c]);
  }
  values.store(static_cast<T*>(p.result) + offset);
}

/** Any kernel, stride and dilation; an item is a position. */
template <class T, bool kBackward>
__global__ void __launch_bounds__(kDepthwiseThreads) depthwise_convolution(DepthwiseProblem problem) {
  const GatherProblem& p = problem.gather;
  const int sizes[3] = {kBackward ? p.axes[0].in : p.axes[0].out, kBackward ? p.axes[1].in : p.axes[1].out,
                        kBackward ? p.axes[2].in : p.axes[2].out};
  const long long positions = static_cast<long long>(sizes[0]) * sizes[1] * sizes[2];
  const long long source_positions = kBackward ? static_cast<long long>(p.axes[0].out) * p.axes[1].out * p.axes[2].out
                                               : static_cast<long long>(p.axes[0].in) * p.axes[1].in * p.axes[2].in;
  float* weights = reinterpret_cast<float*>(dynamic_shared());
  const DepthwisePlace place = depthwise_place<T>(problem, p.images * positions);
  load_depthwise_weights<T>(problem, place, false, weights);
  const int channels = problem.block_vectors * ChannelVector<T>::kSize;
  ChannelVector<T> finished;
  finished.clear();
  if (place.active) {
    const float* factors = weights + place.vector * ChannelVector<T>::kSize;
    long long image = place.item;
    int index[3];
    take_position(image, sizes, index);
    const T* source = static_cast<const T*>(p.source) + (place.weight * p.images + image) * source_positions * p.groups + place.channel;
    ChannelVector<T> sums;
    sums.clear();
    for_each_tap<kBackward>(p.axes, index, [&](int tap, long long position) {
      ChannelVector<T> from;
      from.load(source + position * p.groups);
      const ChannelVector<T> factor = shared_vector<T>(factors + tap * channels);
#pragma unroll
      for (int c = 0; c < ChannelVector<T>::kSize; ++c) sums.value[c] += from.value[c] * factor.value[c];
    });
    const long long offset = (place.weight * p.images * positions + place.item) * p.groups + place.channel;
    store_depthwise(p, sums, factors + p.taps * channels, channels, finished, offset);
  }
  if (problem.means) share_depthwise_means(problem, place, finished, positions, weights);
}

/**
 * Planes, square kernels of kKernel, stride and dilation 1; an item is a strip of kStrip positions of a row, which reads each column of its
 * windows once. Backward is forward with the taps in reverse order and the padding that is left.
 */
template <class T, int kKernel>
__global__ void __launch_bounds__(kDepthwiseThreads, 2) depthwise_strips(DepthwiseProblem problem, bool backward) {
  const GatherProblem& p = problem.gather;
  const int height = backward ? p.axes[1].in : p.axes[1].out, width = backward ? p.axes[2].in : p.axes[2].out;
  const int source_height = backward ? p.axes[1].out : p.axes[1].in, source_width = backward ? p.axes[2].out : p.axes[2].in;
  const int top = backward ? kKernel - 1 - p.axes[1].padding : p.axes[1].padding;
  const int left = backward ? kKernel - 1 - p.axes[2].padding : p.axes[2].padding;
  const int strips = ceil_divide(width, kStrip);
  float* weights = reinterpret_cast<float*>(dynamic_shared());
  const DepthwisePlace place = depthwise_place<T>(problem, p.images * height * strips);
  load_depthwise_weights<T>(problem, place, backward, weights);
  const int channels = problem.block_vectors * ChannelVector<T>::kSize;
  const float* own_weights = weights + place.vector * ChannelVector<T>::kSize;
  const int first = static_cast<int>(place.item % strips) * kStrip;
  const int row = static_cast<int>(place.item / strips % height);
  const long long image = place.weight * p.images + place.item / strips / height;
  const T* source = static_cast<const T*>(p.source) + image * source_height * source_width * p.groups + place.channel;
  ChannelVector<T> sums[kStrip], finished;
  finished.clear();
#pragma unroll
  for (int s = 0; s < kStrip; ++s) sums[s].clear();
#pragma unroll 1
  for (int i = 0; i < kKernel; ++i) {
    const int h = row + i - top;
    if (!place.active || h < 0 || h >= source_height) continue;
    ChannelVector<T> factors[kKernel];
#pragma unroll
    for (int j = 0; j < kKernel; ++j) factors[j] = shared_vector<T>(own_weights + (i * kKernel + j) * channels);
#pragma unroll
    for (int column = 0; column < kStrip + kKernel - 1; ++column) {
      const int w = first + column - left;
      if (w < 0 || w >= source_width) continue;
      ChannelVector<T> from;
      from.load(source + (static_cast<long long>(h) * source_width + w) * p.groups);
#pragma unroll
      for (int s = 0; s < kStrip; ++s) {
        if (column - s < 0 || column - s >= kKernel) continue;
#pragma unroll
        for (int c = 0; c < ChannelVector<T>::kSize; ++c) sums[s].value[c] += from.value[c] * factors[column - s].value[c];
      }
    }
  }
#pragma unroll
  for (int s = 0; s < kStrip; ++s) {
    if (!place.active || first + s >= width) break;
    const long long position = (image * height + row) * width + first + s;
    store_depthwise(p, sums[s], own_weights + p.taps * channels, channels, finished, position * p.groups + place.channel);
  }
  if (problem.means) share_depthwise_means(problem, place, finished, static_cast<long long>(height) * width, weights);
}

struct DepthwiseGradientProblem {
  WeightGradientProblem gradient;  // split_positions counts strips
  int block_vectors;
  int channel_blocks;
  int lanes;  // of strips, in a block
};

/** Bytes of shared memory: one row of taps of every lane. */
template <class T>
constexpr int depthwise_gradient_bytes(int kernel, int lanes, int block_vectors) {
  return lanes * kernel * block_vectors * ChannelVector<T>::kSize * static_cast<int>(sizeof(float));
}

/** Where a block and a thread of it are. Threads are [lanes][vectors], blocks [weights][splits][rows of taps][channel blocks]. */
template <class T, int kKernel>
struct DepthwiseGradientPlace {
  int lane, vector;
  int first_channel;  // of the block
  int channel;        // this thread's first
  int tap_row;
  long long split, weight;

  __device__ __forceinline__ explicit DepthwiseGradientPlace(const DepthwiseGradientProblem& problem) {
    long long block = blockIdx.x;
    const auto next = [&block](long long count) {
      const long long index = block % count;
      block /= count;
      return index;
    };
    first_channel = static_cast<int>(next(problem.channel_blocks)) * problem.block_vectors * ChannelVector<T>::kSize;
    tap_row = static_cast<int>(next(kKernel));
    split = next(problem.gradient.splits);
    weight = block;
    lane = static_cast<int>(threadIdx.x) / problem.block_vectors;
    vector = static_cast<int>(threadIdx.x) % problem.block_vectors;
    channel = first_channel + vector * ChannelVector<T>::kSize;
  }
};

/** Adds the products of a strip of dy, from position `first` of a row, and a row of x. Of this thread's channels, `dy` is where the strip
 * begins and `x` where the row does. */
template <class T, int kKernel, int kStride>
__device__ __forceinline__ void add_depthwise_strip(const WeightGradientProblem& p, const T* dy, const T* x, int first,
                                                    ChannelVector<T> (&sums)[kKernel]) {
  constexpr int kColumns = (kStrip - 1) * kStride + kKernel;
  const ConvolutionAxis& axis = p.axes[2];
  ChannelVector<T> gradients[kStrip];
#pragma unroll
  for (int s = 0; s < kStrip; ++s) {
    gradients[s].clear();
    if (first + s < axis.out) gradients[s].load(dy + static_cast<long long>(s) * p.groups);
  }
#pragma unroll
  for (int column = 0; column < kColumns; ++column) {
    const int w = first * kStride + column - axis.padding;
    if (w < 0 || w >= axis.in) continue;
    ChannelVector<T> from;
    from.load(x + static_cast<long long>(w) * p.groups);
#pragma unroll
    for (int s = 0; s < kStrip; ++s) {
      const int j = column - s * kStride;
      if (j < 0 || j >= kKernel) continue;
#pragma unroll
      for (int c = 0; c < ChannelVector<T>::kSize; ++c) sums[j].value[c] += from.value[c] * gradients[s].value[c];
    }
  }
}

/** Adds the lanes' sums, in order, and writes them. */
template <class T, int kKernel>
__device__ __forceinline__ void store_depthwise_gradient(const DepthwiseGradientProblem& problem,
                                                         const DepthwiseGradientPlace<T, kKernel>& place,
                                                         const ChannelVector<T> (&sums)[kKernel]) {
  const WeightGradientProblem& p = problem.gradient;
  float* shared = reinterpret_cast<float*>(dynamic_shared());
  const int channels = problem.block_vectors * ChannelVector<T>::kSize;
  if (place.lane < problem.lanes) {
#pragma unroll
    for (int j = 0; j < kKernel; ++j) {
#pragma unroll
      for (int c = 0; c < ChannelVector<T>::kSize; ++c) {
        shared[(place.lane * kKernel + j) * channels + place.vector * ChannelVector<T>::kSize + c] = sums[j].value[c];
      }
    }
  }
  syncthreads();
  for (int item = static_cast<int>(threadIdx.x); item < kKernel * channels; item += static_cast<int>(blockDim.x)) {
    const int j = item / channels, channel = place.first_channel + item % channels;
    if (channel >= p.groups) continue;
    float sum = 0.0f;
    for (int lane = 0; lane < problem.lanes; ++lane) sum += shared[(lane * kKernel + j) * channels + item % channels];
    store_weight_gradient(p, place.weight, place.split, static_cast<long long>(channel) * p.taps + place.tap_row * kKernel + j, sum);
  }
}

/** dweight for planes, square kernels of kKernel, stride kStride and dilation 1: a thread sums one row of taps over every lanes-th strip of
 * its split. */
template <class T, int kKernel, int kStride>
__global__ void __launch_bounds__(kDepthwiseThreads) depthwise_weight_gradient(DepthwiseGradientProblem problem) {
  const WeightGradientProblem& p = problem.gradient;
  const ConvolutionAxis &vertical = p.axes[1], &horizontal = p.axes[2];
  const DepthwiseGradientPlace<T, kKernel> place(problem);
  const int strips = ceil_divide(horizontal.out, kStrip);
  const long long end = min(p.images * vertical.out * strips, (place.split + 1) * p.split_positions);
  ChannelVector<T> sums[kKernel];
#pragma unroll
  for (int j = 0; j < kKernel; ++j) sums[j].clear();
  if (place.lane < problem.lanes && place.channel < p.groups) {
    for (long long strip = place.split * p.split_positions + place.lane; strip < end; strip += problem.lanes) {
      const int first = static_cast<int>(strip % strips) * kStrip, row = static_cast<int>(strip / strips % vertical.out);
      const long long image = place.weight * p.images + strip / strips / vertical.out;
      const int h = row * kStride + place.tap_row - vertical.padding;
      if (h < 0 || h >= vertical.in) continue;
      const T* dy = static_cast<const T*>(p.dy) + ((image * vertical.out + row) * horizontal.out + first) * p.groups + place.channel;
      const T* x = static_cast<const T*>(p.x) + (image * vertical.in + h) * horizontal.in * p.groups + place.channel;
      add_depthwise_strip<T, kKernel, kStride>(p, dy, x, first, sums);
    }
  }
  store_depthwise_gradient(problem, place, sums);
}

}  // namespace kw::cuda::device
