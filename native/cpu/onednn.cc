#include "cpu/onednn.h"

#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

#include "runtime/error.h"

namespace kw::cpu {

const dnnl::engine& onednn_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

void limit_onednn(InstructionSet set) {
  if (std::getenv("ONEDNN_MAX_CPU_ISA") || std::getenv("DNNL_MAX_CPU_ISA")) return;
  if (set == InstructionSet::amx) return;
  const auto most = set == InstructionSet::avx512 ? dnnl::cpu_isa::avx512_core_bf16
                    : set == InstructionSet::avx2 ? dnnl::cpu_isa::avx2
                                                  : dnnl::cpu_isa::sse41;
  check_onednn("choosing an instruction set", static_cast<dnnl_status_t>(dnnl::set_max_cpu_isa(most)));
}

InstructionSet onednn_instruction_set() {
  // Its sets are bit masks of what they include.
  const auto used = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto has = [used](dnnl::cpu_isa set) { return (used & static_cast<unsigned>(set)) == static_cast<unsigned>(set); };
  return has(dnnl::cpu_isa::avx512_core) ? InstructionSet::avx512
         : has(dnnl::cpu_isa::avx2)      ? InstructionSet::avx2
                                         : InstructionSet::baseline;
}

const char* onednn_instruction_set_name() {
  using Isa = dnnl::cpu_isa;
  static constexpr std::pair<Isa, const char*> kNames[] = {{Isa::avx512_core_amx, "avx512_core_amx"},
                                                           {Isa::avx512_core_bf16, "avx512_core_bf16"},
                                                           {Isa::avx512_core_vnni, "avx512_core_vnni"},
                                                           {Isa::avx512_core, "avx512_core"},
                                                           {Isa::avx2_vnni, "avx2_vnni"},
                                                           {Isa::avx2, "avx2"},
                                                           {Isa::avx, "avx"},
                                                           {Isa::sse41, "sse41"}};
  const auto used = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  for (const auto& [set, name] : kNames) {
    if ((used & static_cast<unsigned>(set)) == static_cast<unsigned>(set)) return name;
  }
  return "none";
}

ThreadLimit::ThreadLimit(int threads) : previous_(omp_get_max_threads()) {
  if (threads != previous_) omp_set_num_threads(threads);
}

ThreadLimit::~ThreadLimit() {
  if (omp_get_max_threads() != previous_) omp_set_num_threads(previous_);
}

void throw_onednn_error(const std::string& what, dnnl_status_t status, const std::string& detail) {
  const ErrorCode code = status == dnnl_out_of_memory   ? ErrorCode::out_of_memory
                         : status == dnnl_unimplemented ? ErrorCode::unsupported
                                                        : ErrorCode::internal;
  throw Error(code, what + ": oneDNN answered " + std::to_string(static_cast<int>(status)) + (detail.empty() ? "" : " (" + detail + ")"));
}

void check_onednn(const std::string& what, dnnl_status_t status) {
  if (status != dnnl_success) throw_onednn_error(what, status, "");
}

int64_t BlockedLayout::offset(int axis, int64_t index) const {
  int64_t result = 0;
  int64_t stride = 1;
  for (size_t block = block_sizes.size(); block-- > 0;) {
    if (block_axes[block] == axis) {
      result += index % block_sizes[block] * stride;
      index /= block_sizes[block];
    }
    stride *= block_sizes[block];
  }
  return result + index * strides[static_cast<size_t>(axis)];
}

namespace {

constexpr auto kDirect = dnnl::algorithm::convolution_direct;

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

void append_eltwise(dnnl::post_ops& after, dnnl::algorithm algorithm, float alpha, float beta) {
#if DNNL_VERSION_MAJOR >= 3
  after.append_eltwise(algorithm, alpha, beta);
#else
  after.append_eltwise(1.0f, algorithm, alpha, beta);
#endif
}

dnnl::primitive_attr forward_attributes(const ConvolutionProblem& problem) {
  dnnl::post_ops after;
  if (!problem.channel.is_zero()) {
    after.append_binary(dnnl::algorithm::binary_mul, problem.channel);
    after.append_binary(dnnl::algorithm::binary_add, problem.channel);
  }
  if (problem.adds_to_y) after.append_sum();
  // With a slope of 0 oneDNN takes the larger of x and 0, which hides a NaN; with this one it lets NaN through, and what it makes of
  // negative numbers vanishes in every sum. A NaN that meets the upper limit becomes infinite.
  constexpr float kSlope = 1e-30f, kInfinity = std::numeric_limits<float>::infinity();
  if (problem.activation != Activation::none) append_eltwise(after, dnnl::algorithm::eltwise_relu, kSlope, 0.0f);
  if (problem.activation == Activation::relu6) append_eltwise(after, dnnl::algorithm::eltwise_clip, -kInfinity, 6.0f);
  auto attributes = user_scratchpad();
  attributes.set_post_ops(after);
  return attributes;
}

}  // namespace

#if DNNL_VERSION_MAJOR >= 3

std::optional<BlockedLayout> blocked_layout(const dnnl::memory::desc& desc) {
  if (desc.get_format_kind() != dnnl::memory::format_kind::blocked) return std::nullopt;
  BlockedLayout layout;
  layout.strides = desc.get_strides();
  layout.block_sizes = desc.get_inner_blks();
  for (const auto axis : desc.get_inner_idxs()) layout.block_axes.push_back(static_cast<int>(axis));
  layout.padded = desc.get_padded_dims() != desc.get_dims();
  return layout;
}

namespace {

dnnl::memory::dims sizes(const dnnl::memory::desc& desc) { return desc.get_dims(); }
dnnl::memory::data_type data_type(const dnnl::memory::desc& desc) { return desc.get_data_type(); }

auto forward_desc(const ConvolutionProblem& p) {
  constexpr auto kind = dnnl::prop_kind::forward_training;
  return p.bias.is_zero() ? dnnl::convolution_forward::primitive_desc(onednn_engine(), kind, kDirect, p.x, p.weight, p.y, p.stride,
                                                                      p.dilation, p.padding, p.padding, forward_attributes(p))
                          : dnnl::convolution_forward::primitive_desc(onednn_engine(), kind, kDirect, p.x, p.weight, p.bias, p.y, p.stride,
                                                                      p.dilation, p.padding, p.padding, forward_attributes(p));
}

auto backward_input_desc(const ConvolutionProblem& p, const dnnl::convolution_forward::primitive_desc& hint) {
  return dnnl::convolution_backward_data::primitive_desc(onednn_engine(), kDirect, p.x, p.weight, p.y, p.stride, p.dilation, p.padding,
                                                         p.padding, hint, user_scratchpad());
}

auto backward_weight_desc(const ConvolutionProblem& p, const dnnl::convolution_forward::primitive_desc& hint) {
  return dnnl::convolution_backward_weights::primitive_desc(onednn_engine(), kDirect, p.x, p.weight, p.y, p.stride, p.dilation, p.padding,
                                                            p.padding, hint, user_scratchpad());
}

}  // namespace

#else

std::optional<BlockedLayout> blocked_layout(const dnnl::memory::desc& desc) {
  const auto& data = desc.data;
  if (data.format_kind != dnnl_blocked) return std::nullopt;
  const auto& blocking = data.format_desc.blocking;
  BlockedLayout layout;
  layout.strides.assign(blocking.strides, blocking.strides + data.ndims);
  layout.block_sizes.assign(blocking.inner_blks, blocking.inner_blks + blocking.inner_nblks);
  for (int block = 0; block < blocking.inner_nblks; ++block) layout.block_axes.push_back(static_cast<int>(blocking.inner_idxs[block]));
  layout.padded = !std::equal(data.dims, data.dims + data.ndims, data.padded_dims);
  return layout;
}

namespace {

dnnl::memory::dims sizes(const dnnl::memory::desc& desc) { return desc.dims(); }
dnnl::memory::data_type data_type(const dnnl::memory::desc& desc) { return desc.data_type(); }

auto forward_desc(const ConvolutionProblem& p) {
  using Forward = dnnl::convolution_forward;
  constexpr auto kind = dnnl::prop_kind::forward_training;
  const auto desc = p.bias.is_zero() ? Forward::desc(kind, kDirect, p.x, p.weight, p.y, p.stride, p.dilation, p.padding, p.padding)
                                     : Forward::desc(kind, kDirect, p.x, p.weight, p.bias, p.y, p.stride, p.dilation, p.padding, p.padding);
  return Forward::primitive_desc(desc, forward_attributes(p), onednn_engine());
}

auto backward_input_desc(const ConvolutionProblem& p, const dnnl::convolution_forward::primitive_desc& hint) {
  using Backward = dnnl::convolution_backward_data;
  const Backward::desc desc(kDirect, p.x, p.weight, p.y, p.stride, p.dilation, p.padding, p.padding);
  return Backward::primitive_desc(desc, user_scratchpad(), onednn_engine(), hint);
}

auto backward_weight_desc(const ConvolutionProblem& p, const dnnl::convolution_forward::primitive_desc& hint) {
  using Backward = dnnl::convolution_backward_weights;
  const Backward::desc desc(kDirect, p.x, p.weight, p.y, p.stride, p.dilation, p.padding, p.padding);
  return Backward::primitive_desc(desc, user_scratchpad(), onednn_engine(), hint);
}

}  // namespace

#endif

namespace {

// Backward passes want the forward pass that they belong to; its weight layout is its own affair.
dnnl::convolution_forward::primitive_desc hint_of(ConvolutionProblem problem) {
  const auto type = data_type(problem.x);
  problem.weight = dnnl::memory::desc(sizes(problem.weight), type, dnnl::memory::format_tag::any);
  return forward_desc(problem);
}

}  // namespace

PreparedPrimitive prepare_convolution(ConvolutionPass pass, const ConvolutionProblem& problem) {
  return onednn_call("preparing a convolution", [&]() -> PreparedPrimitive {
    switch (pass) {
      case ConvolutionPass::forward: {
        const auto desc = forward_desc(problem);
        return {dnnl::convolution_forward(desc), desc.weights_desc(), desc.scratchpad_desc(), desc.impl_info_str()};
      }
      case ConvolutionPass::backward_input: {
        const auto desc = backward_input_desc(problem, hint_of(problem));
        return {dnnl::convolution_backward_data(desc), desc.weights_desc(), desc.scratchpad_desc(), desc.impl_info_str()};
      }
      case ConvolutionPass::backward_weight: {
        const auto desc = backward_weight_desc(problem, hint_of(problem));
        return {dnnl::convolution_backward_weights(desc), desc.diff_weights_desc(), desc.scratchpad_desc(), desc.impl_info_str()};
      }
    }
    throw Error(ErrorCode::internal, "no such convolution pass");
  });
}

PreparedPrimitive prepare_reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to) {
  return onednn_call("preparing a reorder", [&]() -> PreparedPrimitive {
    const dnnl::reorder::primitive_desc desc(onednn_engine(), from, onednn_engine(), to, user_scratchpad());
    return {dnnl::reorder(desc), to, desc.scratchpad_desc(), desc.impl_info_str()};
  });
}

BoundPrimitive::BoundPrimitive(dnnl::primitive primitive, const std::vector<Argument>& arguments)
    : primitive_(std::move(primitive)), stream_(onednn_engine()) {
  memories_.reserve(arguments.size());
  for (const auto& [name, desc] : arguments) {
    memories_.push_back(dnnl::memory(desc, onednn_engine(), DNNL_MEMORY_NONE));
    arguments_.push_back({name, memories_.back().get()});
  }
}

dnnl_status_t BoundPrimitive::run(std::initializer_list<const void*> addresses) noexcept {
  size_t position = 0;
  for (const void* address : addresses) {
    if (position == memories_.size()) break;
    const dnnl_status_t status = dnnl_memory_set_data_handle(memories_[position++].get(), const_cast<void*>(address));
    if (status != dnnl_success) return status;
  }
  return dnnl_primitive_execute(primitive_.get(), stream_.get(), static_cast<int>(arguments_.size()), arguments_.data());
}

}  // namespace kw::cpu
