#include "cpu/convolution/convolution.h"

#include <omp.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>

#include "cpu/convolution/direct_convolution.h"

namespace kw::cpu {

namespace {

constexpr auto kFloat = dnnl::memory::data_type::f32;
using Tag = dnnl::memory::format_tag;

dnnl::memory::data_type onednn_type(DataType type) { return type == DataType::bfloat16 ? dnnl::memory::data_type::bf16 : kFloat; }

dnnl::memory::dims weight_dims(const ConvolutionGeometry& g) {
  dnnl::memory::dims dims = {g.out_channels / g.groups, g.in_channels / g.groups};
  if (g.groups > 1) dims.insert(dims.begin(), g.groups);
  dims.insert(dims.end(), g.kernel.begin(), g.kernel.end());
  return dims;
}

// An activation in the order in which oneDNN names axes.
dnnl::memory::desc activation_desc(int64_t batch, int64_t channels, const std::vector<int64_t>& size, DataType type) {
  dnnl::memory::dims dims = {batch, channels};
  dims.insert(dims.end(), size.begin(), size.end());
  return {dims, onednn_type(type), size.size() == 2 ? Tag::nhwc : Tag::ndhwc};
}

}  // namespace

void refuse_large(const KernelContext& context, const ConvolutionGeometry& geometry) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  for (const int64_t elements : {geometry.batch, geometry.sample_elements(), geometry.out_sample_elements(), geometry.weight_elements()}) {
    if (elements > kMost) {
      context.unsupported("expected at most " + std::to_string(kMost) + " samples, elements of one and weights, but received " +
                          std::to_string(elements));
    }
  }
  for (size_t axis = 0; axis < geometry.kernel.size(); ++axis) {
    constexpr int64_t kMostStride = 127;
    if (geometry.stride[axis] > kMostStride) {
      context.unsupported("expected strides of at most " + std::to_string(kMostStride) + " but received " + describe(geometry.stride));
    }
    const int64_t reach = geometry.kernel[axis] * geometry.dilation[axis] + geometry.padding[axis];
    if (reach > kMost / 2) context.unsupported("expected a kernel with its dilation and padding to be shorter than 2^30");
  }
}

dnnl::memory::desc plain_weight_desc(const ConvolutionGeometry& g) {
  const bool planar = g.kernel.size() == 2;
  return {weight_dims(g), kFloat, g.groups == 1 ? (planar ? Tag::ohwi : Tag::odhwi) : (planar ? Tag::gohwi : Tag::godhwi)};
}

WeightOffsets plain_weight_offsets(int64_t out_channels, int64_t kernel_height, int64_t kernel_width, int64_t in_channels) {
  WeightOffsets offsets;
  for (int64_t o = 0; o < out_channels; ++o) offsets.out.push_back(o * kernel_height * kernel_width * in_channels);
  for (int64_t p = 0; p < kernel_height; ++p) offsets.row.push_back(p * kernel_width * in_channels);
  for (int64_t q = 0; q < kernel_width; ++q) offsets.column.push_back(q * in_channels);
  for (int64_t i = 0; i < in_channels; ++i) offsets.in.push_back(i);
  return offsets;
}

std::optional<WeightOffsets> weight_offsets(const dnnl::memory::desc& desc, const ConvolutionGeometry& g) {
  const auto layout = blocked_layout(desc);
  if (!layout || layout->padded) return std::nullopt;
  const bool grouped = g.groups > 1;
  const int axis = grouped ? 1 : 0;
  const int64_t out_per_group = g.out_channels / g.groups;
  WeightOffsets offsets;
  for (int64_t o = 0; o < g.out_channels; ++o) {
    offsets.out.push_back((grouped ? layout->offset(0, o / out_per_group) : 0) + layout->offset(axis, o % out_per_group));
  }
  for (int64_t i = 0; i < g.in_channels / g.groups; ++i) offsets.in.push_back(layout->offset(axis + 1, i));
  for (int64_t p = 0; p < g.kernel[0]; ++p) offsets.row.push_back(layout->offset(axis + 2, p));
  for (int64_t q = 0; q < g.kernel[1]; ++q) offsets.column.push_back(layout->offset(axis + 3, q));
  return offsets;
}

