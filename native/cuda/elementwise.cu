// Ops that treat every element (or row of elements) alike: add, add_bias, cast, fill, copy, slice, concat and their gradients. An output
// may be an input's memory where sizes agree.
#include "cuda/kernels/elementwise.cuh"

#include <algorithm>
#include <vector>

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_add(const Device& gpu, const StepContext& context) {
  const Tensor &a = context.input(0), &b = context.input(1), &y = context.output(0);
  expect_shape(context, "b", b, a.shape, a.type);
  expect_shape(context, "y", y, a.shape, a.type);
  return for_element(context, "a", a, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &a, &b, &y, count = y.elements()](const Memory& memory) {
      launch_map_pairs<device::Add>(gpu, memory.data<const T>(a), memory.data<const T>(b), count, memory.data<T>(y));
    });
  });
}

std::unique_ptr<Kernel> prepare_add_bias(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &bias = context.input(1), &y = context.output(0);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  expect_shape(context, "bias", bias, {matrix.channels});
  expect_shape(context, "y", y, x.shape, x.type);
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &x, &bias, &y, channels = matrix.channels, count = y.elements()](const Memory& memory) {
      const T* in = memory.data<T>(x);
      const float* offsets = memory.data<float>(bias);
      T* out = memory.data<T>(y);
      const bool packed = channels % device::kPack<T> == 0 && starts_packs({in, offsets, out});
      launch(device::add_bias<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, in, offsets, count,
             channels, packed, out);
    });
  });
}

std::unique_ptr<Kernel> prepare_cast(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
  const std::string type = context.text("type");
  if (type != name_of(y.type)) context.fail("expected y to be " + type + " but received " + name_of(y.type));
  expect_shape(context, "y", y, x.shape, y.type);
  return for_element(context, "x", x, [&]<class From>(std::type_identity<From>) {
    return for_element(context, "y", y, [&]<class To>(std::type_identity<To>) {
      return make_kernel([&gpu, &x, &y, count = y.elements()](const Memory& memory) {
        launch_map<device::Keep>(gpu, memory.data<const From>(x), count, memory.data<To>(y));
      });
    });
  });
}

std::unique_ptr<Kernel> prepare_fill(const Device& gpu, const StepContext& context) {
  const Tensor& y = context.output(0);
  expect_shape(context, "y", y, context.integers("shape"));
  const float value = static_cast<float>(context.number("value"));
  return make_kernel([&gpu, &y, value, count = y.elements()](const Memory& memory) {
    float* out = memory.data<float>(y);
    const bool packed = starts_packs({out});
    launch(device::fill, packs_grid<device::kPack<float>>(gpu, count, packed), kPassThreads, 0, gpu.stream, value, count, packed, out);
  });
}

std::unique_ptr<Kernel> prepare_copy(const Device& gpu, const StepContext& context) {
  const Tensor &destination = context.input(0), &source = context.input(1);
  expect_shape(context, "source", source, destination.shape, destination.type);
  return make_kernel([&gpu, &destination, &source, bytes = static_cast<size_t>(source.bytes())](const Memory& memory) {
    std::byte* to = memory.data<std::byte>(destination);
    const std::byte* from = memory.data<std::byte>(source);
    if (to == from || bytes == 0) return;
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, gpu.stream), "copying within the GPU");
  });
}

// Calls go(std::type_identity<Unit>, bytes) with the longest unit of memory that all of `bytes`, sizes and addresses, are multiples of.
template <class Go>
void with_unit(std::initializer_list<uint64_t> bytes, const Go& go) {
  const auto fits = [&](size_t unit) { return std::all_of(bytes.begin(), bytes.end(), [=](uint64_t size) { return size % unit == 0; }); };
  if (fits(sizeof(uint4))) {
    go(std::type_identity<uint4>());
  } else if (fits(sizeof(uint32_t))) {
    go(std::type_identity<uint32_t>());
  } else {
    go(std::type_identity<uint16_t>());
  }
}

uint64_t address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// Some columns of a matrix's rows, in bytes.
struct ColumnBytes {
  uint64_t start, stride;
};

// Queues the copy of `width` bytes of each row.
void launch_copy_columns(const Device& gpu, const std::byte* from, ColumnBytes in, int64_t rows, uint64_t width, std::byte* to,
                         ColumnBytes out) {
  with_unit({address(from), in.start, in.stride, width, address(to), out.start, out.stride}, [&]<class Unit>(std::type_identity<Unit>) {
    const auto in_units = [](uint64_t bytes) { return static_cast<int64_t>(bytes / sizeof(Unit)); };
    launch(device::copy_columns<Unit>, pass_grid(gpu, rows * in_units(width)), kPassThreads, 0, gpu.stream,
           reinterpret_cast<const Unit*>(from), device::Columns{in_units(in.start), in_units(in.stride)}, rows, in_units(width),
           reinterpret_cast<Unit*>(to), device::Columns{in_units(out.start), in_units(out.stride)});
  });
}

uint64_t bytes_of(const Tensor& tensor, int64_t elements) { return static_cast<uint64_t>(elements * element_bytes(tensor.type)); }

