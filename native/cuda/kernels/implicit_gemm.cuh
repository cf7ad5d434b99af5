// Convolution as a matrix product whose left operand is gathered on the way to shared memory: y from x, and dx from dy. Rows are positions
// of the result, columns its channels, depth runs over taps and the source's channels.
#pragma once

#include "cuda/kernels/convolution_problem.cuh"
#include "cuda/kernels/tile_product.cuh"

namespace kw::cuda::device {

struct ImplicitGemmProblem {
  GatherProblem gather;
  Divider by_depth;          // of gather.depth
  long long row_tiles;       // of the largest phase
  int column_tiles, phases;  // phases: the product of the axes'
  int parts, part_steps;     // of depth, each in blocks of its own; as many steps as there are, or fewer, in each
  float* part_sums;          // [parts, elements of the result], for finish_parts; null with one part, which is finished at once
  bool stores_vectors;       // y and residual allow accesses of 16 bytes
  float* means;              // [weights,row_tiles,O], each tile's share of the mean over y's positions; null: none
};

/** What a row of the left operand is: an image (-1: the row is past the end) and where its window begins. */
using SourceRow = int4;
/** What a step of depth is: how far from the window's beginning, along each axis, and which tap of the kernel. */
using SourceTap = int4;

/** Bytes of shared memory for a kernel of `taps` taps. */
template <class T, int kTile>
constexpr int implicit_gemm_bytes(int taps) {
  return TileSizes<T, kTile>::kBytes + kTile * static_cast<int>(sizeof(SourceRow) + sizeof(long long) + sizeof(float2)) +
         taps * static_cast<int>(sizeof(SourceTap));
}

/**
 * One block computes kTile positions by kTile channels of one phase, one group, one part of depth and one weight. Operands are read kVector
 * elements at a time: as many as 16 bytes have, or 1, which takes any number of channels and any address.
 */
template <class Product, int kTile, int kVector, bool kBackward>
__global__ void __launch_bounds__(TileSizes<typename Product::Element, kTile>::kThreads) implicit_gemm(ImplicitGemmProblem problem) {
  using T = typename Product::Element;
  using Sizes = TileSizes<T, kTile>;
  constexpr int kThreads = Sizes::kThreads;
  constexpr int kRowCopies = Sizes::kDepth / kVector;  // of a row of depth
  constexpr int kColumnCopies = kTile / kVector;       // of a row of channels
  const GatherProblem& p = problem.gather;
  const int thread = static_cast<int>(threadIdx.x);

  // Neighbouring blocks read the same positions, then the same weight.
  long long block = blockIdx.x;
  const auto next = [&block](long long count) {
    const long long index = block % count;
    block /= count;
    return index;
  };
  const int first_column = static_cast<int>(next(problem.column_tiles)) * kTile;
  const long long row_tile = next(problem.row_tiles);
  const int group = static_cast<int>(next(p.groups));
  int phase_number = static_cast<int>(next(problem.phases));
  const int part = static_cast<int>(next(problem.parts));
  const long long weight_number = block;

  AxisPhase phases[3];
#pragma unroll
  for (int axis = 2; axis >= 0; --axis) {
    const int count = kBackward ? p.axes[axis].stride : 1;
    phases[axis] = axis_phase<kBackward>(p.axes[axis], phase_number % count);
    phase_number /= count;
  }
  const long long positions = static_cast<long long>(phases[0].positions) * phases[1].positions * phases[2].positions;
  const long long first_row = row_tile * kTile;
  if (first_row >= p.images * positions) return;
  const int taps = phases[0].taps * phases[1].taps * phases[2].taps;
  const int depth = taps * p.depth;
  const int steps = ceil_divide(depth, Sizes::kDepth);

  unsigned char* shared = dynamic_shared();
  T* stages = reinterpret_cast<T*>(shared);
  float* tile = reinterpret_cast<float*>(shared);
  auto* rows = reinterpret_cast<SourceRow*>(shared + Sizes::kBytes);
  auto* tap_table = reinterpret_cast<SourceTap*>(rows + kTile);
  auto* results = reinterpret_cast<long long*>(tap_table + p.taps);  // where a row's position is in the result; -1: nowhere
  auto* channels = reinterpret_cast<float2*>(results + kTile);
  const int result_sizes[3] = {kBackward ? p.axes[0].in : p.axes[0].out, kBackward ? p.axes[1].in : p.axes[1].out,
                               kBackward ? p.axes[2].in : p.axes[2].out};

  if (thread < kTile) {
    const long long row = first_row + thread;
    rows[thread] = make_int4(-1, 0, 0, 0);
    results[thread] = -1;
    if (row < p.images * positions) {
      const long long image = row / positions;
      int position = static_cast<int>(row % positions);
      int index[3];
#pragma unroll
      for (int axis = 2; axis >= 0; --axis) {
        index[axis] = position % phases[axis].positions;
        position /= phases[axis].positions;
      }
      long long result = weight_number * p.images + image;
#pragma unroll
      for (int axis = 0; axis < 3; ++axis) {
        result = result * result_sizes[axis] + phases[axis].result_first + index[axis] * phases[axis].result_step;
        index[axis] = phases[axis].source_first + index[axis] * phases[axis].source_step;
      }
      rows[thread] = make_int4(static_cast<int>(image), index[0], index[1], index[2]);
      results[thread] = result;
    }
    const int column = first_column + thread;
    channels[thread] = column < p.width ? p.epilogue.channel(group * p.width + column) : make_float2(0.0f, 0.0f);
  }
  for (int number = thread; number < taps; number += kThreads) {
    int index[3], rest = number, tap = 0;
#pragma unroll
    for (int axis = 2; axis >= 0; --axis) {
      index[axis] = rest % phases[axis].taps;
      rest /= phases[axis].taps;
    }
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
      tap = tap * p.axes[axis].kernel + phases[axis].tap_first + index[axis] * phases[axis].tap_stride;
      index[axis] *= phases[axis].tap_step;
    }
    tap_table[number] = make_int4(index[0], index[1], index[2], tap);
  }
  syncthreads();

