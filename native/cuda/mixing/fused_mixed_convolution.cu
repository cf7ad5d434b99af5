#include "cuda/mixing/fused_mixed_convolution.h"

#include <algorithm>
#include <type_traits>

#include "cuda/convolution/convolution_methods.h"
#include "cuda/grid.h"
#include "cuda/launch.h"
#include "ops/checks.h"

namespace kw::cuda {

namespace {

using device::FusedBlock;

constexpr int kSamples = FusedBlock<1, 1>::kSamples;

// Calls visit(FusedBlock) with the kernel's sizes.
template <class Visit>
auto with_block(int taps, int channels, const Visit& visit) {
  if (taps == 9) return channels == 32 ? visit(FusedBlock<9, 2>()) : visit(FusedBlock<9, 1>());
  return channels == 32 ? visit(FusedBlock<1, 2>()) : visit(FusedBlock<1, 1>());
}

bool serves(const ConvolutionGeometry& geometry, const CellGrid& grid) {
  const int64_t taps = product(geometry.kernel), positions = product(geometry.out_size);
  return geometry.groups == 1 && (taps == 1 || taps == 9) && positions <= FusedBlock<1, 1>::kPositions && grid.cell_height == 1 &&
         grid.cell_width == 1 && grid.cell_in % 16 == 0 && grid.cell_out % 16 == 0;
}

}  // namespace

FusedMixedConvolution::FusedMixedConvolution(const Device& gpu, const ConvolutionGeometry& geometry, const CellGrid& grid,
                                             Activation activation, int channels)
    : gpu_(gpu), taps_(static_cast<int>(product(geometry.kernel))), channels_(channels) {
  const auto number = [](int64_t value) { return static_cast<int>(value); };
  const Bounds bounds = bounds_of(activation);
  task_.epilogue.least = bounds.least, task_.epilogue.most = bounds.most;
  task_.samples = number(geometry.batch), task_.mixtures = number(grid.mixtures());
  task_.cell_count = number(grid.cells);
  task_.attention_length = number(whole_parts(grid.cells, 8) * 8), task_.depth = number(whole_parts(grid.cells, 16) * 16);
  task_.out_cells = number(grid.out_channels / grid.cell_out), task_.in_cells = number(grid.in_channels / grid.cell_in);
  task_.cell_out = number(grid.cell_out), task_.cell_in = number(grid.cell_in);
  task_.height = number(geometry.size[0]), task_.width = number(geometry.size[1]), task_.in_channels = number(geometry.in_channels);
  task_.out_height = number(geometry.out_size[0]), task_.out_width = number(geometry.out_size[1]),
  task_.out_channels = number(geometry.out_channels);
  task_.kernel_width = number(geometry.kernel[1]);
  task_.padding_height = number(geometry.padding[0]), task_.padding_width = number(geometry.padding[1]);
  task_.dilation_height = number(geometry.dilation[0]), task_.dilation_width = number(geometry.dilation[1]);
  const auto set_axis = [&](size_t axis, int& patch, int& input_step, int& patch_step) {
    const int64_t outputs = geometry.out_size[axis], stride = geometry.stride[axis];
    input_step = number(taps_ == 1 ? stride : 1), patch_step = number(taps_ == 1 ? 1 : stride);
    patch = number((outputs - 1) * patch_step + (geometry.kernel[axis] - 1) * geometry.dilation[axis] + 1);
  };
  set_axis(0, task_.patch_height, task_.input_step_height, task_.patch_step_height);
  set_axis(1, task_.patch_width, task_.input_step_width, task_.patch_step_width);
}

size_t FusedMixedConvolution::shared_bytes() const {
  return with_block(taps_, channels_, [&](auto block) { return static_cast<size_t>(device::FusedMemory<decltype(block)>(task_).total); });
}

int64_t FusedMixedConvolution::blocks() const { return task_.out_channels / channels_ * whole_parts(task_.samples, kSamples); }

// Compares the bytes that pass through the L2 cache for each weight of each sample, which is what both ways wait for most.
//
// Fused, a block reads 16 bits of every cell for each element of a cell, which makes as many weights as the block has rows of attention for
// it; and 16 bits of the patch for each of the taps and channels that it meets. Assembled, mixing reads the cells once for 128 rows, or for
// a chunk's; a weight is written and read, at the pace of memory if it left the cache; and tiles of 64 channels read an input each for
// every tap. A kernel with fewer blocks than multiprocessors is not worth a thought: assembled, the channels are divided further.
bool FusedMixedConvolution::pays(const Assembled& assembled) const {
  constexpr double kBytes = 2, kMemoryPerCache = 1.8;  // 5.5 TB/s from the cache, 3 from memory
  constexpr int kMixingRows = 128, kTileChannels = 64;
  if (blocks() < gpu_.multiprocessors) return false;
  const double n = task_.cell_count, patch = task_.patch_height * task_.patch_width, positions = task_.out_height * task_.out_width;
  const double fused = kBytes * n / (kSamples * taps_ * task_.in_cells) + kBytes * patch / (taps_ * channels_);
  const double rows = std::min<double>(kMixingRows, static_cast<double>(assembled.samples_of_chunk) * task_.mixtures);
  const double mixed = kBytes * n / rows + 2 * kBytes * (assembled.in_cache ? 1 : kMemoryPerCache) + kBytes * positions / kTileChannels;
  return fused < mixed;
}

int FusedMixedConvolution::choose_channels(const Device& gpu, const ConvolutionGeometry& geometry, const CellGrid& grid,
                                           const Assembled& assembled) {
  if (!serves(geometry, grid)) return 0;
  for (const int channels : {32, 16}) {
    if (grid.cell_out % channels != 0) continue;
    const FusedMixedConvolution fused(gpu, geometry, grid, Activation::none, channels);
    if (fused.shared_bytes() <= gpu.shared_memory && fused.pays(assembled)) return channels;
  }
  return 0;
}

bool FusedMixedConvolution::takes(const ConvolutionRun& run) { return is_aligned(run.x) && is_aligned(run.y) && is_aligned(run.residual); }

void FusedMixedConvolution::run(const ConvolutionRun& run, const std::byte* attention, const std::byte* cells) const {
  using device::bfloat16;
  device::FusedTask task = task_;
  task.x = static_cast<const bfloat16*>(run.x);
  task.attention = reinterpret_cast<const bfloat16*>(attention);
  task.cells = reinterpret_cast<const bfloat16*>(cells);
  task.y = static_cast<bfloat16*>(const_cast<void*>(run.y));
  task.means = run.means;
  task.samples = static_cast<int>(run.samples);
  const ConvolutionNormalization& normalization = run.normalization;
  task.epilogue = {run.bias,           normalization.scale,    normalization.shift,
                   normalization.mean, normalization.variance, normalization.epsilon,
                   run.residual,       task_.epilogue.least,   task_.epilogue.most};
  const dim3 grid(static_cast<unsigned>(task.out_channels / channels_), static_cast<unsigned>(whole_parts(run.samples, kSamples)));
  with_block(taps_, channels_, [&](auto block) {
    launch(device::fused_mixed_convolution<decltype(block)>, grid, decltype(block)::kThreads, shared_bytes(), gpu_.stream, task);
  });
}

}  // namespace kw::cuda
