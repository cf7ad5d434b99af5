#include "cpu/convolution.h"

#include <omp.h>

#include <algorithm>
#include <string>

#include "cpu/kernel.h"

namespace kw::cpu {

namespace {

constexpr auto kFloat = dnnl::memory::data_type::f32;
using Tag = dnnl::memory::format_tag;

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

dnnl::memory::dims weight_dims(const ConvolutionGeometry& g) {
  dnnl::memory::dims dims = {g.out_channels / g.groups, g.in_channels / g.groups};
  if (g.groups > 1) dims.insert(dims.begin(), g.groups);
  dims.insert(dims.end(), g.kernel.begin(), g.kernel.end());
  return dims;
}

// An activation in the order in which oneDNN names axes.
dnnl::memory::desc activation_desc(int64_t batch, int64_t channels, const std::vector<int64_t>& size) {
  dnnl::memory::dims dims = {batch, channels};
  dims.insert(dims.end(), size.begin(), size.end());
  return {dims, kFloat, size.size() == 2 ? Tag::nhwc : Tag::ndhwc};
}

// An attribute with a number for each spatial dimension.
std::vector<int64_t> sizes(const StepContext& context, const char* name, size_t dimensions, int64_t least) {
  const auto values = context.integers(name);
  if (values.size() != dimensions || std::any_of(values.begin(), values.end(), [least](int64_t value) { return value < least; })) {
    context.fail(std::string("expected ") + name + " to be " + std::to_string(dimensions) + " integers of at least " +
                 std::to_string(least));
  }
  return values;
}

}  // namespace

ConvolutionGeometry ConvolutionGeometry::with_batch(int64_t samples) const {
  ConvolutionGeometry result = *this;
  result.batch = samples;
  return result;
}

int64_t ConvolutionGeometry::sample_elements() const { return product(size) * in_channels; }

int64_t ConvolutionGeometry::out_sample_elements() const { return product(out_size) * out_channels; }

int64_t ConvolutionGeometry::weight_elements() const { return product(weight_shape()); }

std::vector<int64_t> ConvolutionGeometry::weight_shape() const {
  std::vector<int64_t> shape = {out_channels};
  shape.insert(shape.end(), kernel.begin(), kernel.end());
  shape.push_back(in_channels / groups);
  return shape;
}

std::vector<int64_t> kernel_size(const StepContext& context, size_t dimensions) { return sizes(context, "kernel", dimensions, 1); }

ConvolutionGeometry convolution_geometry(const StepContext& context, const Tensor& x, const Tensor& y, const std::vector<int64_t>& kernel) {
  const size_t dimensions = kernel.size();
  expect_rank(context, "x", x, dimensions + 2);
  expect_rank(context, "y", y, dimensions + 2);
  ConvolutionGeometry g{};
  g.batch = x.shape.front(), g.in_channels = x.shape.back(), g.out_channels = y.shape.back();
  g.size.assign(x.shape.begin() + 1, x.shape.end() - 1);
  g.out_size.assign(y.shape.begin() + 1, y.shape.end() - 1);
  g.kernel = kernel;
  g.groups = context.integer("groups");
  g.stride = sizes(context, "stride", dimensions, 1);
  g.padding = sizes(context, "padding", dimensions, 0);
  g.dilation = sizes(context, "dilation", dimensions, 1);
  if (*std::min_element(kernel.begin(), kernel.end()) < 1) context.fail("expected a kernel that is not empty");
  if (g.groups < 1 || g.in_channels % g.groups != 0 || g.out_channels % g.groups != 0) {
    context.fail(std::to_string(g.groups) + " groups do not divide " + std::to_string(g.in_channels) + " input and " +
                 std::to_string(g.out_channels) + " output channels");
  }
  if (product(x.shape) < 1 || product(y.shape) < 1) context.fail("expected activations that are not empty");
  std::vector<int64_t> expected = {g.batch};
  for (size_t axis = 0; axis < dimensions; ++axis) {
    const int64_t room = g.size[axis] + 2 * g.padding[axis] - (kernel[axis] - 1) * g.dilation[axis] - 1;
    expected.push_back(room < 0 ? 0 : room / g.stride[axis] + 1);
  }
  expected.push_back(g.out_channels);
  expect_shape(context, "the output side", y, expected);
  return g;
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

Convolution::Convolution(const ConvolutionGeometry& g, ConvolutionPass pass, bool has_bias, int threads,
                         const std::optional<dnnl::memory::desc>& weight) {
  const ThreadLimit limit(threads);
  ConvolutionProblem problem;
  problem.x = activation_desc(g.batch, g.in_channels, g.size);
  problem.y = activation_desc(g.batch, g.out_channels, g.out_size);
  problem.weight = weight ? *weight : dnnl::memory::desc(weight_dims(g), kFloat, Tag::any);
  if (has_bias) problem.bias = dnnl::memory::desc({g.out_channels}, kFloat, Tag::a);
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
  if (has_bias) arguments.push_back({DNNL_ARG_BIAS, problem.bias});
  bound_.emplace(prepared_.primitive, arguments);
}

dnnl_status_t Convolution::run(const void* x, const void* weight, const void* y, const void* bias, void* scratchpad) noexcept {
  return bound_->run({x, weight, y, scratchpad, bias});
}

Reorder::Reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to, int threads) {
  const ThreadLimit limit(threads);
  prepared_ = prepare_reorder(from, to);
  bound_.emplace(prepared_.primitive, std::vector<BoundPrimitive::Argument>{
                                          {DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, prepared_.scratchpad}});
}

dnnl_status_t Reorder::run(const void* from, void* to, void* scratchpad) noexcept { return bound_->run({from, to, scratchpad}); }

SamplewiseConvolution::SamplewiseConvolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, bool has_bias, int threads,
                                             Weights weights)
    : pass_(pass), threads_(threads), x_stride_(geometry.sample_elements()), y_stride_(geometry.out_sample_elements()) {
  const ConvolutionGeometry sample = geometry.with_batch(1);
  std::optional<dnnl::memory::desc> wanted;
  if (geometry.batch >= threads) {
    for (int worker = 0; worker < threads; ++worker) workers_.push_back(make_worker(sample, has_bias, 1, weights, wanted));
    wanted = workers_.front().convolution.weight_desc();
  }
  if (threads > 1 && geometry.batch % threads != 0) {
    together_ = make_worker(sample, has_bias, threads, weights, wanted);
    // A foreign layout can cost oneDNN its fast implementation; then the rest is better left to single threads.
    if (wanted && together_->convolution.implementation() != workers_.front().convolution.implementation()) together_.reset();
  }
  const auto bytes = [](const Worker& worker) {
    return std::max(worker.convolution.scratchpad_bytes(), worker.reorder ? worker.reorder->scratchpad_bytes() : 0);
  };
  const Worker& any = workers_.empty() ? *together_ : workers_.front();
  weight_desc_ = weights == Weights::plain ? plain_weight_desc(sample) : any.convolution.weight_desc();
  if (any.reorder) converted_bytes_ = aligned(any.convolution.weight_desc().get_size());
  for (const Worker& worker : workers_) worker_bytes_ = std::max(worker_bytes_, converted_bytes_ + aligned(bytes(worker)));
  scratch_bytes_ = worker_bytes_ * workers_.size();
  if (together_) scratch_bytes_ = std::max(scratch_bytes_, converted_bytes_ + aligned(bytes(*together_)));
}

