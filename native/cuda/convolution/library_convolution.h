// Convolutions by NVIDIA's libraries, where they are there and do it well: those of one position for each output as matrix products
// (cuBLASLt), others with one weight for the batch by cuDNN.
#pragma once

#include <cstddef>
#include <memory>

#include "cuda/convolution/convolution.h"
#include "cuda/libraries/library_plans.h"

namespace kw::cuda {

class LibraryConvolution {
 public:
  // Null where ours are to run.
  static std::unique_ptr<LibraryConvolution> find(const Device& gpu, const ConvolutionGeometry& geometry, ConvolutionPass pass,
                                                  const ConvolutionOptions& options);

  size_t scratch_bytes() const;
  // Queues the pass with `weight` in the type of the activations, or of its gradient. False where the library does not take this run, by
  // its addresses or by what it ends in: nothing has been queued then. `scratch`: device memory at a multiple of 64.
  bool run(const ConvolutionRun& run, const void* weight, int64_t weight_stride, std::byte* scratch) const;

 private:
  LibraryConvolution(const Device& gpu, const ConvolutionGeometry& geometry, ConvolutionPass pass, const ConvolutionOptions& options)
      : gpu_(gpu), geometry_(geometry), pass_(pass), options_(options) {}

  ProductRequest product_request() const;
  ConvolutionRequest convolution_request() const;
  bool takes(const ConvolutionRun& run, const void* weight, int64_t weight_stride) const;
  bool multiply(const ConvolutionRun& run, const void* weight, int64_t weight_stride, std::byte* scratch) const;
  bool convolve(const ConvolutionRun& run, const void* weight, std::byte* scratch) const;
  size_t factor_bytes() const;
  size_t row_bytes() const;  // of the scale, and of the shift, each as aligned as the library wants it

  const Device& gpu_;
  const ConvolutionGeometry geometry_;
  const ConvolutionPass pass_;
  const ConvolutionOptions options_;
  std::shared_ptr<const ProductPlan> product_;  // one of the two
  std::shared_ptr<const ConvolutionPlan> convolution_;
};

}  // namespace kw::cuda
