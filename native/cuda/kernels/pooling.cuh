// The gradient of global average pooling, and 2-D max pooling with its gradient; channels-last. (Global averages are sums: axis_sums.cuh.)
#pragma once

#include "cuda/kernels/pack.cuh"

namespace kw::cuda::device {

// dx [samples, positions, channels] = dy [samples, channels] * factor, plus the accumulator where there is one, which dx may be. Packs are
// for multiples of kPack<T> channels.
template <class T>
__global__ void spread_mean(const float* dy, float factor, const T* accumulator, long long count, long long positions, long long channels,
                            bool packed, T* dx) {
  for_packs<kPack<T>>(count, packed, [&](long long i, auto width) {
    const long long row = i / channels, channel = i - row * channels;
    auto values = load_pack<width.value>(dy + row / positions * channels + channel);
#pragma unroll
    for (int k = 0; k < width.value; ++k) values[k] *= factor;
    if (accumulator) {
      const auto added = load_pack<width.value>(accumulator + i);
#pragma unroll
      for (int k = 0; k < width.value; ++k) values[k] += added[k];
    }
    store_pack(dx + i, values);
  });
}

// Of max pooling, for [height, width] axes.
struct PoolShape {
  int size[2];      // of x
  int out_size[2];  // of y
  int kernel[2];
  int stride[2];
  int padding[2];
  long long channels;
};

// A pixel of an image, and the first element's channel.
struct Place {
  long long sample;
  int row, column;
  long long channel;
};

__device__ __forceinline__ Place place_of(long long i, const int (&size)[2], long long channels) {
  const long long pixel = i / channels, line = pixel / size[1];
  return {line / size[0], static_cast<int>(line % size[0]), static_cast<int>(pixel - line * size[1]), i - pixel * channels};
}

// The largest value of each window and its position, the first in window order. A NaN wins over everything before it, as in PyTorch. Packs
// are for multiples of kPack<T> channels.
template <class T>
__global__ void max_pool(const T* x, PoolShape shape, long long count, bool packed, T* y, int* indices) {
  for_packs<kPack<T>>(count, packed, [&](long long i, auto width) {
    const Place place = place_of(i, shape.out_size, shape.channels);
    const int top = place.row * shape.stride[0] - shape.padding[0], left = place.column * shape.stride[1] - shape.padding[1];
    const int first_row = max(top, 0), last_row = min(top + shape.kernel[0], shape.size[0]);
    const int first_column = max(left, 0), last_column = min(left + shape.kernel[1], shape.size[1]);
    const T* image = x + place.sample * shape.size[0] * shape.size[1] * shape.channels + place.channel;
    Pack<float, width.value> largest;
    Pack<int, width.value> positions;
#pragma unroll
    for (int k = 0; k < width.value; ++k) {
      largest[k] = bits_to_float(0xff800000u);  // -infinity
      positions[k] = first_row * shape.size[1] + first_column;
    }
    for (int row = first_row; row < last_row; ++row) {
      for (int column = first_column; column < last_column; ++column) {
        const int position = row * shape.size[1] + column;
        const auto values = load_pack<width.value>(image + position * shape.channels);
#pragma unroll
        for (int k = 0; k < width.value; ++k) {
          const bool is_taken = values[k] > largest[k] || values[k] != values[k];
          largest[k] = is_taken ? values[k] : largest[k];
          positions[k] = is_taken ? position : positions[k];
        }
      }
    }
    store_pack(y + i, largest);
    store_pack(indices + i, positions);
  });
}

// The gradient where the windows are known: every pixel of x adds what comes back from the windows that it is in, in their order. Sums are
// rounded to T one by one, as on the CPU. Packs are for multiples of kPack<T> channels.
template <class T>
__global__ void max_pool_backward(const T* dy, const int* indices, PoolShape shape, long long count, bool packed, T* dx) {
  for_packs<kPack<T>>(count, packed, [&](long long i, auto width) {
    const Place place = place_of(i, shape.size, shape.channels);
    const int position = place.row * shape.size[1] + place.column;
    const int row = place.row + shape.padding[0], column = place.column + shape.padding[1];
    const int first_row = row < shape.kernel[0] ? 0 : (row - shape.kernel[0]) / shape.stride[0] + 1;
    const int first_column = column < shape.kernel[1] ? 0 : (column - shape.kernel[1]) / shape.stride[1] + 1;
    const int last_row = min(row / shape.stride[0], shape.out_size[0] - 1),
              last_column = min(column / shape.stride[1], shape.out_size[1] - 1);
    Pack<float, width.value> sums = {};
    for (int out_row = first_row; out_row <= last_row; ++out_row) {
      for (int out_column = first_column; out_column <= last_column; ++out_column) {
        const long long window = (place.sample * shape.out_size[0] + out_row) * shape.out_size[1] + out_column;
        const long long offset = window * shape.channels + place.channel;
        const auto positions = load_pack<width.value>(indices + offset);
        const auto gradients = load_pack<width.value>(dy + offset);
#pragma unroll
        for (int k = 0; k < width.value; ++k) sums[k] = positions[k] == position ? as_stored<T>(sums[k] + gradients[k]) : sums[k];
      }
    }
    store_pack(dx + i, sums);
  });
}

// The gradient where only the indices are known, into a dx of zeros: a thread does a channel of a sample, so that it adds alone.
template <class T>
__global__ void scatter_gradient(const T* dy, const int* indices, long long samples, long long windows, long long pixels,
                                 long long channels, T* dx) {
  for_packs<1>(samples * channels, false, [&](long long i, auto) {
    const long long sample = i / channels, channel = i - sample * channels;
    T* image = dx + sample * pixels * channels + channel;
    for (long long window = 0; window < windows; ++window) {
      const long long offset = (sample * windows + window) * channels + channel;
      const int index = indices[offset];
      if (index < 0 || index >= pixels) continue;  // the host cannot refuse it without waiting for the GPU
      T* sum = image + index * channels;
      store_as(sum, to_float(*sum) + to_float(dy[offset]));
    }
  });
}

}  // namespace kw::cuda::device
