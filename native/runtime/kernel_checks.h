// What the kernel files of every backend need: a kernel made of a function, and the checks of a step's tensors at preparation.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "runtime/backend.h"

namespace kw {

// A kernel whose run(memory) is the given function; what it captures was prepared once.
template <class Run>
std::unique_ptr<Kernel> make_kernel(Run run) {
  class FunctionKernel final : public Kernel {
   public:
    explicit FunctionKernel(Run run) : run_(std::move(run)) {}
    void run(const Memory& memory) override { run_(memory); }

   private:
    Run run_;
  };
  return std::make_unique<FunctionKernel>(std::move(run));
}

inline std::string describe(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t axis = 0; axis < shape.size(); ++axis) text += (axis ? ", " : "") + std::to_string(shape[axis]);
  return text + "]";
}

inline int64_t product(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// Refuses a tensor of another type than expected (invalid_plan).
inline void expect_type(const StepContext& context, const char* name, const Tensor& tensor, DataType type = DataType::float32) {
  if (tensor.type != type) {
    context.fail(std::string("expected ") + name + " to be " + name_of(type) + " but received " + name_of(tensor.type));
  }
}

// Refuses a tensor of another shape or type than expected (invalid_plan).
inline void expect_shape(const StepContext& context, const char* name, const Tensor& tensor, const std::vector<int64_t>& shape,
                         DataType type = DataType::float32) {
  expect_type(context, name, tensor, type);
  if (tensor.shape != shape) {
    context.fail(std::string("expected ") + name + " of shape " + describe(shape) + " but received " + describe(tensor.shape));
  }
}

// Refuses a tensor of another number of axes or another type than expected (invalid_plan).
inline void expect_rank(const StepContext& context, const char* name, const Tensor& tensor, size_t rank,
                        DataType type = DataType::float32) {
  expect_type(context, name, tensor, type);
  if (tensor.shape.size() != rank) {
    context.fail(std::string("expected ") + name + " with " + std::to_string(rank) + " axes but received shape " + describe(tensor.shape));
  }
}

// A tensor seen as [rows, channels]: channels is the last axis, rows all others together.
struct Matrix {
  int64_t rows;
  int64_t channels;
};

// Refuses scalars and empty tensors (invalid_plan): statistics over no rows are undefined.
inline Matrix as_matrix(const StepContext& context, const char* name, const Tensor& tensor, DataType type = DataType::float32) {
  expect_type(context, name, tensor, type);
  if (tensor.shape.empty() || tensor.elements() == 0) {
    context.fail(std::string("expected ") + name + " of shape [..., C], not empty, but received " + describe(tensor.shape));
  }
  const int64_t channels = tensor.shape.back();
  return {tensor.elements() / channels, channels};
}

}  // namespace kw
