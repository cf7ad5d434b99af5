// Mixing of cells (KernelWarehouse, section 3.2, equation 3) and its gradients, as three matrix products with a row for each sample and
// mixture: the weights are attention [rows, n] times cells [n, cell], dattention is dweights times cells transposed, and dcells is
// attention transposed times dweights. Weights are read and written in place, where the elements of a row are scattered, so no product is
// ever copied into another order.
#pragma once

#include "cuda/kernels/gemm.cuh"

namespace kw::cuda::device {

/** A row-major matrix of `lines` lines of `length` elements, a multiple of 16 bytes, in memory at a multiple of 16 bytes. */
template <class T>
struct DenseOperand {
  const T* data;
  int lines;
  int length;

  __device__ void copy(T* shared, int line, int position) const {
    const bool valid = line < lines && position < length;
    copy_async_16(shared, valid ? data + static_cast<long long>(line) * length + position : data, valid);
  }
};

/** Where row (sample, mixture) and element of a cell lie in the samples' weights [O,kh,kw,I]. */
struct WeightPlaces {
  const int* mixtures;  // of each mixture's first element
  const int* elements;  // from there, of each element of a cell (`aligned`: of each 16 bytes)
  int mixture_count;
  int cell_elements;
  bool aligned;  // 16 bytes of a cell are neighbours in the weight, at a multiple of 16 bytes
  long long sample_stride;

  __device__ long long row(int row) const { return row / mixture_count * sample_stride + mixtures[row % mixture_count]; }
};

/** The samples' weights as a matrix: a line for each row, along it the elements of its cell. */
template <class T>
struct WeightOperand {
  const T* data;
  WeightPlaces places;
  int rows;

  __device__ void copy(T* shared, int row, int element) const {
    const bool valid = row < rows && element < places.cell_elements;
    if (places.aligned) {
      copy_async_16(shared, valid ? data + places.row(row) + places.elements[element / kPack<T>] : data, valid);
      return;
    }
    const T* line = valid ? data + places.row(row) : data;
    for (int i = 0; i < kPack<T>; ++i) {
      if (valid && element + i < places.cell_elements) {
        shared[i] = line[places.elements[element + i]];
      } else {
        store_as(shared + i, 0.0f);
      }
    }
  }
};

/** The epilogue that puts the product's rows into the samples' weights. */
template <class T>
struct WeightEpilogue {
  using Element = T;
  T* data;
  WeightPlaces places;
  int rows;

  __device__ void operator()(int row, int element, const float* values) const {
    if (row >= rows || element >= places.cell_elements) return;
    T* line = data + places.row(row);
    if (places.aligned) {
      alignas(16) T rounded[kPack<T>];
#pragma unroll
      for (int i = 0; i < kPack<T>; ++i) store_as(rounded + i, values[i]);
      store_vector(line + places.elements[element / kPack<T>], load_vector<uint4>(rounded));
      return;
    }
    for (int i = 0; i < kPack<T> && element + i < places.cell_elements; ++i) store_as(line + places.elements[element + i], values[i]);
  }
};

/** The epilogue that puts the product into a matrix of `rows` rows of `length` elements, or adds it. */
struct MatrixEpilogue {
  using Element = float;
  float* data;
  int rows;
  int length;
  bool aligned;  // every row at a multiple of 16 bytes, its length too
  bool adds;

  __device__ void operator()(int row, int column, const float* values) const {
    if (row >= rows || column >= length) return;
    float* to = data + static_cast<long long>(row) * length + column;
    if (!aligned) {
      for (int i = 0; i < 4 && column + i < length; ++i) to[i] = adds ? to[i] + values[i] : values[i];
      return;
    }
    float4 sum = load_vector<float4>(values);
    if (adds) {
      const float4 before = load_vector<float4>(to);
      sum.x += before.x, sum.y += before.y, sum.z += before.z, sum.w += before.w;
    }
    store_vector(to, sum);
  }
};

template <class T>
struct MixTask {
  DenseOperand<T> attention;  // [rows, n]
  DenseOperand<T> cells;      // [n, cell]
  T* weights;
  WeightPlaces places;
  int row_tiles;
};

template <class Shape>
using MixGemm = Gemm<Shape, Major::k, Major::mn>;

/** weights = attention * cells. One block for each tile, those of the same elements one after the other, so that cells come from the cache.
 */
template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads) mix_cells(MixTask<typename Shape::Element> task) {
  const int block = static_cast<int>(blockIdx.x);
  multiply_matrices<MixGemm<Shape>>(task.attention, task.cells, block % task.row_tiles * Shape::kTile,
                                    block / task.row_tiles * Shape::kTile, 0, task.cells.lines,
                                    WeightEpilogue<typename Shape::Element>{task.weights, task.places, task.attention.lines});
}

