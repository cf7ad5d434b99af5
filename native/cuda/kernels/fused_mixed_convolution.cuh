// Mixing and convolving in one kernel, for outputs of few positions: a sample's weights never leave the multiprocessor. A block has some
// samples, some output channels and all positions. It goes through the input channels 16 at a time: its warps together mix the weights of
// these channels for all of its samples, so that cells are read once for all of them; then each warp convolves a sample of its own.
#pragma once

#include "cuda/kernels/convolution_problem.cuh"
#include "cuda/kernels/shared_tile.cuh"

namespace kw::cuda::device {

/** Sizes of a block's work. `kTaps`: positions of the kernel; `kChannelTiles`: 16 output channels each. */
template <int kTapsOf, int kChannelTilesOf>
struct FusedBlock {
  static constexpr int kTaps = kTapsOf, kChannelTiles = kChannelTilesOf, kChannels = 16 * kChannelTiles;
  static constexpr int kSamples = 8, kThreads = kSamples * kWarpSize;
  static constexpr int kDepth = 16;               // of a k-tile: input channels
  static constexpr int kRows = kSamples * kTaps;  // of attention: a sample's taps, sample after sample
  static constexpr int kRowTiles = ceil_divide(kRows, 16);
  static constexpr int kPositionTiles = 7, kPositions = 8 * kPositionTiles;  // of the output, at most
  /** Cells for mixing: their elements of a k-tile by the cells themselves, of which there may be any multiple of 16. */
  using CellTile = SharedTile<bfloat16, kChannels * kDepth, 16, Major::mn, 8>;
  static constexpr int kWeightPitch = kChannels * kDepth + 8;  // from the SwizzledTile of a row's weights to the next
  static constexpr int kResultPitch = kChannels + 4;
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
  int attention_pitch, attention_rows, patch;
  int attention, cells, inputs, weights, total;

  __host__ __device__ explicit FusedMemory(const FusedTask& task)
      : attention_pitch(task.depth + 8), attention_rows(Block::kRowTiles * 16), patch(task.patch_height * task.patch_width) {
    attention = 0;
    cells = attention + task.in_cells * attention_rows * attention_pitch * 2;
    inputs = cells + task.depth * Block::CellTile::kPitch * 2;
    weights = inputs + 2 * Block::kSamples * patch * Block::kDepth * 2;
    total = max(weights + attention_rows * Block::kWeightPitch * 2,
                Block::kSamples * task.out_height * task.out_width * Block::kResultPitch * 4);
  }
};

/** K-major, of a depth that is known at run time. */
struct FusedAttentionTile {
  static constexpr Major kMajor = Major::k;
  bfloat16* data;
  int pitch;

