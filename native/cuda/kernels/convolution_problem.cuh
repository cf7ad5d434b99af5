// What the convolution kernels are given: axes, tensors and the epilogue. All passes are described over three spatial dimensions, depth,
// height and width; those that a convolution does not have are of size 1.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

/** Division of numbers from 0 to 2^31 - 1 by one that is known when a step is prepared: a product and a shift. */
struct Divider {
  unsigned divisor = 1;
  unsigned factor = 0;  // floor(2^shift / divisor) + 1
  int shift = 0;        // 31 + ceil(log2(divisor)): the factor's error stays below 1 / 2^31 of it

  Divider() = default;
  explicit Divider(int by) : divisor(static_cast<unsigned>(by)), shift(31) {
    while ((1ull << (shift - 31)) < divisor) ++shift;
    factor = static_cast<unsigned>((1ull << shift) / divisor + 1);
  }
  __device__ __forceinline__ int operator()(int number) const {
    return static_cast<int>(static_cast<unsigned long long>(static_cast<unsigned>(number)) * factor >> shift);
  }
};

/** One spatial dimension. `in` is the size of x, `out` that of y. */
struct ConvolutionAxis {
  int in, out, kernel, stride, padding, dilation;
  int common;  // greatest common divisor of stride and dilation
};

/** What happens to a channel's sums before they are stored: y = limited(sum * factor + shift + residual), factor and shift from `channel`.
 */
struct ConvolutionEpilogue {
  const float* bias = nullptr;   // [O]; null: none
  const float* scale = nullptr;  // [O], of a normalization; null: none
  const float* shift = nullptr;
  const float* mean = nullptr;
  const float* variance = nullptr;
  double epsilon = 0;
  const void* residual = nullptr;  // as y; null: none
  float least, most;               // what the activation limits values to

  __device__ __forceinline__ float2 channel(int o) const {
    const float constant = bias ? bias[o] : 0.0f;
    if (!scale) return make_float2(1.0f, constant);
    const double slope = scale[o] / sqrt(variance[o] + epsilon);
    return make_float2(static_cast<float>(slope), static_cast<float>(shift[o] + (constant - static_cast<double>(mean[o])) * slope));
  }

  /** The order of the comparisons lets a NaN through. */
  __device__ __forceinline__ float limited(float value) const {
    const float above = least > value ? least : value;
    return most < above ? most : above;
  }

  /** The value to be stored at `offset` of y, of type T, for a channel's factor and shift. */
  template <class T>
  __device__ __forceinline__ float finish(float sum, float2 channel, long long offset) const {
    float value = sum * channel.x + channel.y;
    if (residual) value += to_float(static_cast<const T*>(residual)[offset]);
    return limited(value);
  }
};

/** 16 bytes of activations as float32. */
template <class T>
struct ChannelVector {
  static constexpr int kSize = 16 / static_cast<int>(sizeof(T));
  float value[kSize];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int c = 0; c < kSize; ++c) value[c] = 0.0f;
  }
  __device__ __forceinline__ void load(const T* address) {
    const uint4 bits = load_vector<uint4>(address);
    const unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      if constexpr (sizeof(T) == 2) {
        value[2 * word] = low_bfloat16(words[word]);
        value[2 * word + 1] = high_bfloat16(words[word]);
      } else {
        value[word] = bits_to_float(words[word]);
      }
    }
  }
  __device__ __forceinline__ void store(T* address) const {
    unsigned words[4];
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      if constexpr (sizeof(T) == 2) {
        words[word] = pack_bfloat16(value[2 * word], value[2 * word + 1]);
      } else {
        words[word] = float_to_bits(value[word]);
      }
    }
    store_vector(address, make_uint4(words[0], words[1], words[2], words[3]));
  }
};

/**
 * A pass in which each element of the result gathers its products: y from x, or dx from dy. Source and result have `depth` and `width`
 * channels in each group. Weights are [O,taps,I]: forward [width,taps,depth], backward [depth,taps,width] of each group.
 */
struct GatherProblem {
  const void* source;
  const void* weight;
  void* result;
  ConvolutionAxis axes[3];
  int groups, depth, width;
  int taps;
  long long images;         // that share a weight
  long long weights;        // how many there are, each for `images` of its own
  long long weight_stride;  // elements
  ConvolutionEpilogue epilogue;

  __device__ __forceinline__ int source_channels() const { return groups * depth; }
  __device__ __forceinline__ int result_channels() const { return groups * width; }
};

/** A pass that sums dweight [O,taps,I] over the positions of the images that share the weight. */
struct WeightGradientProblem {
  const void* x;
  const void* dy;
  void* result;  // float32 or, if `rounds`, bfloat16; with more than one split float32 sums, [splits,weights,O*taps*I]
  bool rounds;
  ConvolutionAxis axes[3];
  int groups, in_width, out_width;  // channels in each group
  int taps;
  long long images, weights;
  long long weight_stride;  // elements, of the result
  int splits;               // split-K: of the positions, each summed by blocks of its own
  long long split_positions;
};

/**
 * Along one axis, the positions of the result that meet the same taps, and where: position i of them is result position result_first + i *
 * result_step, and with tap j of them (tap_first + j * tap_stride of the kernel) it meets source position source_first + i * source_step +
 * j * tap_step. Forward there is one such phase; backward there are as many as the stride.
 */
struct AxisPhase {
  int positions, result_first, result_step;
  int source, source_first, source_step;
  int taps, tap_first, tap_stride, tap_step;
};

template <bool kBackward>
__device__ __forceinline__ AxisPhase axis_phase(const ConvolutionAxis& axis, int phase) {
  if constexpr (!kBackward) return {axis.out, 0, 1, axis.in, -axis.padding, axis.stride, axis.kernel, 0, 1, axis.dilation};
  AxisPhase result;
  result.positions = phase < axis.in ? (axis.in - 1 - phase) / axis.stride + 1 : 0;
  result.result_first = phase;
  result.result_step = axis.stride;
  result.source = axis.out;
  result.source_step = 1;
  // A tap counts where phase + padding - tap * dilation is a multiple of the stride.
  result.tap_stride = axis.stride / axis.common;
  result.tap_step = -axis.dilation / axis.common;
  int tap = 0;
  while (tap < result.tap_stride && (phase + axis.padding - tap * axis.dilation) % axis.stride != 0) ++tap;
  result.tap_first = tap;
  result.taps = tap < result.tap_stride && tap < axis.kernel ? (axis.kernel - 1 - tap) / result.tap_stride + 1 : 0;
  result.source_first = result.taps > 0 ? (phase + axis.padding - tap * axis.dilation) / axis.stride : 0;
  return result;
}

}  // namespace kw::cuda::device
