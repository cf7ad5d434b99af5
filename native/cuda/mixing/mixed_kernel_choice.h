// Which kernels compute a mixed convolution. lib/bench/kernel_choice.ts has the same rule, for GPUs that are not there;
// test/native/cuda/mixed_kernel_choices.json holds both to the same answers.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "ops/convolution.h"
#include "ops/mixing.h"

namespace kw::cuda {

struct MixedKernelChoice {
  int64_t samples;     // of a chunk, whose weights are assembled, then used; 1 to the batch
  bool in_cache;       // a chunk's weights are still in the L2 cache when they are read
  int fused_channels;  // output channels of a block of FusedMixedConvolution, which comes first; 0: it is not taken
};

// `grid` divides a weight of the geometry; `type`: of the activations. Of `gpu` the multiprocessors, shared memory and L2 cache count.
MixedKernelChoice choose_mixed_kernel(const Device& gpu, const ConvolutionGeometry& geometry, const CellGrid& grid, DataType type,
                                      ConvolutionPass pass);

// Elements from one sample's assembled weight to the next's, a multiple of 64 bytes.
int64_t assembled_weight_stride(const ConvolutionGeometry& geometry);

}  // namespace kw::cuda