  const long long image_elements = static_cast<long long>(phases[0].source) * phases[1].source * phases[2].source * p.source_channels();
  const T* source = static_cast<const T*>(p.source) + weight_number * p.images * image_elements + group * p.depth;
  const T* weight =
      static_cast<const T*>(p.weight) + weight_number * p.weight_stride + static_cast<long long>(group) * p.width * p.taps * p.depth;

  const auto load = [&](int step, T* a, T* b) {
    const int at = thread % kRowCopies * kVector;
    const int k = step * Sizes::kDepth + at;
    const bool within = k < depth;
    const int number = within ? problem.by_depth(k) : 0;
    const int channel = k - number * p.depth;
    const SourceTap tap = tap_table[number];
#pragma unroll
    for (int i = 0; i < kTile * kRowCopies / kThreads; ++i) {
      const int row = thread / kRowCopies + i * (kThreads / kRowCopies);
      const SourceRow window = rows[row];
      const int d = window.y + tap.x, h = window.z + tap.y, w = window.w + tap.z;
      const bool valid = within && window.x >= 0 && static_cast<unsigned>(d) < static_cast<unsigned>(phases[0].source) &&
                         static_cast<unsigned>(h) < static_cast<unsigned>(phases[1].source) &&
                         static_cast<unsigned>(w) < static_cast<unsigned>(phases[2].source);
      const long long position = (static_cast<long long>(d) * phases[1].source + h) * phases[2].source + w;
      const long long offset = window.x * image_elements + position * p.source_channels() + channel;
      copy_elements<kVector>(a + row * Sizes::kRowStride + at, valid ? source + offset : source, valid);
    }
    if constexpr (!kBackward) {
#pragma unroll
      for (int i = 0; i < kTile * kRowCopies / kThreads; ++i) {
        const int column = thread / kRowCopies + i * (kThreads / kRowCopies);
        const bool valid = within && first_column + column < p.width;
        const long long offset = static_cast<long long>(first_column + column) * depth + k;
        copy_elements<kVector>(b + column * Sizes::kRowStride + at, valid ? weight + offset : weight, valid);
      }
    } else {
      const int column = thread % kColumnCopies * kVector;
#pragma unroll
      for (int i = 0; i < Sizes::kDepth * kColumnCopies / kThreads; ++i) {
        const int row = thread / kColumnCopies + i * (kThreads / kColumnCopies);
        const int row_k = step * Sizes::kDepth + row;
        const bool valid = row_k < depth && first_column + column < p.width;
        const int row_number = valid ? problem.by_depth(row_k) : 0;
        const int out_channel = row_k - row_number * p.depth;
        const long long offset = (static_cast<long long>(out_channel) * p.taps + tap_table[row_number].w) * p.width + first_column + column;
        copy_elements<kVector>(b + row * Sizes::kDepthStride + column, valid ? weight + offset : weight, valid);
      }
    }
  };

