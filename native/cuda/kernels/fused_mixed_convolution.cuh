// Mixing and convolving in one kernel, for outputs of few positions: a sample's weights never leave the multiprocessor. A block has some
// samples, some output channels and all positions. It goes through the input channels 16 at a time: its warps together mix the weights of
// these channels for all of its samples, so that cells are read once for all of them; then each warp convolves a sample of its own.
#pragma once

#include "cuda/kernels/convolution_problem.cuh"

namespace kw::cuda::device {

/** Sizes of a block's work. `kTaps`: positions of the kernel; `kChannelTiles`: 16 output channels each. */
template <int kTapsOf, int kChannelTilesOf>
struct FusedBlock {
  static constexpr int kTaps = kTapsOf, kChannelTiles = kChannelTilesOf, kChannels = 16 * kChannelTiles;
  static constexpr int kSamples = 8, kThreads = kSamples * kWarpSize;
  static constexpr int kSlab = 16;                // input channels of a step
  static constexpr int kRows = kSamples * kTaps;  // of attention: a sample's taps, sample after sample
  static constexpr int kRowTiles = ceil_divide(kRows, 16);
  static constexpr int kPositionTiles = 7, kPositions = 8 * kPositionTiles;  // of the output, at most
  static constexpr int kCellStride = kChannels * kSlab + 8;        // elements of a cell in a step, and a gap that keeps banks apart
  static constexpr int kWeightBytes = kChannels * kSlab * 2 + 16;  // of a row, with a gap
  static constexpr int kResultStride = kChannels + 4;
};

struct FusedTask {
  const bfloat16* x;          // [samples,height,width,in_channels]
  const bfloat16* attention;  // [samples,mixtures,attention_length]
  const bfloat16* cells;      // [cell_count,cell_out,cell_in]
  bfloat16* y;                // [samples,out_height,out_width,out_channels]
  float* means;               // [samples,out_channels] of y; null: none
  ConvolutionEpilogue epilogue;
  int samples, mixtures, attention_length, cell_count;
  int depth;  // cell_count up to a multiple of 16
  int out_cells, in_cells, cell_out, cell_in;
  int height, width, in_channels, out_height, out_width, out_channels;
  int kernel_width, padding_height, padding_width, dilation_height, dilation_width;
  // The part of a sample's input that is kept in shared memory: every input position that an output looks at and those between, or where
  // the kernel has one tap, only those that are looked at.
  int patch_height, patch_width;
  int input_step_height, input_step_width;  // from a position of the patch to the next, in x
  int patch_step_height, patch_step_width;  // from an output's position to the next, in the patch
};

/** Where the parts of a block's shared memory begin, in bytes. */
template <class Block>
struct FusedMemory {
  int attention_stride, attention_rows, patch;
  int attention, cells, inputs, weights, total;

  __host__ __device__ explicit FusedMemory(const FusedTask& task)
      : attention_stride(task.depth + 8), attention_rows(Block::kRowTiles * 16), patch(task.patch_height * task.patch_width) {
    attention = 0;
    cells = attention + task.in_cells * attention_rows * attention_stride * 2;
    inputs = cells + task.depth * Block::kCellStride * 2;
    weights = inputs + 2 * Block::kSamples * patch * Block::kSlab * 2;
    total =
        max(weights + attention_rows * Block::kWeightBytes, Block::kSamples * task.out_height * task.out_width * Block::kResultStride * 4);
  }
};

/** 16 channels take 32 bytes; which half comes first changes with each four, so that 8 neighbours lie in different banks. */
__device__ __forceinline__ int swizzled_half(int index, int half) { return (half ^ (index / 4 % 2)) * 16; }

/** What the block's threads do together; one for each thread. */
template <class Block>
class FusedMixedConvolution {
 public:
  __device__ explicit FusedMixedConvolution(const FusedTask& task)
      : task_(task),
        memory_(task),
        shared_(dynamic_shared()),
        thread_(static_cast<int>(threadIdx.x)),
        lane_(thread_ % kWarpSize),
        warp_(thread_ / kWarpSize),
        first_channel_(static_cast<int>(blockIdx.x) * Block::kChannels),
        first_sample_(static_cast<int>(blockIdx.y) * Block::kSamples),
        positions_(task.out_height * task.out_width) {
#pragma unroll
    for (int pair = 0; pair < kPositionPairs; ++pair) {
      const int position = pair * 16 + lane_ / 16 * 8 + lane_ % 8;
      const int there = position < positions_ ? position : 0;
      patch_position_[pair] =
          there / task.out_width * task.patch_step_height * task.patch_width + there % task.out_width * task.patch_step_width;
    }
  }

  __device__ void run() {
    const int steps = task_.cell_in / Block::kSlab * task_.in_cells;
    copy_attention();
    copy_cells(0);
    copy_inputs(0);
    for (int step = 0; step < steps; ++step) {
      commit_copies();
      wait_copies<0>();
      syncthreads();
      mix(step % task_.in_cells);
      syncthreads();
      if (step + 1 < steps) {  // while this step's weights are used
        if ((step + 1) % task_.in_cells == 0) copy_cells((step + 1) / task_.in_cells);
        copy_inputs(step + 1);
      }
      convolve(step);
    }
    syncthreads();
    finish();
  }