SamplewiseConvolution::Worker SamplewiseConvolution::make_worker(const ConvolutionGeometry& sample, bool has_bias, int threads,
                                                                 Weights weights, const std::optional<dnnl::memory::desc>& weight) const {
  Worker worker{Convolution(sample, pass_, has_bias, threads, weight), std::nullopt};
  const auto plain = plain_weight_desc(sample);
  const auto& preferred = worker.convolution.weight_desc();
  if (weights == Weights::plain && preferred != plain) {
    const bool out = pass_ == ConvolutionPass::backward_weight;
    worker.reorder.emplace(out ? preferred : plain, out ? plain : preferred, threads);
  }
  return worker;
}

dnnl_status_t SamplewiseConvolution::run_sample(Worker& worker, const float* x, const float* weight, const float* y, const float* bias,
                                                std::byte* scratch) {
  if (!worker.reorder) return worker.convolution.run(x, weight, y, bias, scratch);
  std::byte* converted = scratch;
  std::byte* scratchpad = scratch + converted_bytes_;
  const bool out = pass_ == ConvolutionPass::backward_weight;
  if (!out) {
    const dnnl_status_t status = worker.reorder->run(weight, converted, scratchpad);
    if (status != dnnl_success) return status;
  }
  const dnnl_status_t status = worker.convolution.run(x, converted, y, bias, scratchpad);
  if (status != dnnl_success || !out) return status;
  return worker.reorder->run(converted, const_cast<float*>(weight), scratchpad);
}

void SamplewiseConvolution::run(int64_t samples, const float* x, const float* weights, int64_t weight_stride, const float* y,
                                const float* bias, std::byte* scratch) {
  const ThreadLimit limit(threads_);
  const int64_t alone = together_ ? samples - samples % threads_ : samples;
  dnnl_status_t status = dnnl_success;
  if (alone > 0) {
#pragma omp parallel for schedule(static) num_threads(threads_)
    for (int64_t s = 0; s < alone; ++s) {
      const auto thread = static_cast<size_t>(omp_get_thread_num());
      const dnnl_status_t result = run_sample(workers_[thread], x + s * x_stride_, weights + s * weight_stride, y + s * y_stride_, bias,
                                              scratch + thread * worker_bytes_);
      if (result != dnnl_success) {
#pragma omp atomic write
        status = result;
      }
    }
  }
  for (int64_t s = alone; s < samples && status == dnnl_success; ++s) {
    status = run_sample(*together_, x + s * x_stride_, weights + s * weight_stride, y + s * y_stride_, bias, scratch);
  }
  check_onednn("a sample-wise convolution", status);
}

}  // namespace kw::cpu
