// Ops that treat every element (or row of elements) alike. An output may be an input's memory where sizes agree.
#pragma once

#include "cuda/kernels/map.cuh"

namespace kw::cuda::device {

struct Add {
  __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};

// What a cast does beside rounding: nothing.
struct Keep {
  __device__ __forceinline__ float operator()(float value) const { return value; }
};

// Adds bias[c] to each element of channel c. Packs are for multiples of kPack<T> channels.
template <class T>
__global__ void add_bias(const T* x, const float* bias, long long count, long long channels, bool packed, T* y) {
  for_packs<kPack<T>>(count, packed, [&](long long i, auto width) {
    auto values = load_pack<width.value>(x + i);
    const auto offsets = load_pack<width.value>(bias + i % channels);
#pragma unroll
    for (int k = 0; k < width.value; ++k) values[k] += offsets[k];
    store_pack(y + i, values);
  });
}

__global__ void fill(float value, long long count, bool packed, float* y) {
  for_packs<kPack<float>>(count, packed, [&](long long i, auto width) {
    Pack<float, width.value> values;
#pragma unroll
    for (int k = 0; k < width.value; ++k) values[k] = value;
    store_pack(y + i, values);
  });
}

// Some columns of a row-major matrix, measured in Units of memory: what they are does not matter for copying.
struct Columns {
  long long start;   // the first of them
  long long stride;  // columns of the matrix
};

// Copies `width` columns of each row.
template <class Unit>
__global__ void copy_columns(const Unit* from, Columns from_columns, long long rows, long long width, Unit* to, Columns to_columns) {
  for_packs<1>(rows * width, false, [&](long long i, auto) {
    const long long row = i / width, column = i - row * width;
    const Unit unit = load_vector<Unit>(from + row * from_columns.stride + from_columns.start + column);
    store_vector(to + row * to_columns.stride + to_columns.start + column, unit);
  });
}

// Copies rows of `width` units into the columns from `start` of rows of `size` units, whose others become zero.
template <class Unit>
__global__ void spread_columns(const Unit* from, long long rows, long long width, long long start, long long size, Unit* to) {
  for_packs<1>(rows * size, false, [&](long long i, auto) {
    const long long row = i / size, column = i - row * size - start;
    const bool is_copied = column >= 0 && column < width;
    store_vector(to + i, is_copied ? load_vector<Unit>(from + row * width + column) : Unit{});
  });
}

}  // namespace kw::cuda::device
