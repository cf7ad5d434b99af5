// oneDNN as this backend uses it, and the only place that knows the differences between its versions 2.6 and 3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <dnnl.hpp>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "cpu/convolution/convolution_epilogue.h"
#include "cpu/processor.h"
#include "ops/convolution.h"

namespace kw::cpu {

const dnnl::engine& onednn_engine();

// Holds oneDNN to what `set` has, unless the user has chosen for it (ONEDNN_MAX_CPU_ISA). Before anything else is asked of oneDNN.
void limit_onednn(InstructionSet set);
// What oneDNN uses of ours but `amx`, which is not told apart from `avx512` here.
InstructionSet onednn_instruction_set();
// Its own name for it, such as avx512_core_bf16.
const char* onednn_instruction_set_name();

// While it lives, OpenMP and oneDNN use this many threads for what the calling thread starts. A primitive fixes its division of work when
// it is made, so it must be made and run under the same limit.
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads);
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  int previous_;
};

// Runs `make`; turns oneDNN's errors into kw::Error (unsupported, out_of_memory or internal) that starts with `what`.
[[noreturn]] void throw_onednn_error(const std::string& what, dnnl_status_t status, const std::string& detail);
template <class Make>
auto onednn_call(const std::string& what, Make make) {
  try {
    return make();
  } catch (const dnnl::error& error) {
    throw_onednn_error(what, error.status, error.message);
  }
}
void check_onednn(const std::string& what, dnnl_status_t status);

// A memory layout as strides over blocks: the contributions of the axes to an element's offset add up.
struct BlockedLayout {
  std::vector<int64_t> strides;      // of each axis, in elements, counted in whole blocks
  std::vector<int64_t> block_sizes;  // outermost first
  std::vector<int> block_axes;
  bool padded = false;  // holds more elements than the tensor

  int64_t offset(int axis, int64_t index) const;
};
// Nothing when the layout is of another kind (e.g. oneDNN's Winograd formats).
std::optional<BlockedLayout> blocked_layout(const dnnl::memory::desc& desc);

struct ConvolutionProblem {
  dnnl::memory::desc x, weight, bias, y;  // gradients have the layout of what they belong to; a zero `bias` is none
  dnnl::memory::dims stride, dilation, padding;
  // Of forward passes, in this order: the sums times a vector plus another one, both laid out like `channel` (zero: neither); plus what
  // stands in y; the activation.
  dnnl::memory::desc channel;
  bool adds_to_y = false;
  Activation activation = Activation::none;
};

// A primitive and what it decided.
struct PreparedPrimitive {
  dnnl::primitive primitive;
  dnnl::memory::desc weight;  // convolutions only
  dnnl::memory::desc scratchpad;
  std::string implementation;
};
PreparedPrimitive prepare_convolution(ConvolutionPass pass, const ConvolutionProblem& problem);
PreparedPrimitive prepare_reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to);

// A primitive with its arguments bound: a run only sets addresses, so nothing of ours is allocated during a step. One object serves one
// thread at a time.
class BoundPrimitive {
 public:
  struct Argument {
    int name;  // DNNL_ARG_*
    dnnl::memory::desc desc;
  };
  BoundPrimitive(dnnl::primitive primitive, const std::vector<Argument>& arguments);

  // Addresses in the order of the constructor's list; further ones are ignored.
  dnnl_status_t run(std::initializer_list<const void*> addresses) noexcept;

 private:
  dnnl::primitive primitive_;
  dnnl::stream stream_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

}  // namespace kw::cpu
