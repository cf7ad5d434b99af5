// A convolution of our own where oneDNN's is slow: on AVX2, kernels of more than one position. (Measured with oneDNN 2.6: 3x3 over 256 and
// more channels reaches half of what this does, strided ones two thirds; its 1x1 kernels are a tenth faster than this, and its AVX-512
// kernels have nothing to gain.) It also serves 1x1 kernels whose weights are mixed: the layers of a warehouse then share a copy of the
// cells.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cpu/convolution/convolution.h"

namespace kw::cpu {

// Whether oneDNN runs on AVX2 here, on which that was measured.
bool onednn_is_slow();

// Forward, or backward_input, which is the same loop: output channels in panels of 16, a few positions at a time, over all kernel positions
// (taps) and channels of the other side. Weight layout: [panels, kernel, channels, 16].
class DirectConvolution {
 public:
  // Whether it should do this pass on this processor, and can.
  static bool serves(const ConvolutionGeometry& geometry, ConvolutionPass pass, const ConvolutionOptions& options);
  // The layout of its weights, as oneDNN names axes.
  static dnnl::memory::desc weight_desc(const ConvolutionGeometry& geometry, ConvolutionPass pass);

  DirectConvolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads, const ConvolutionOptions& options);

  // As Convolution::run.
  void run(const float* x, const float* weight, const float* y, const ConvolutionVectors& vectors) const noexcept;

 private:
  // A kernel position as the written side sees it: position (i, j) reads (i * step + row, j * step + column).
  struct Tap {
    int64_t index, row, column;
  };
  // Positions of the written side that meet the same taps: with a stride, backward_input has one such set for each remainder.
  struct Positions {
    int64_t first_row, first_column, rows, columns;
    std::vector<Tap> taps;
  };

  void run_tiles(const Positions& positions, int64_t first, int64_t last, const float* input, const float* panel,
                 const ConvolutionVectors& vectors, float* output) const;

  using Pair = std::array<int64_t, 2>;  // height, width

  int threads_;
  bool forward_, adds_;
  float least_, most_;
  int64_t batch_, kernel_positions_;
  int64_t channels_, out_channels_;  // of the side that is read, and of the one that is written
  Pair size_, out_size_;
  Pair read_step_, written_step_;
  std::vector<Positions> positions_;
  int64_t blocks_ = 1;        // of positions
  std::vector<float> zeros_;  // stands for what the padding adds
};

}  // namespace kw::cpu
