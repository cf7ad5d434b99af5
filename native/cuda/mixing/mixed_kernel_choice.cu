#include "cuda/mixing/mixed_kernel_choice.h"

#include <vector>

#include "cuda/grid.h"
#include "cuda/mixing/fused_mixed_convolution.h"
#include "cuda/mixing/sample_chunks.h"
#include "ops/checks.h"

namespace kw::cuda {

namespace {

// Positions and channels of the output that a block of the convolution makes, about.
constexpr int64_t kTile = 64;

int64_t tiles_of(int64_t rows, int64_t columns) { return whole_parts(rows, kTile) * whole_parts(columns, kTile); }

int64_t choose_samples(const Device& gpu, const ConvolutionGeometry& geometry, const CellGrid& grid, DataType type, int64_t weight_bytes,
                       ConvolutionPass pass) {
  const int64_t cell_elements = grid.cells * grid.cell_elements(), cell_bytes = cell_elements * element_bytes(type);
  switch (pass) {
    case ConvolutionPass::forward:
      return samples_of_chunk(gpu, geometry.batch, weight_bytes, tiles_of(product(geometry.out_size), geometry.out_channels), cell_bytes);
    case ConvolutionPass::backward_input:
      return samples_of_chunk(gpu, geometry.batch, weight_bytes, tiles_of(product(geometry.size), geometry.in_channels), cell_bytes);
    case ConvolutionPass::backward_weight:
      break;
  }
  // The sums of dcells, read and written.
  const int64_t sum_bytes = 2 * cell_elements * static_cast<int64_t>(sizeof(float));
  const int64_t columns = geometry.weight_elements() / geometry.out_channels;
  return samples_of_chunk(gpu, geometry.batch, weight_bytes, tiles_of(geometry.out_channels, columns), sum_bytes);
}

}  // namespace

int64_t assembled_weight_stride(const ConvolutionGeometry& geometry) { return whole_parts(geometry.weight_elements(), 32) * 32; }

MixedKernelChoice choose_mixed_kernel(const Device& gpu, const ConvolutionGeometry& geometry, const CellGrid& grid, DataType type,
                                      ConvolutionPass pass) {
  const int64_t weight_bytes = assembled_weight_stride(geometry) * element_bytes(type);
  MixedKernelChoice choice = {choose_samples(gpu, geometry, grid, type, weight_bytes, pass), false, 0};
  choice.in_cache = 2 * choice.samples * weight_bytes <= static_cast<int64_t>(gpu.l2_bytes) / 2;
  if (pass == ConvolutionPass::forward && type == DataType::bfloat16) {
    choice.fused_channels = FusedMixedConvolution::choose_channels(gpu, geometry, grid, {choice.samples, choice.in_cache});
  }
  return choice;
}

}  // namespace kw::cuda
