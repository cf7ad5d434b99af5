// A prepared convolution pass over oneDNN, for the whole batch or sample by sample with weights of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cpu/onednn.h"
#include "ops/convolution.h"
#include "runtime/backend.h"

namespace kw::cpu {

// Refuses sizes that oneDNN 2.6 would compute with in 32 bits (unsupported): crashes are what it answers.
void refuse_large(const KernelContext& context, const ConvolutionGeometry& geometry);

// The layout of plain weights, [O,kernel,C/groups], as oneDNN names axes.
dnnl::memory::desc plain_weight_desc(const ConvolutionGeometry& geometry);

// What each index contributes to an element's offset in a weight of two spatial dimensions: offset(o,p,q,i) = out[o] + row[p] + column[q] +
// in[i].
struct WeightOffsets {
  std::vector<int64_t> out, row, column, in;
};
WeightOffsets plain_weight_offsets(int64_t out_channels, int64_t kernel_height, int64_t kernel_width, int64_t in_channels);
// Nothing when the layout is not made of blocks or pads the weight.
std::optional<WeightOffsets> weight_offsets(const dnnl::memory::desc& desc, const ConvolutionGeometry& geometry);

// What a pass reads and writes: float32, or bfloat16 for x, y and the weight (but not its gradient).
struct ConvolutionTypes {
  DataType x = DataType::float32, weight = DataType::float32, y = DataType::float32;
};

struct ConvolutionOptions {
  bool has_bias = false;
  ConvolutionTypes types = {};
  std::optional<dnnl::memory::desc> weight = {};  // a layout; without, that which oneDNN prefers
  // Forward only: y = activation(x * weight * factor + shift + y), factor and shift for each channel if it scales, the last y if it adds.
  bool scales = false;
  bool adds_to_y = false;
  Activation activation = Activation::none;
  bool mixed = false;  // from cells: one layout for all layers spares copies of the cells
};

// Each [O], and null where the pass has none.
struct ConvolutionVectors {
  const float* bias = nullptr;
  const float* factor = nullptr;
  const float* shift = nullptr;
};

class DirectConvolution;

// One pass over a batch with one weight, by oneDNN or, where that is slow, by DirectConvolution.
class Convolution {
 public:
  // Throws kw::Error (unsupported) where oneDNN has no implementation for this processor.
  Convolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads, const ConvolutionOptions& options);

  const dnnl::memory::desc& weight_desc() const { return prepared_.weight; }
  const std::string& implementation() const { return prepared_.implementation; }
  // oneDNN's plain loops, which are there to be correct.
  bool slow() const { return prepared_.implementation.find("ref") != std::string::npos; }
  size_t scratchpad_bytes() const { return prepared_.scratchpad.get_size(); }

  // `x` and `y` are the activation, or its gradient, on the input and on the output side; the pass decides what it writes. To be called
  // under a ThreadLimit of the constructor's threads, or, when that is 1, from within a parallel region.
  dnnl_status_t run(const void* x, const void* weight, const void* y, const ConvolutionVectors& vectors, void* scratchpad) noexcept;

 private:
  PreparedPrimitive prepared_;
  bool has_bias_ = false;
  std::optional<BoundPrimitive> bound_;  // unless `direct_`
  std::shared_ptr<const DirectConvolution> direct_;
};

// The types for activations of `activations`: bfloat16 throughout where this processor has a fast implementation of that, else float32; the
// activations are then to be widened, and the weight to hold what bfloat16 would keep of it.
ConvolutionTypes computed_types(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads, DataType activations);

// Whether some position of y meets nothing but padding. There oneDNN 2.6 crashes in what follows a convolution (a sum, an activation,
// factors).
bool has_position_in_padding(const ConvolutionGeometry& geometry);

// Whether a forward pass with these options (`scales`, `adds_to_y`, `activation`) costs no more than without them.
bool scales_cheaply(const ConvolutionGeometry& geometry, int threads, ConvolutionOptions options);

// A conversion between two layouts of one weight.
class Reorder {
 public:
  Reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to, int threads);
  size_t scratchpad_bytes() const { return prepared_.scratchpad.get_size(); }
  dnnl_status_t run(const void* from, void* to, void* scratchpad) noexcept;

 private:
  PreparedPrimitive prepared_;
  std::optional<BoundPrimitive> bound_;
};

}  // namespace kw::cpu