// Refuses what no activation is.
void expect_activation(const StepContext& context, const char* name, const Tensor& tensor) {
  for_element(context, name, tensor, [](auto) {});
}

std::vector<int64_t> with_last_axis(std::vector<int64_t> shape, int64_t size) {
  shape.back() = size;
  return shape;
}

std::unique_ptr<Kernel> prepare_slice(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  const int64_t start = context.integer("start"), width = context.integer("end") - start;
  if (start < 0 || width < 0 || start + width > matrix.channels) {
    context.fail("expected 0 <= start <= end <= " + std::to_string(matrix.channels) + " but received start " + std::to_string(start) +
                 ", end " + std::to_string(start + width));
  }
  expect_shape(context, "y", y, with_last_axis(x.shape, width), x.type);
  expect_activation(context, "x", x);
  const ColumnBytes in{bytes_of(x, start), bytes_of(x, matrix.channels)}, out{0, bytes_of(x, width)};
  return make_kernel([&gpu, &x, &y, rows = matrix.rows, in, out](const Memory& memory) {
    launch_copy_columns(gpu, memory.data<std::byte>(x), in, rows, out.stride, memory.data<std::byte>(y), out);
  });
}

std::unique_ptr<Kernel> prepare_slice_backward(const Device& gpu, const StepContext& context) {
  const Tensor &dy = context.input(0), &dx = context.output(0);
  const Matrix matrix = as_matrix(context, "dy", dy, dy.type);
  const int64_t start = context.integer("start"), size = context.integer("size");
  if (start < 0 || start + matrix.channels > size) {
    context.fail("expected start " + std::to_string(start) + " + " + std::to_string(matrix.channels) + " channels within size " +
                 std::to_string(size));
  }
  expect_shape(context, "dx", dx, with_last_axis(dy.shape, size), dy.type);
  expect_activation(context, "dy", dy);
  const uint64_t start_bytes = bytes_of(dy, start), width_bytes = bytes_of(dy, matrix.channels), size_bytes = bytes_of(dy, size);
  return make_kernel([&gpu, &dy, &dx, rows = matrix.rows, start_bytes, width_bytes, size_bytes](const Memory& memory) {
    const std::byte* from = memory.data<std::byte>(dy);
    std::byte* to = memory.data<std::byte>(dx);
    with_unit({address(from), address(to), start_bytes, width_bytes, size_bytes}, [&]<class Unit>(std::type_identity<Unit>) {
      const auto in_units = [](uint64_t bytes) { return static_cast<int64_t>(bytes / sizeof(Unit)); };
      launch(device::spread_columns<Unit>, pass_grid(gpu, rows * in_units(size_bytes)), kPassThreads, 0, gpu.stream,
             reinterpret_cast<const Unit*>(from), rows, in_units(width_bytes), in_units(start_bytes), in_units(size_bytes),
             reinterpret_cast<Unit*>(to));
    });
  });
}

std::unique_ptr<Kernel> prepare_concat(const Device& gpu, const StepContext& context) {
  const Tensor& y = context.output(0);
  const Matrix matrix = as_matrix(context, "y", y, y.type);
  std::vector<const Tensor*> parts;
  int64_t channels = 0;
  for (size_t i = 0; i < context.step.inputs.size(); ++i) {
    const Tensor& part = context.input(i);
    const int64_t width = as_matrix(context, "x", part, y.type).channels;
    expect_shape(context, "x", part, with_last_axis(y.shape, width), y.type);
    parts.push_back(&part);
    channels += width;
  }
  if (channels != matrix.channels) {
    context.fail("expected inputs of " + std::to_string(matrix.channels) + " channels together but received " + std::to_string(channels));
  }
  expect_activation(context, "y", y);
  return make_kernel([&gpu, parts, &y, rows = matrix.rows, stride = bytes_of(y, matrix.channels)](const Memory& memory) {
    uint64_t start = 0;
    for (const Tensor* part : parts) {
      const uint64_t width = bytes_of(*part, part->shape.back());
      launch_copy_columns(gpu, memory.data<std::byte>(*part), {0, width}, rows, width, memory.data<std::byte>(y), {start, stride});
      start += width;
    }
  });
}

}  // namespace

void add_elementwise(KernelRegistry& ops, const Device& gpu) {
  ops.add("add", [&gpu](const StepContext& context) { return prepare_add(gpu, context); });
  ops.add("add_bias", [&gpu](const StepContext& context) { return prepare_add_bias(gpu, context); });
  ops.add("cast", [&gpu](const StepContext& context) { return prepare_cast(gpu, context); });
  ops.add("fill", [&gpu](const StepContext& context) { return prepare_fill(gpu, context); });
  ops.add("copy", [&gpu](const StepContext& context) { return prepare_copy(gpu, context); });
  ops.add("slice", [&gpu](const StepContext& context) { return prepare_slice(gpu, context); });
  ops.add("slice_backward", [&gpu](const StepContext& context) { return prepare_slice_backward(gpu, context); });
  ops.add("concat", [&gpu](const StepContext& context) { return prepare_concat(gpu, context); });
}

}  // namespace kw::cuda