 private:
  static constexpr int kPositionPairs = (Block::kPositionTiles + 1) / 2;

  __device__ bfloat16* attention_of(int in_cell) const {
    return reinterpret_cast<bfloat16*>(shared_ + memory_.attention) + in_cell * memory_.attention_rows * memory_.attention_stride;
  }
  __device__ bfloat16* cells() const { return reinterpret_cast<bfloat16*>(shared_ + memory_.cells); }
  __device__ unsigned char* inputs(int step) const {
    return shared_ + memory_.inputs + step % 2 * Block::kSamples * memory_.patch * Block::kSlab * 2;
  }
  __device__ unsigned char* weights(int row) const { return shared_ + memory_.weights + row * Block::kWeightBytes; }

  /** For each position of cells along the input, the rows of this block's samples and taps. */
  __device__ void copy_attention() const {
    const int out_cell = first_channel_ / task_.cell_out, vectors = task_.depth / 8;
    for (int index = thread_; index < task_.in_cells * memory_.attention_rows * vectors; index += Block::kThreads) {
      const int column = index % vectors * 8, row = index / vectors % memory_.attention_rows,
                in_cell = index / vectors / memory_.attention_rows;
      const int sample = first_sample_ + row / Block::kTaps, tap = row % Block::kTaps;
      const bool valid = row < Block::kRows && sample < task_.samples && column < task_.attention_length;
      const int mixture = (tap * task_.out_cells + out_cell) * task_.in_cells + in_cell;
      const long long from = (static_cast<long long>(sample) * task_.mixtures + mixture) * task_.attention_length + column;
      copy_async_16(attention_of(in_cell) + row * memory_.attention_stride + column, valid ? task_.attention + from : task_.attention,
                    valid);
    }
  }

  /** Of each cell, this block's output channels and 16 input channels. */
  __device__ void copy_cells(int slab) const {
    constexpr int kVectors = Block::kChannels * 2;
    for (int index = thread_; index < task_.depth * kVectors; index += Block::kThreads) {
      const int cell = index / kVectors, channel = index % kVectors / 2, half = index % 2;
      const bool valid = cell < task_.cell_count;
      const long long row = static_cast<long long>(cell) * task_.cell_out + first_channel_ % task_.cell_out + channel;
      const bfloat16* from = task_.cells + row * task_.cell_in + slab * Block::kSlab + half * 8;
      copy_async_16(cells() + cell * Block::kCellStride + channel * Block::kSlab + half * 8, valid ? from : task_.cells, valid);
    }
  }

  /** The step's 16 channels of each sample's patch. */
  __device__ void copy_inputs(int step) const {
    unsigned char* to = inputs(step);
    const int channel = step % task_.in_cells * task_.cell_in + step / task_.in_cells * Block::kSlab;
    for (int index = thread_; index < Block::kSamples * memory_.patch * 2; index += Block::kThreads) {
      const int half = index % 2, place = index / 2, position = place % memory_.patch, sample = first_sample_ + place / memory_.patch;
      const int row = position / task_.patch_width * task_.input_step_height - task_.padding_height;
      const int column = position % task_.patch_width * task_.input_step_width - task_.padding_width;
      const bool valid = sample < task_.samples && row >= 0 && row < task_.height && column >= 0 && column < task_.width;
      const long long from =
          ((static_cast<long long>(sample) * task_.height + row) * task_.width + column) * task_.in_channels + channel + half * 8;
      copy_async_16(to + place * 32 + swizzled_half(position, half), valid ? task_.x + from : task_.x, valid);
    }
  }

  /** The weights of all samples and taps for the step's channels: attention times cells. Each warp makes 32 elements of 8 warps' 256 at a
   * time. */
  __device__ void mix(int in_cell) const {
    constexpr int kColumnTiles = 4;
#pragma unroll 1
    for (int part = 0; part < Block::kChannelTiles; ++part) {
      const int first_element = (part * Block::kSamples + warp_) * kColumnTiles * 8;
      float sums[Block::kRowTiles][kColumnTiles][4] = {};
      for (int depth = 0; depth < task_.depth; depth += 16) {
        std::uint32_t rows[Block::kRowTiles][4], columns[kColumnTiles][2];
#pragma unroll
        for (int i = 0; i < Block::kRowTiles; ++i) {
          load_matrix_x4(rows[i], attention_of(in_cell) + (i * 16 + lane_ % 16) * memory_.attention_stride + depth + lane_ / 16 * 8);
        }
#pragma unroll
        for (int j = 0; j < kColumnTiles; j += 2) {
          std::uint32_t pair[4];
          load_matrix_x4_transposed(pair, cells() + (depth + lane_ % 16) * Block::kCellStride + first_element + j * 8 + lane_ / 16 * 8);
          columns[j][0] = pair[0], columns[j][1] = pair[1];
          columns[j + 1][0] = pair[2], columns[j + 1][1] = pair[3];
        }
        multiply_tile(sums, rows, columns);
      }
#pragma unroll
      for (int i = 0; i < Block::kRowTiles; ++i) {
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) {
          const int element = first_element + j * 8, channel = element / Block::kSlab, half = element / 8 % 2;
          unsigned char* at = weights(i * 16 + lane_ / 4) + channel * 32 + swizzled_half(channel, half) + lane_ % 4 * 4;
          store_vector(at, pack_bfloat16(sums[i][j][0], sums[i][j][1]));
          store_vector(at + 8 * Block::kWeightBytes, pack_bfloat16(sums[i][j][2], sums[i][j][3]));
        }
      }
    }
  }

