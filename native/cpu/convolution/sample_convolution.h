// One pass of a convolution over many samples, each with its own weight: what mixed convolutions need of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "cpu/convolution/convolution.h"

namespace kw::cpu {

class SampleConvolution {
 public:
  // Of a forward pass that ends in an epilogue.
  struct Finishing {
    Activation activation = Activation::none;
    bool residual = false;
  };
  struct Options {
    bool has_bias = false;
    // How the weights come and go: as float32 [O,kernel,C/groups], converted on the way where the pass wants them otherwise (and rounded to
    // bfloat16 if that is what activations are); as it wants them, rounded already; or that in blocks of 16 channels by 16, in which more
    // cells keep their shape.
    enum class Weights { plain, preferred, blocks } weights = Weights::plain;
    DataType activations = DataType::float32;
    std::optional<Finishing> finishing = {};
  };

  virtual ~SampleConvolution() = default;

  DataType weight_type() const { return weight_type_; }
  size_t weight_bytes() const { return weight_bytes_; }  // of one sample's
  // Of a weight of two spatial dimensions. Nothing when the layout is not made of blocks, or has more elements than the weight.
  const std::optional<WeightOffsets>& offsets() const { return offsets_; }
  size_t scratch_bytes() const { return scratch_bytes_; }

  // What the forward pass does to each sample's result, on the same thread, while it is in cache.
  struct Finish {
    Epilogue epilogue;
    const void* residual = nullptr;  // of the first sample and the activations' type; may be y's memory
    float* means = nullptr;          // [samples, O], each `means_stride` after the other
    int64_t means_stride = 0;
  };
  // Consecutive samples.
  struct Samples {
    int64_t count;
    const void* x;
    const void* weights;    // of `weight_type`
    int64_t weight_stride;  // elements
    const void* y;
    const float* bias = nullptr;
    const Finish* finish = nullptr;  // exactly with Options::finishing
  };
  // Throws kw::Error when oneDNN fails.
  virtual void run(const Samples& samples, std::byte* scratch) = 0;

 protected:
  DataType weight_type_ = DataType::float32;
  size_t weight_bytes_ = 0;
  std::optional<WeightOffsets> offsets_;
  size_t scratch_bytes_ = 0;
};

// By oneDNN. `geometry` with the whole batch. Throws kw::Error (unsupported) for blocks where oneDNN has nothing fast for them.
std::unique_ptr<SampleConvolution> samplewise_convolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads,
                                                          const SampleConvolution::Options& options);

}  // namespace kw::cpu