/** Split-K: partial product `split` sums `depth` of the `total` indices of K, a multiple of the k-tile's depth. */
struct SplitK {
  int total;
  int depth;
};

template <class T>
struct AttentionGradientTask {
  WeightOperand<T> dweights;
  DenseOperand<T> cells;    // [n, cell]
  MatrixEpilogue partials;  // [rows, n up to a multiple of 4], the first of all splits
  int row_tiles;
  SplitK k;
};

/** The matrix of a split, which lie one after the other. */
__device__ inline MatrixEpilogue matrix_of(MatrixEpilogue matrix, int split) {
  matrix.data += static_cast<long long>(split) * matrix.rows * matrix.length;
  return matrix;
}

template <class Shape>
using AttentionGradientGemm = Gemm<Shape, Major::k, Major::k>;

/** partials[split] = dweights * cells transposed, over a part of the cells' elements; blockIdx.y is the split. */
template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads) mix_cells_backward_attention(AttentionGradientTask<typename Shape::Element> task) {
  const int block = static_cast<int>(blockIdx.x), split = static_cast<int>(blockIdx.y), begin = split * task.k.depth;
  multiply_matrices<AttentionGradientGemm<Shape>>(task.dweights, task.cells, block % task.row_tiles * Shape::kTile,
                                                  block / task.row_tiles * Shape::kTile, begin, min(begin + task.k.depth, task.k.total),
                                                  matrix_of(task.partials, split));
}

template <class T>
struct CellGradientTask {
  DenseOperand<T> attention;  // [rows, n]
  WeightOperand<T> dweights;
  MatrixEpilogue partials;  // [n, cell], the first of all splits
  int row_tiles;
  SplitK k;
};

template <class Shape>
using CellGradientGemm = Gemm<Shape, Major::mn, Major::mn>;

/** partials[split] = attention transposed * dweights, over a part of the rows; blockIdx.y is the split. */
template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads) mix_cells_backward_cells(CellGradientTask<typename Shape::Element> task) {
  const int block = static_cast<int>(blockIdx.x), split = static_cast<int>(blockIdx.y), begin = split * task.k.depth;
  multiply_matrices<CellGradientGemm<Shape>>(task.attention, task.dweights, block % task.row_tiles * Shape::kTile,
                                             block / task.row_tiles * Shape::kTile, begin, min(begin + task.k.depth, task.k.total),
                                             matrix_of(task.partials, split));
}

/** Rows of `length` elements, rounded to T and filled up with zeros to `padded` elements, a multiple of 16 bytes. A thread for each 16
 * bytes. */
template <class T>
__global__ void pad_rows(const float* from, long long rows, int length, int padded, T* to) {
  const int vectors = padded / kPack<T>;
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < rows * vectors; i += stride) {
    const long long row = i / vectors;
    const int first = static_cast<int>(i % vectors) * kPack<T>;
    alignas(16) T values[kPack<T>];
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) store_as(values + e, first + e < length ? from[row * length + first + e] : 0.0f);
    store_vector(to + row * padded + first, load_vector<uint4>(values));
  }
}

/** result [rows, length] = (or +=) the sum of the partial products [splits, rows, padded], in their order. A thread for each element. */
static __global__ void sum_partials(const float* partials, int split_count, long long rows, int length, int padded, bool adds,
                                    float* result) {
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < rows * length; i += stride) {
    const float* partial = partials + i / length * padded + i % length;
    float sum = 0;
    for (int split = 0; split < split_count; ++split) sum += partial[split * rows * padded];
    result[i] = adds ? result[i] + sum : sum;
  }
}

}  // namespace kw::cuda::device
