// Mixing and convolving in one kernel, in bfloat16, for outputs of few positions (the 7x7 stage of a network for images of 224x224): where
// weights are many and convolved few times, writing them to memory and reading them again takes longer than anything else.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/convolution/convolution.h"
#include "cuda/device.h"
#include "cuda/kernels/fused_mixed_convolution.cuh"
#include "ops/mixing.h"

namespace kw::cuda {

class FusedMixedConvolution {
 public:
  // What the alternative is: mixing the weights of that many samples into memory, then convolving them.
  struct Assembled {
    int64_t samples_of_chunk;
    bool in_cache;  // a chunk's weights are still in the L2 cache when they are read
  };

  // How many output channels a block is to have. 0 where the kernel does not serve the shape (one position for each cell, kernels of 1 or 9
  // positions, outputs of at most 56 positions, channels of cells in multiples of 16, no groups), or is expected to be slower than the
  // alternative.
  static int choose_channels(const Device& gpu, const ConvolutionGeometry& geometry, const CellGrid& grid, const Assembled& assembled);

  // `channels`: what choose_channels gave for the same shape. `gpu` outlives it.
  FusedMixedConvolution(const Device& gpu, const ConvolutionGeometry& geometry, const CellGrid& grid, Activation activation, int channels);

  // Whether the run's x, y and residual are at multiples of 16 bytes, as the kernel wants them.
  static bool takes(const ConvolutionRun& run);
  // Queues the forward pass of a run, whose weight does not matter. `attention` and `cells` as CellMixing converts them.
  void run(const ConvolutionRun& run, const std::byte* attention, const std::byte* cells) const;

 private:
  // Of shared memory that a block needs.
  size_t shared_bytes() const;
  int64_t blocks() const;
  bool pays(const Assembled& assembled) const;

  const Device& gpu_;
  device::FusedTask task_ = {};  // all but the addresses
  int taps_, channels_;
};

}  // namespace kw::cuda
