// How the steps of all ops are checked. A refusal (invalid_plan) names the op and the layer, what was expected, and what came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "runtime/backend.h"

namespace kw {

std::string describe(const std::vector<int64_t>& shape);  // "[2, 3]"

// Of sizes whose product is known to be small, such as a tensor's; plans refuse tensors of more than 2^46 elements.
int64_t product(const std::vector<int64_t>& sizes);

// Of sizes from several tensors or from attributes, none negative. Refuses a product beyond 2^48; `what` names it in the message.
int64_t checked_product(const StepContext& context, const char* what, std::initializer_list<int64_t> sizes);

void expect_type(const StepContext& context, const char* name, const Tensor& tensor, DataType type = DataType::float32);
// Float32 or bfloat16.
void expect_activation(const StepContext& context, const char* name, const Tensor& tensor);
void expect_shape(const StepContext& context, const char* name, const Tensor& tensor, const std::vector<int64_t>& shape,
                  DataType type = DataType::float32);
void expect_rank(const StepContext& context, const char* name, const Tensor& tensor, size_t rank, DataType type = DataType::float32);

// The two sizes of an attribute that stands for height and width, each at least `least`.
std::vector<int64_t> size_pair(const StepContext& context, const char* name, int64_t least);

// A tensor seen as [rows, channels]: channels is the last axis, rows all others together.
struct Matrix {
  int64_t rows;
  int64_t channels;
};

// Refuses scalars and empty tensors: statistics over no rows are undefined.
Matrix as_matrix(const StepContext& context, const char* name, const Tensor& tensor, DataType type = DataType::float32);

// The same of an activation.
Matrix activation_matrix(const StepContext& context, const char* name, const Tensor& tensor);

// An output that may lie in exactly the memory of an input.
struct InPlace {
  size_t output, input;
};

// Refuses outputs that share memory with an input or with each other, but for the pairs in `in_place`, and mutated inputs that share memory
// with any other tensor of the step.
void expect_apart(const StepContext& context, const std::vector<InPlace>& in_place);

}  // namespace kw