Convolution::Convolution(const ConvolutionGeometry& g, ConvolutionPass pass, int threads, const ConvolutionOptions& options) {
  if (DirectConvolution::serves(g, pass, options)) {
    direct_ = std::make_shared<DirectConvolution>(g, pass, threads, options);
    prepared_.weight = DirectConvolution::weight_desc(g, pass);
    prepared_.implementation = "direct";
    return;
  }
  const ThreadLimit limit(threads);
  has_bias_ = options.has_bias;
  ConvolutionProblem problem;
  problem.x = activation_desc(g.batch, g.in_channels, g.size, options.types.x);
  problem.y = activation_desc(g.batch, g.out_channels, g.out_size, options.types.y);
  problem.weight = options.weight ? *options.weight : dnnl::memory::desc(weight_dims(g), onednn_type(options.types.weight), Tag::any);
  problem.adds_to_y = options.adds_to_y;
  if (options.scales) problem.channel = activation_desc(1, g.out_channels, std::vector<int64_t>(g.size.size(), 1), DataType::float32);
  problem.activation = options.activation;
  if (has_bias_) problem.bias = dnnl::memory::desc({g.out_channels}, kFloat, Tag::a);
  problem.stride = g.stride;
  problem.padding = g.padding;
  for (const int64_t dilation : g.dilation) problem.dilation.push_back(dilation - 1);  // oneDNN counts the gaps
  prepared_ = prepare_convolution(pass, problem);

  std::vector<BoundPrimitive::Argument> arguments;
  switch (pass) {
    case ConvolutionPass::forward:
      arguments = {{DNNL_ARG_SRC, problem.x}, {DNNL_ARG_WEIGHTS, prepared_.weight}, {DNNL_ARG_DST, problem.y}};
      break;
    case ConvolutionPass::backward_input:
      arguments = {{DNNL_ARG_DIFF_SRC, problem.x}, {DNNL_ARG_WEIGHTS, prepared_.weight}, {DNNL_ARG_DIFF_DST, problem.y}};
      break;
    case ConvolutionPass::backward_weight:
      arguments = {{DNNL_ARG_SRC, problem.x}, {DNNL_ARG_DIFF_WEIGHTS, prepared_.weight}, {DNNL_ARG_DIFF_DST, problem.y}};
      break;
  }
  arguments.push_back({DNNL_ARG_SCRATCHPAD, prepared_.scratchpad});
  if (has_bias_) arguments.push_back({DNNL_ARG_BIAS, problem.bias});
  for (int position = 0; options.scales && position < 2; ++position) {
    arguments.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(position) | DNNL_ARG_SRC_1, problem.channel});
  }
  bound_.emplace(prepared_.primitive, arguments);
}

dnnl_status_t Convolution::run(const void* x, const void* weight, const void* y, const ConvolutionVectors& vectors,
                               void* scratchpad) noexcept {
  if (direct_) {
    direct_->run(static_cast<const float*>(x), static_cast<const float*>(weight), static_cast<const float*>(y), vectors);
    return dnnl_success;
  }
  return has_bias_ ? bound_->run({x, weight, y, scratchpad, vectors.bias, vectors.factor, vectors.shift})
                   : bound_->run({x, weight, y, scratchpad, vectors.factor, vectors.shift});
}

ConvolutionTypes computed_types(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads, DataType activations) {
  if (activations == DataType::float32) return {};
  ConvolutionTypes types = {DataType::bfloat16, DataType::bfloat16, DataType::bfloat16};
  if (pass == ConvolutionPass::backward_weight) types.weight = DataType::float32;
  try {
    if (!Convolution(geometry, pass, threads, {.types = types}).slow()) return types;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::unsupported) throw;
  }
  return {};
}

bool has_position_in_padding(const ConvolutionGeometry& g) {
  for (size_t axis = 0; axis < g.kernel.size(); ++axis) {
    for (int64_t position = 0; position < g.out_size[axis]; ++position) {
      bool meets = false;
      for (int64_t tap = 0; tap < g.kernel[axis] && !meets; ++tap) {
        const int64_t at = position * g.stride[axis] - g.padding[axis] + tap * g.dilation[axis];
        meets = at >= 0 && at < g.size[axis];
      }
      if (!meets) return true;
    }
  }
  return false;
}

// Of oneDNN only the implementations for AVX-512 that are named `brg...` scale for nothing: on AVX2 a scaling costs more than a pass of
// ours over the sample (a quarter of the time of a 1x1 convolution of 256 channels). What follows a convolution can also cost it its
// implementation.
bool scales_cheaply(const ConvolutionGeometry& geometry, int threads, ConvolutionOptions options) try {
  if (has_position_in_padding(geometry)) return false;
  const std::string implementation = Convolution(geometry, ConvolutionPass::forward, threads, options).implementation();
  if (implementation != "direct" && !implementation.starts_with("brg")) return false;
  options.scales = options.adds_to_y = false;
  options.activation = Activation::none;
  return implementation == Convolution(geometry, ConvolutionPass::forward, threads, options).implementation();
} catch (const Error& error) {
  if (error.code() != ErrorCode::unsupported) throw;
  return false;
}

Reorder::Reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to, int threads) {
  const ThreadLimit limit(threads);
  prepared_ = prepare_reorder(from, to);
  bound_.emplace(prepared_.primitive, std::vector<BoundPrimitive::Argument>{
                                          {DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, prepared_.scratchpad}});
}

dnnl_status_t Reorder::run(const void* from, void* to, void* scratchpad) noexcept { return bound_->run({from, to, scratchpad}); }

}  // namespace kw::cpu
