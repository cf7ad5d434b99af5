// Convolutions and products that NVIDIA's libraries compute: what is asked of them, and what they answer with. No types of theirs, so that
// the kernels that use a plan compile without their headers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>

#include "ops/activation.h"
#include "ops/convolution.h"
#include "runtime/plan.h"

namespace kw::cuda {

// Addresses are multiples of this, also of every matrix of a batch; the libraries' fast kernels need it.
constexpr size_t kLibraryAlignment = 16;
inline bool is_library_aligned(std::initializer_list<const void*> addresses) {
  return std::all_of(addresses.begin(), addresses.end(),
                     [](const void* address) { return reinterpret_cast<uintptr_t>(address) % kLibraryAlignment == 0; });
}
// Device memory in bytes that a plan may ask for beside its operands.
constexpr size_t kMostLibraryWorkspace = size_t{256} << 20;

// One pass of a convolution whose samples share a weight, without groups; tensors are laid out as docs/ops.md says. The forward
// pass: y = activation(scale * convolution(x, weight) + shift + residual), each part where it is asked for, in float32.
struct ConvolutionRequest {
  ConvolutionPass pass = ConvolutionPass::forward;
  ConvolutionGeometry geometry;
  DataType activations = DataType::float32;  // x, y and residual
  DataType weights = DataType::float32;      // the weight, or its gradient
  bool scales = false;
  bool shifts = false;
  bool adds_residual = false;
  Activation activation = Activation::none;

  // Differs where anything else does.
  std::string key() const;
};

// Device memory. The pass decides which of x, weight and y is written.
struct ConvolutionOperands {
  const void* x;
  const void* weight;
  const void* y;
  const float* scale = nullptr;    // [O]
  const float* shift = nullptr;    // [O]
  const void* residual = nullptr;  // as y, and may be y's memory
};

// `batches` products of row-major matrices: c = op(a) op(b), with bias [columns] on each row.
struct ProductRequest {
  int64_t rows = 0, columns = 0, inner = 0;  // of c, and op(a)'s columns
  bool transpose_a = false;                  // a is [inner,rows] instead of [rows,inner]
  bool transpose_b = false;                  // b is [columns,inner] instead of [inner,columns]
  DataType operands = DataType::float32;     // a and b
  DataType result = DataType::float32;       // c
  bool adds_bias = false;                    // float32
  int64_t batches = 1;                       // at most, in one run

  // Differs where anything else does.
  std::string key() const;
};

// Device memory.
struct ProductOperands {
  const void* a;
  const void* b;
  const void* c;
  const float* bias = nullptr;  // [columns], exactly where it was requested
  int64_t batches = 1;          // the first ones
  // Elements from one matrix to the next; of no meaning where one was requested.
  int64_t stride_a = 0, stride_b = 0, stride_c = 0;

  // A run takes no others.
  bool are_aligned() const { return is_library_aligned({a, b, c, bias}); }
};

// A way to compute what was requested, the same in every process on the same GPU with the same libraries: chosen by the library's rules and
// not by timing, and without sums whose order is left to chance.
class ConvolutionPlan {
 public:
  virtual ~ConvolutionPlan() = default;
  virtual size_t workspace_bytes() const = 0;
  // Queues the work on the GPU's stream. `workspace` is device memory at a multiple of 64. False where the library refuses, which it then
  // goes on doing; nothing has been queued.
  virtual bool run(const ConvolutionOperands& operands, void* workspace) const = 0;
};

class ProductPlan {
 public:
  virtual ~ProductPlan() = default;
  virtual size_t workspace_bytes() const = 0;
  // As ConvolutionPlan::run. A product's bits do not depend on how many there are.
  virtual bool run(const ProductOperands& operands, void* workspace) const = 0;
};

// Makes plans with a library's handle.
class ConvolutionPlanner {
 public:
  virtual ~ConvolutionPlanner() = default;
  // Null where the library has no kernel for it that may be used.
  virtual std::unique_ptr<ConvolutionPlan> plan(const ConvolutionRequest& request) = 0;
};

class ProductPlanner {
 public:
  virtual ~ProductPlanner() = default;
  virtual std::unique_ptr<ProductPlan> plan(const ProductRequest& request) = 0;
};

// The plans for one GPU and stream. Planners are made when they are first asked for something, since a library's handle takes device
// memory. Not for several threads at once.
class LibraryPlans {
 public:
  // `stream`: a cudaStream_t of the current GPU. `tf32`: float32 products may be rounded to TF32.
  LibraryPlans(void* stream, bool tf32) : stream_(stream), tf32_(tf32) {}

  // Null where the library is not there or has no kernel that may be used: then ours run. Kept for the next request of that key.
  std::shared_ptr<const ConvolutionPlan> find(const ConvolutionRequest& request);
  std::shared_ptr<const ProductPlan> find(const ProductRequest& request);

 private:
  template <class Plan>
  using Plans = std::map<std::string, std::shared_ptr<const Plan>>;

  void* const stream_;
  const bool tf32_;
  bool has_looked_for_cudnn_ = false, has_looked_for_cublas_lt_ = false;
  std::unique_ptr<ConvolutionPlanner> convolutions_;  // before the plans, which use its handle
  std::unique_ptr<ProductPlanner> products_;
  Plans<ConvolutionPlan> convolution_plans_;
  Plans<ProductPlan> product_plans_;
};

}  // namespace kw::cuda
