// A prepared convolution pass on the GPU, over samples that share one weight or have one each. What static and sample-wise convolutions are
// made of, and mixed ones, which assemble the weights of some samples, run the pass over these, and go on with the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "cuda/convolution/tile_plan.h"
#include "cuda/device.h"
#include "ops/activation.h"
#include "ops/convolution.h"
#include "runtime/backend.h"

namespace kw::cuda {

namespace device {
struct GatherProblem;
struct WeightGradientProblem;
}  // namespace device

class LibraryConvolution;

struct ConvolutionOptions {
  DataType activations = DataType::float32;  // x, y and residual
  // The weight as it stands in memory, or its gradient as it is to be written: float32, or bfloat16 with activations of that. Where it
  // is float32 and the activations are bfloat16, it is rounded to bfloat16 on its way into the products, once for each run.
  DataType weights = DataType::float32;
  bool shares_weight = false;                // one weight, [O,kernel,C/groups], for all samples
  Activation activation = Activation::none;  // after the forward pass
  bool gives_means = false;                  // the forward pass; not with a shared weight
  // What else the forward pass's runs end in, for a library's kernel, which is chosen beforehand.
  bool adds_bias = false;
  bool normalizes = false;
  bool adds_residual = false;
};

// The inputs of a BatchNorm with fixed statistics after a convolution, each [O]: y = (x - mean) / sqrt(variance + epsilon) * scale + shift.
struct ConvolutionNormalization {
  const float* scale = nullptr;  // null: no normalization
  const float* shift = nullptr;
  const float* mean = nullptr;
  const float* variance = nullptr;
  double epsilon = 0;
};

// Device memory of one run over `samples` consecutive samples. The pass decides which of x, weight and y it writes. Addresses are multiples
// of their elements' size; the fast kernels need multiples of 16 bytes, also of each sample's weight, and others take what is not.
struct ConvolutionRun {
  int64_t samples;        // at most the geometry's batch
  const void* x;          // of the first sample, [samples,size,C]
  const void* weight;     // of the first sample, [O,kernel,C/groups]
  int64_t weight_stride;  // elements from one sample's weight to the next's; of no meaning where it is shared
  const void* y;          // of the first sample, [samples,out_size,O]
  // Of the forward pass: y = activation(normalization(convolution + bias) + residual).
  const float* bias = nullptr;  // [O]; null: none
  ConvolutionNormalization normalization = {};
  const void* residual = nullptr;  // of the first sample, as y, and may be y's memory; null: none
  float* means = nullptr;          // [samples,O], of y over its positions; exactly with gives_means
};

class Convolution {
 public:
  // `gpu` outlives it. `geometry` with the whole batch, or with the most samples of one run. Throws unsupported for a sample or a weight of
  // 2^31 elements or more.
  Convolution(const Device& gpu, const ConvolutionGeometry& geometry, ConvolutionPass pass, const ConvolutionOptions& options);

  // Enough for a run over `samples` samples; grows with them.
  size_t scratch_bytes(int64_t samples) const;
  size_t scratch_bytes() const { return scratch_bytes(geometry_.batch); }
  // Queues the pass on the GPU's stream. `scratch` (device memory, 64-byte aligned) is free again for what is queued after it. The same run
  // gives the same bits, also where the samples are run in other portions, unless the weight is shared.
  void run(const ConvolutionRun& run, std::byte* scratch) const;

 private:
  int64_t weights_in(int64_t samples) const { return options_.shares_weight ? 1 : samples; }
  size_t gradient_bytes(int64_t samples) const;
  device::GatherProblem gather_problem(int64_t samples, bool backward) const;
  device::WeightGradientProblem gradient_problem(int64_t samples) const;
  // Of samples whose weights are rounded together.
  int64_t portion() const;
  void gather(const ConvolutionRun& run, const void* weight, int64_t weight_stride, std::byte* scratch) const;
  void sum_gradient(const ConvolutionRun& run, std::byte* scratch) const;
  int64_t choose_parts() const;

  const Device& gpu_;
  const ConvolutionGeometry geometry_;
  const ConvolutionPass pass_;
  const ConvolutionOptions options_;
  const bool rounds_weights_;                          // to bfloat16, into scratch
  bool by_tiles_ = true;                               // where not depth-wise
  TilePlan tiles_;                                     // for the weight's gradient, parts of the positions
  std::shared_ptr<const LibraryConvolution> library_;  // where a library's kernel comes first; else null
};

// What follows a convolution in an inference program, as its kernels want it.
class NormalizedEpilogue {
 public:
  explicit NormalizedEpilogue(const InferenceEpilogue& of) : of_(of) {}

  Activation activation() const { return of_.activation; }
  bool gives_means() const { return of_.means != nullptr; }
  // Fills in what the runs end in.
  void fill_in(ConvolutionOptions& options) const;
  // Fills in bias, normalization, residual and means of a run that begins with `first_sample`.
  void fill_in(const Memory& memory, int64_t first_sample, ConvolutionRun& run) const;

 private:
  InferenceEpilogue of_;
};

// Refuses sizes that kernels would compute with in 32 bits (unsupported).
void refuse_large(const KernelContext& context, const ConvolutionGeometry& geometry);

}  // namespace kw::cuda