  __device__ __forceinline__ bfloat16* at(int row, int k) const { return data + row * pitch + k; }
};

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
    const int k_tiles = task_.cell_in / Block::kDepth * task_.in_cells;
    copy_attention();
    copy_cells(0);
    copy_inputs(0);
    for (int k_tile = 0; k_tile < k_tiles; ++k_tile) {
      commit_copies();
      wait_copies<0>();
      syncthreads();
      mix(k_tile % task_.in_cells);
      syncthreads();
      if (k_tile + 1 < k_tiles) {  // while this k-tile's weights are used
        if ((k_tile + 1) % task_.in_cells == 0) copy_cells((k_tile + 1) / task_.in_cells);
        copy_inputs(k_tile + 1);
      }
      convolve(k_tile);
    }
    syncthreads();
    finish();
  }

 private:
  using CellTile = typename Block::CellTile;
  static constexpr int kPositionPairs = (Block::kPositionTiles + 1) / 2;

  __device__ FusedAttentionTile attention(int in_cell) const {
    return {elements(memory_.attention) + in_cell * memory_.attention_rows * memory_.attention_pitch, memory_.attention_pitch};
  }
  __device__ CellTile cells() const { return CellTile(elements(memory_.cells)); }
  /** [positions of the patch][channels]. */
  __device__ SwizzledTile inputs(int k_tile, int sample) const {
    return SwizzledTile(elements(memory_.inputs) + (k_tile % 2 * Block::kSamples + sample) * memory_.patch * Block::kDepth);
  }
  /** Of a row of attention, which is a sample and a tap: [output channels][input channels]. */
  __device__ SwizzledTile weights(int row) const { return SwizzledTile(elements(memory_.weights) + row * Block::kWeightPitch); }
  __device__ bfloat16* elements(int offset) const { return reinterpret_cast<bfloat16*>(shared_ + offset); }

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
      copy_async_16(attention(in_cell).at(row, column), valid ? task_.attention + from : task_.attention, valid);
    }
  }

  /** Of each cell, this block's output channels and one slab of input channels, 16 of them. */
  __device__ void copy_cells(int slab) const {
    constexpr int kVectors = Block::kChannels * 2;
    for (int index = thread_; index < task_.depth * kVectors; index += Block::kThreads) {
      const int cell = index / kVectors, channel = index % kVectors / 2, half = index % 2;
      const bool valid = cell < task_.cell_count;
      const long long row = static_cast<long long>(cell) * task_.cell_out + first_channel_ % task_.cell_out + channel;
      const bfloat16* from = task_.cells + row * task_.cell_in + slab * Block::kDepth + half * 8;
      copy_async_16(cells().at(channel * Block::kDepth + half * 8, cell), valid ? from : task_.cells, valid);
    }
  }

  /** The k-tile's 16 channels of each sample's patch. */
  __device__ void copy_inputs(int k_tile) const {
    const int channel = k_tile % task_.in_cells * task_.cell_in + k_tile / task_.in_cells * Block::kDepth;
    for (int index = thread_; index < Block::kSamples * memory_.patch * 2; index += Block::kThreads) {
      const int half = index % 2, position = index / 2 % memory_.patch, of_block = index / 2 / memory_.patch;
      const int sample = first_sample_ + of_block;
      const int row = position / task_.patch_width * task_.input_step_height - task_.padding_height;
      const int column = position % task_.patch_width * task_.input_step_width - task_.padding_width;
      const bool valid = sample < task_.samples && row >= 0 && row < task_.height && column >= 0 && column < task_.width;
      const long long from =
          ((static_cast<long long>(sample) * task_.height + row) * task_.width + column) * task_.in_channels + channel + half * 8;
      copy_async_16(inputs(k_tile, of_block).at(position, half * 8), valid ? task_.x + from : task_.x, valid);
    }
  }

  /** The weights of all samples and taps for the k-tile's channels: attention times cells. Each warp makes 32 elements of 8 warps' 256 at a
   * time. */
  __device__ void mix(int in_cell) const {
    constexpr int kColumnTiles = 4;
#pragma unroll 1
    for (int turn = 0; turn < Block::kChannelTiles; ++turn) {
      const int first_element = (turn * Block::kSamples + warp_) * kColumnTiles * 8;
      float sums[Block::kRowTiles][kColumnTiles][4] = {};
      for (int cell = 0; cell < task_.depth; cell += kFragmentDepth<bfloat16>) {
        FragmentA<bfloat16, Block::kRowTiles> rows;
        FragmentB<bfloat16, kColumnTiles> columns;
        rows.load(attention(in_cell), 0, cell);
        columns.load(cells(), first_element, cell);
        multiply_fragments(sums, rows, columns);
      }
#pragma unroll
      for (int i = 0; i < Block::kRowTiles; ++i) {
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) {
          const int row = i * 16 + lane_ / 4, element = first_element + j * 8;
          const int channel = element / Block::kDepth, k = element % Block::kDepth + lane_ % 4 * 2;
          store_vector(weights(row).at(channel, k), pack_bfloat16(sums[i][j][0], sums[i][j][1]));
          store_vector(weights(row + 8).at(channel, k), pack_bfloat16(sums[i][j][2], sums[i][j][3]));
        }
      }
    }
  }

  /** Adds the k-tile's channels to the sums of this warp's sample: for each tap, weights [channels,16] times inputs [16,positions]. */
  __device__ void convolve(int k_tile) {
    const SwizzledTile patch = inputs(k_tile, warp_);
    for (int tap = 0; tap < Block::kTaps; ++tap) {
      const int moved =
          tap / task_.kernel_width * task_.dilation_height * task_.patch_width + tap % task_.kernel_width * task_.dilation_width;
      FragmentA<bfloat16, Block::kChannelTiles> rows;
      FragmentB<bfloat16, Block::kPositionTiles> columns;
      rows.load(weights(warp_ * Block::kTaps + tap), 0, 0);
#pragma unroll
      for (int pair = 0; pair < kPositionPairs; ++pair) {  // not neighbours in the patch, as FragmentB would take them
        std::uint32_t matrices[4];
        load_matrix_x4(matrices, patch.at(patch_position_[pair] + moved, lane_ / 8 % 2 * 8));
        columns.set_pair(2 * pair, matrices);
      }
      multiply_fragments(sums_, rows, columns);
    }
  }

  /** The epilogue, through shared memory, so that neighbouring lanes have neighbouring channels. */
  __device__ void finish() const {
    float* result = reinterpret_cast<float*>(shared_) + warp_ * positions_ * Block::kResultPitch;
#pragma unroll
    for (int i = 0; i < Block::kChannelTiles; ++i) {
#pragma unroll
      for (int j = 0; j < Block::kPositionTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int channel = i * 16 + lane_ / 4 + e / 2 * 8, position = j * 8 + lane_ % 4 * 2 + e % 2;
          if (position < positions_) result[position * Block::kResultPitch + channel] = sums_[i][j][e];
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
        values.value[c] = task_.epilogue.finish<bfloat16>(result[position * Block::kResultPitch + first + c], channels[c], offset + c);
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