  /** Adds the step's channels to the sums of this warp's sample: for each tap, weights [channels,16] times inputs [16,positions]. */
  __device__ void convolve(int step) {
    const unsigned char* patch = inputs(step) + warp_ * memory_.patch * 32;
    for (int tap = 0; tap < Block::kTaps; ++tap) {
      const int moved =
          tap / task_.kernel_width * task_.dilation_height * task_.patch_width + tap % task_.kernel_width * task_.dilation_width;
      std::uint32_t rows[Block::kChannelTiles][4], columns[Block::kPositionTiles][2];
#pragma unroll
      for (int i = 0; i < Block::kChannelTiles; ++i) {
        const int channel = i * 16 + lane_ % 16;
        load_matrix_x4(rows[i], weights(warp_ * Block::kTaps + tap) + channel * 32 + swizzled_half(channel, lane_ / 16));
      }
#pragma unroll
      for (int pair = 0; pair < kPositionPairs; ++pair) {
        const int position = patch_position_[pair] + moved;
        std::uint32_t four[4];
        load_matrix_x4(four, patch + position * 32 + swizzled_half(position, lane_ / 8 % 2));
        columns[2 * pair][0] = four[0], columns[2 * pair][1] = four[1];
        if (2 * pair + 1 < Block::kPositionTiles) columns[2 * pair + 1][0] = four[2], columns[2 * pair + 1][1] = four[3];
      }
      multiply_tile(sums_, rows, columns);
    }
  }

  /** The epilogue, through shared memory, so that neighbouring lanes have neighbouring channels. */
  __device__ void finish() const {
    float* result = reinterpret_cast<float*>(shared_) + warp_ * positions_ * Block::kResultStride;
#pragma unroll
    for (int i = 0; i < Block::kChannelTiles; ++i) {
#pragma unroll
      for (int j = 0; j < Block::kPositionTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int channel = i * 16 + lane_ / 4 + e / 2 * 8, position = j * 8 + lane_ % 4 * 2 + e % 2;
          if (position < positions_) result[position * Block::kResultStride + channel] = sums_[i][j][e];
        }
      }
    }
    syncwarp();
    const int sample = first_sample_ + warp_;
    constexpr int kVectors = Block::kChannels / 8;
    const int first = lane_ % kVectors * 8;  // of this lane's channels
    float2 channels[8];
    float totals[8] = {};
#pragma unroll
    for (int c = 0; c < 8; ++c) channels[c] = task_.epilogue.channel(first_channel_ + first + c);
    for (int position = lane_ / kVectors; position < positions_ && sample < task_.samples; position += kWarpSize / kVectors) {
      const long long offset = (static_cast<long long>(sample) * positions_ + position) * task_.out_channels + first_channel_ + first;
      ChannelVector<bfloat16> values;
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        values.value[c] = task_.epilogue.finish<bfloat16>(result[position * Block::kResultStride + first + c], channels[c], offset + c);
        totals[c] += as_stored<bfloat16>(values.value[c]);
      }
      values.store(task_.y + offset);
    }
    if (!task_.means) return;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
#pragma unroll
      for (int distance = kVectors; distance < kWarpSize; distance *= 2) totals[c] += shuffle_xor(totals[c], distance);
      if (lane_ < kVectors && sample < task_.samples) {
        task_.means[static_cast<long long>(sample) * task_.out_channels + first_channel_ + first + c] =
            totals[c] / static_cast<float>(positions_);
      }
    }
  }

  const FusedTask& task_;
  const FusedMemory<Block> memory_;
  unsigned char* const shared_;
  const int thread_, lane_, warp_;
  const int first_channel_, first_sample_;
  const int positions_;
  int patch_position_[kPositionPairs];  // of the output positions that this lane loads inputs of
  float sums_[Block::kChannelTiles][Block::kPositionTiles][4] = {};
};

/** y = epilogue(convolution(x, attention * cells)). blockIdx.x: channels, blockIdx.y: samples. */
template <class Block>
__global__ void __launch_bounds__(Block::kThreads) fused_mixed_convolution(FusedTask task) {
  FusedMixedConvolution<Block>(task).run();
}

}  // namespace kw::cuda::device
