// A prepared convolution pass over oneDNN, for the whole batch or sample by sample with weights of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cpu/onednn.h"
#include "runtime/backend.h"

namespace kw::cpu {

// Lists have one number for each spatial dimension: height and width, or depth, height and width.
struct ConvolutionGeometry {
  int64_t batch, in_channels, out_channels, groups;
  std::vector<int64_t> size, out_size, kernel;  // x [N,size,C], y [N,out_size,O], weight [O,kernel,C/groups]
  std::vector<int64_t> stride, padding, dilation;

  int64_t sample_elements() const;      // of x
  int64_t out_sample_elements() const;  // of y
  int64_t weight_elements() const;
  std::vector<int64_t> weight_shape() const;
  ConvolutionGeometry with_batch(int64_t samples) const;
};

// The attribute `kernel`: a size for each spatial dimension.
std::vector<int64_t> kernel_size(const StepContext& context, size_t dimensions);

// From the step's convolution attributes, the two activations' shapes and the kernel, whose length is the number of spatial dimensions;
// refuses what does not fit (invalid_plan).
ConvolutionGeometry convolution_geometry(const StepContext& context, const Tensor& x, const Tensor& y, const std::vector<int64_t>& kernel);

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

// One pass over a batch with one weight, in the weight layout that oneDNN prefers unless one is given.
class Convolution {
 public:
  Convolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, bool has_bias, int threads,
              const std::optional<dnnl::memory::desc>& weight = std::nullopt);

  const dnnl::memory::desc& weight_desc() const { return prepared_.weight; }
  const std::string& implementation() const { return prepared_.implementation; }
  size_t scratchpad_bytes() const { return prepared_.scratchpad.get_size(); }

  // `x` and `y` are the activation, or its gradient, on the input and on the output side; the pass decides what it writes. To be called
  // under a ThreadLimit of the constructor's threads, or, when that is 1, from within a parallel region.
  dnnl_status_t run(const void* x, const void* weight, const void* y, const void* bias, void* scratchpad) noexcept;

 private:
  PreparedPrimitive prepared_;
  std::optional<BoundPrimitive> bound_;
};

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

// One pass over many samples, each with its own weight: one sample for each thread, and those that are left over by all threads together.
class SamplewiseConvolution {
 public:
  // How the weights come and go: as [O,kernel,C/groups], converted on the way where oneDNN wants another layout, or in that layout.
  enum class Weights { plain, preferred };

  SamplewiseConvolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, bool has_bias, int threads, Weights weights);

  const dnnl::memory::desc& weight_desc() const { return weight_desc_; }  // of the weights that `run` sees
  size_t weight_bytes() const { return weight_desc_.get_size(); }
  size_t scratch_bytes() const { return scratch_bytes_; }

  // Consecutive samples, whose weights lie `weight_stride` floats apart. `bias` may be null when there is none. Throws kw::Error when
  // oneDNN fails.
  void run(int64_t samples, const float* x, const float* weights, int64_t weight_stride, const float* y, const float* bias,
           std::byte* scratch);

 private:
  struct Worker {
    Convolution convolution;
    std::optional<Reorder> reorder;
  };
  dnnl_status_t run_sample(Worker& worker, const float* x, const float* weight, const float* y, const float* bias, std::byte* scratch);
  Worker make_worker(const ConvolutionGeometry& sample, bool has_bias, int threads, Weights weights,
                     const std::optional<dnnl::memory::desc>& weight) const;

  ConvolutionPass pass_;
  int threads_;
  int64_t x_stride_, y_stride_;
  std::vector<Worker> workers_;     // one for each thread
  std::optional<Worker> together_;  // runs one sample on all threads
  dnnl::memory::desc weight_desc_;
  size_t converted_bytes_ = 0;  // a worker's copy of its weight in oneDNN's layout
  size_t worker_bytes_ = 0;
  size_t scratch_bytes_ = 0;
};

}  // namespace kw::cpu