  TileSums<Product, kTile, true, !kBackward> sums;
  const int first_step = part * problem.part_steps;
  multiply_steps<Sizes>(first_step, min(steps, first_step + problem.part_steps), stages, load, sums);
  sums.store(tile);
  syncthreads();

  const int columns = min(kTile, p.width - first_column);
  const int first_channel = group * p.width + first_column;
  if (problem.part_sums) {
    const long long result_positions = p.weights * p.images * result_sizes[0] * result_sizes[1] * result_sizes[2];
    for (int item = thread; item < kTile * kTile; item += kThreads) {
      const int row = item / kTile, column = item % kTile;
      if (results[row] < 0 || column >= columns) continue;
      problem.part_sums[(part * result_positions + results[row]) * p.result_channels() + first_channel + column] =
          tile[row * Sizes::kResultStride + column];
    }
    return;
  }
  T* result = static_cast<T*>(p.result);
  using Vector = ChannelVector<T>;
  const bool in_vectors = problem.stores_vectors;
  const int width = in_vectors ? Vector::kSize : 1;
  for (int item = thread; item < kTile * kTile / width; item += kThreads) {
    const int row = item / (kTile / width), column = item % (kTile / width) * width;
    if (results[row] < 0 || column >= columns) continue;
    float* from = tile + row * Sizes::kResultStride + column;
    const long long offset = results[row] * p.result_channels() + first_channel + column;
    if (in_vectors) {
      Vector values, residual;
      residual.clear();
      if (p.epilogue.residual) residual.load(static_cast<const T*>(p.epilogue.residual) + offset);
#pragma unroll
      for (int c = 0; c < Vector::kSize; ++c) {
        const float2 channel = channels[column + c];
        values.value[c] = p.epilogue.limited(from[c] * channel.x + channel.y + residual.value[c]);
        if (problem.means) from[c] = as_stored<T>(values.value[c]);
      }
      values.store(result + offset);
    } else {
      const float value = p.epilogue.finish<T>(*from, channels[column], offset);
      if (problem.means) *from = as_stored<T>(value);
      store_as(result + offset, value);
    }
  }
  if constexpr (!kBackward) {
    if (!problem.means) return;
    syncthreads();
    if (thread >= columns) return;
    float sum = 0.0f;
    for (int row = 0; row < kTile && results[row] >= 0; ++row) sum += tile[row * Sizes::kResultStride + thread];
    problem.means[(weight_number * problem.row_tiles + row_tile) * p.result_channels() + first_channel + thread] =
        sum / static_cast<float>(positions);
  }
}

/** Finishes what was computed in parts: y or dx, `count` elements, of their sums [parts,count], added in order. */
template <class T>
__global__ void finish_parts(GatherProblem p, const float* sums, int parts, long long count) {
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long element = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; element < count; element += step) {
    float sum = 0.0f;
    for (int part = 0; part < parts; ++part) sum += sums[part * count + element];
    const int channel = static_cast<int>(element % p.result_channels());
    store_as(static_cast<T*>(p.result) + element, p.epilogue.finish<T>(sum, p.epilogue.channel(channel), element));
  }
}

}  // namespace kw::cuda::device
