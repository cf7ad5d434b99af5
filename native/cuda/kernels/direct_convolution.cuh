// Convolutions of any shape, one element of the result for each thread: for groups of few channels, which would leave tiles almost empty.
#pragma once

#include "cuda/kernels/convolution_problem.cuh"
#include "cuda/kernels/weight_gradient.cuh"

namespace kw::cuda::device {

/** Calls visit(tap, position of the source) for the taps that result position `index` meets within the source. */
template <bool kBackward, class Visit>
__device__ __forceinline__ void for_each_tap(const ConvolutionAxis (&axes)[3], const int (&index)[3], const Visit& visit) {
  const auto source = [&](int axis, int tap, int* at) {
    const ConvolutionAxis& a = axes[axis];
    int place = index[axis] * a.stride - a.padding + tap * a.dilation;
    if (kBackward) {
      place = index[axis] + a.padding - tap * a.dilation;
      if (place < 0 || place % a.stride != 0) return false;
      place /= a.stride;
    }
    *at = place;
    return place >= 0 && place < (kBackward ? a.out : a.in);
  };
  const int height = kBackward ? axes[1].out : axes[1].in, width = kBackward ? axes[2].out : axes[2].in;
  int d, h, w;
  for (int i = 0; i < axes[0].kernel; ++i) {
    if (!source(0, i, &d)) continue;
    for (int j = 0; j < axes[1].kernel; ++j) {
      if (!source(1, j, &h)) continue;
      for (int k = 0; k < axes[2].kernel; ++k) {
        if (source(2, k, &w)) visit((i * axes[1].kernel + j) * axes[2].kernel + k, (static_cast<long long>(d) * height + h) * width + w);
      }
    }
  }
}

/** The indices of a position along the three axes of `sizes`; takes them out of `number` and leaves the rest, the image. */
__device__ __forceinline__ void take_position(long long& number, const int (&sizes)[3], int (&index)[3]) {
#pragma unroll
  for (int axis = 2; axis >= 0; --axis) {
    index[axis] = static_cast<int>(number % sizes[axis]);
    number /= sizes[axis];
  }
}

template <class T, bool kBackward>
__global__ void gather_directly(GatherProblem p, long long count) {
  const int sizes[3] = {kBackward ? p.axes[0].in : p.axes[0].out, kBackward ? p.axes[1].in : p.axes[1].out,
                        kBackward ? p.axes[2].in : p.axes[2].out};
  const long long source_positions = kBackward ? static_cast<long long>(p.axes[0].out) * p.axes[1].out * p.axes[2].out
                                               : static_cast<long long>(p.axes[0].in) * p.axes[1].in * p.axes[2].in;
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long element = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; element < count; element += step) {
    const int channel = static_cast<int>(element % p.result_channels());
    long long image = element / p.result_channels();
    int index[3];
    take_position(image, sizes, index);
    const int group = channel / p.width;
    const T* source = static_cast<const T*>(p.source) + image * source_positions * p.source_channels() + group * p.depth;
    const T* weight = static_cast<const T*>(p.weight) + image / p.images * p.weight_stride;
    weight += kBackward ? static_cast<long long>(group) * p.depth * p.taps * p.width + channel % p.width
                        : static_cast<long long>(channel) * p.taps * p.depth;
    const long long tap_stride = kBackward ? p.width : p.depth;
    const long long channel_stride = kBackward ? static_cast<long long>(p.taps) * p.width : 1;
    float sum = 0.0f;
    for_each_tap<kBackward>(p.axes, index, [&](int tap, long long position) {
      const T* from = source + position * p.source_channels();
      const T* factor = weight + tap * tap_stride;
      for (int i = 0; i < p.depth; ++i) sum += to_float(from[i]) * to_float(factor[i * channel_stride]);
    });
    const float value = p.epilogue.finish<T>(sum, p.epilogue.channel(channel), element);
    store_as(static_cast<T*>(p.result) + element, value);
  }
}

/** Neighbouring threads have neighbouring channels of y. `count` = splits * weights * elements of a weight. */
template <class T>
__global__ void sum_weight_gradient_directly(WeightGradientProblem p, long long count) {
  const int in_channels = p.groups * p.in_width, out_channels = p.groups * p.out_width;
  const int sizes[3] = {p.axes[0].out, p.axes[1].out, p.axes[2].out}, in_sizes[3] = {p.axes[0].in, p.axes[1].in, p.axes[2].in};
  const long long positions = static_cast<long long>(sizes[0]) * sizes[1] * sizes[2];
  const long long image_positions = static_cast<long long>(in_sizes[0]) * in_sizes[1] * in_sizes[2];
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long number = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; number < count; number += step) {
    const int i = static_cast<int>(number % p.in_width), o = static_cast<int>(number / p.in_width % out_channels);
    long long rest = number / p.in_width / out_channels;
    const int tap = static_cast<int>(rest % p.taps);
    rest /= p.taps;
    const long long weight = rest % p.weights, split = rest / p.weights;
    const int taps[3] = {tap / p.axes[2].kernel / p.axes[1].kernel, tap / p.axes[2].kernel % p.axes[1].kernel, tap % p.axes[2].kernel};
    const T* x = static_cast<const T*>(p.x) + weight * p.images * image_positions * in_channels + o / p.out_width * p.in_width + i;
    const T* dy = static_cast<const T*>(p.dy) + weight * p.images * positions * out_channels + o;
    const long long end = min(p.images * positions, (split + 1) * p.split_positions);
    float sum = 0.0f;
    for (long long position = split * p.split_positions; position < end; ++position) {
      long long image = position;
      int index[3];
      take_position(image, sizes, index);
      long long from = image;
      bool within = true;
#pragma unroll
      for (int axis = 0; axis < 3; ++axis) {
        const ConvolutionAxis& a = p.axes[axis];
        const int place = index[axis] * a.stride - a.padding + taps[axis] * a.dilation;
        within = within && place >= 0 && place < a.in;
        from = from * a.in + place;
      }
      if (within) sum += to_float(x[from * in_channels]) * to_float(dy[position * out_channels]);
    }
    store_weight_gradient(p, weight, split, (static_cast<long long>(o) * p.taps + tap) * p.in_width + i, sum);
  }
}

}  // namespace kw::cuda::device
