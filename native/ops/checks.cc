#include "ops/checks.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace kw {

namespace {

constexpr int64_t kMostElements = int64_t{1} << 48;

struct Place {
  std::string name;  // "input 0"
  const Tensor* tensor;
};

bool overlap(const Tensor& a, const Tensor& b) {
  if (a.bytes() == 0 || b.bytes() == 0) return false;
  return a.buffer == b.buffer && a.offset < b.offset + b.bytes() && b.offset < a.offset + a.bytes();
}

bool coincide(const Tensor& a, const Tensor& b) { return a.buffer == b.buffer && a.offset == b.offset && a.bytes() == b.bytes(); }

}  // namespace

std::string describe(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t axis = 0; axis < shape.size(); ++axis) text += (axis ? ", " : "") + std::to_string(shape[axis]);
  return text + "]";
}

int64_t product(const std::vector<int64_t>& sizes) { return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>()); }

int64_t checked_product(const StepContext& context, const char* what, std::initializer_list<int64_t> sizes) {
  int64_t product = 1;
  for (const int64_t size : sizes) {
    if (size != 0 && product > kMostElements / size) {
      context.fail(std::string("expected at most 2^48 ") + what + " but received " + describe(std::vector(sizes)));
    }
    product *= size;
  }
  return product;
}

void expect_type(const StepContext& context, const char* name, const Tensor& tensor, DataType type) {
  if (tensor.type == type) return;
  context.fail(std::string("expected ") + name + " to be " + name_of(type) + " but received " + name_of(tensor.type));
}

void expect_activation(const StepContext& context, const char* name, const Tensor& tensor) {
  if (tensor.type == DataType::float32 || tensor.type == DataType::bfloat16) return;
  context.fail(std::string("expected ") + name + " to be float32 or bfloat16 but received " + name_of(tensor.type));
}

void expect_shape(const StepContext& context, const char* name, const Tensor& tensor, const std::vector<int64_t>& shape, DataType type) {
  expect_type(context, name, tensor, type);
  if (tensor.shape == shape) return;
  context.fail(std::string("expected ") + name + " of shape " + describe(shape) + " but received " + describe(tensor.shape));
}

void expect_rank(const StepContext& context, const char* name, const Tensor& tensor, size_t rank, DataType type) {
  expect_type(context, name, tensor, type);
  if (tensor.shape.size() == rank) return;
  context.fail(std::string("expected ") + name + " with " + std::to_string(rank) + " axes but received shape " + describe(tensor.shape));
}

std::vector<int64_t> size_pair(const StepContext& context, const char* name, int64_t least) {
  std::vector<int64_t> sizes = context.integers(name);
  if (sizes.size() != 2) context.fail(std::string("expected ") + name + " of two integers but received " + describe(sizes));
  if (*std::min_element(sizes.begin(), sizes.end()) < least) {
    context.fail(std::string("expected ") + name + " of two integers from " + std::to_string(least) + " on but received " +
                 describe(sizes));
  }
  return sizes;
}

Matrix as_matrix(const StepContext& context, const char* name, const Tensor& tensor, DataType type) {
  expect_type(context, name, tensor, type);
  if (tensor.shape.empty() || tensor.elements() == 0) {
    context.fail(std::string("expected ") + name + " of shape [..., C], not empty, but received " + describe(tensor.shape));
  }
  const int64_t channels = tensor.shape.back();
  return {tensor.elements() / channels, channels};
}

Matrix activation_matrix(const StepContext& context, const char* name, const Tensor& tensor) {
  expect_activation(context, name, tensor);
  return as_matrix(context, name, tensor, tensor.type);
}

void expect_apart(const StepContext& context, const std::vector<InPlace>& in_place) {
  const Step& step = context.step;
  std::vector<Place> inputs, outputs;
  for (size_t position = 0; position < step.inputs.size(); ++position) {
    if (context.has_input(position)) inputs.push_back({"input " + std::to_string(position), &context.input(position)});
  }
  for (size_t position = 0; position < step.outputs.size(); ++position) {
    outputs.push_back({"output " + std::to_string(position), &context.output(position)});
  }
  const auto refuse = [&](const Place& written, const Place& other) {
    context.fail("expected " + written.name + " not to share memory with " + other.name);
  };
  for (size_t output = 0; output < outputs.size(); ++output) {
    const Tensor& written = *outputs[output].tensor;
    const bool takes_place = std::any_of(in_place.begin(), in_place.end(), [&](const InPlace& pair) {
      return pair.output == output && context.has_input(pair.input) && coincide(written, context.input(pair.input));
    });
    for (const Place& input : inputs) {
      if (overlap(written, *input.tensor) && !(takes_place && coincide(written, *input.tensor))) refuse(outputs[output], input);
    }
    for (size_t other = 0; other < output; ++other) {
      if (overlap(written, *outputs[other].tensor)) refuse(outputs[output], outputs[other]);
    }
  }
  for (const int position : step.mutates) {
    const Place mutated{"input " + std::to_string(position), &context.input(static_cast<size_t>(position))};
    for (const Place& input : inputs) {
      if (input.name != mutated.name && overlap(*mutated.tensor, *input.tensor)) refuse(mutated, input);
    }
  }
}

}  // namespace kw
