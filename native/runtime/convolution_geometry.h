// What a convolution step computes, read from its attributes and tensors and checked, for every backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/backend.h"

namespace kw {

enum class ConvolutionPass { forward, backward_input, backward_weight };

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

// Refuses activations that are not both float32 or both bfloat16 (invalid_plan); returns their type.
DataType activation_type(const StepContext& context, const Tensor& x, const Tensor& y);

}  // namespace kw
