// Ops that treat every element (or row of elements) alike: add, add_bias, cast, fill, copy, slice, concat and their gradients. An output
// may be an input's memory where sizes agree, so pointers are not __restrict; `omp simd` says that elements do not depend on each other.
#include <algorithm>
#include <cstring>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"

namespace kw::cpu {
namespace {

template <class T>
KW_WIDE void add(const T* a, const T* b, int64_t count, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(static_cast<float>(a[i]) + static_cast<float>(b[i]));
}

template <class T>
std::unique_ptr<Kernel> make_add(const StepContext& context) {
  const Tensor &a = context.input(0), &b = context.input(1), &y = context.output(0);
  return make_kernel([&a, &b, &y, count = y.elements(), threads = context.threads](const Memory& memory) {
    const T *left = memory.data<T>(a), *right = memory.data<T>(b);
    T* out = memory.data<T>(y);
    parallel_for(threads, count, kElementsPerThread,
                 [=](int64_t begin, int64_t end) { add(left + begin, right + begin, end - begin, out + begin); });
  });
}

std::unique_ptr<Kernel> prepare_add(const StepContext& context) {
  const Tensor& a = context.input(0);
  expect_shape(context, "b", context.input(1), a.shape, a.type);
  expect_shape(context, "y", context.output(0), a.shape, a.type);
  return for_element(context, "a", a, [&]<class T>(std::type_identity<T>) { return make_add<T>(context); });
}

template <class T>
KW_WIDE void add_bias(const T* x, const float* bias, int64_t rows, int64_t channels, T* y) {
  for (int64_t row = 0; row < rows; ++row) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) y[row * channels + c] = static_cast<T>(x[row * channels + c] + bias[c]);
  }
}

template <class T>
std::unique_ptr<Kernel> make_add_bias(const StepContext& context, Matrix matrix) {
  const Tensor &x = context.input(0), &bias = context.input(1), &y = context.output(0);
  return make_kernel([&x, &bias, &y, matrix, threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(x);
    const float* offset = memory.data<float>(bias);
    T* out = memory.data<T>(y);
    const int64_t channels = matrix.channels;
    parallel_for(threads, matrix.rows, rows_per_thread(channels), [=](int64_t begin, int64_t end) {
      add_bias(in + begin * channels, offset, end - begin, channels, out + begin * channels);
    });
  });
}

std::unique_ptr<Kernel> prepare_add_bias(const StepContext& context) {
  const Tensor& x = context.input(0);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  expect_shape(context, "bias", context.input(1), {matrix.channels});
  expect_shape(context, "y", context.output(0), x.shape, x.type);
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) { return make_add_bias<T>(context, matrix); });
}

template <class From, class To>
KW_WIDE void cast(const From* x, int64_t count, To* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<To>(static_cast<float>(x[i]));
}

template <class From, class To>
std::unique_ptr<Kernel> make_cast(const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
  return make_kernel([&x, &y, count = y.elements(), threads = context.threads](const Memory& memory) {
    const From* in = memory.data<From>(x);
    To* out = memory.data<To>(y);
    parallel_for(threads, count, kElementsPerThread, [=](int64_t begin, int64_t end) { cast(in + begin, end - begin, out + begin); });
  });
}

std::unique_ptr<Kernel> prepare_cast(const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
  const std::string type = context.text("type");
  if (type != name_of(y.type)) context.fail("expected y to be " + type + " but received " + name_of(y.type));
  expect_shape(context, "y", y, x.shape, y.type);
  return for_element(context, "x", x, [&]<class From>(std::type_identity<From>) {
    return for_element(context, "y", y, [&]<class To>(std::type_identity<To>) { return make_cast<From, To>(context); });
  });
}

std::unique_ptr<Kernel> prepare_fill(const StepContext& context) {
  const Tensor& y = context.output(0);
  expect_shape(context, "y", y, context.integers("shape"));
  const float value = static_cast<float>(context.number("value"));
  return make_kernel([&y, value, count = y.elements(), threads = context.threads](const Memory& memory) {
    float* out = memory.data<float>(y);
    parallel_for(threads, count, kElementsPerThread, [=](int64_t begin, int64_t end) { std::fill(out + begin, out + end, value); });
  });
}

std::unique_ptr<Kernel> prepare_copy(const StepContext& context) {
  const Tensor &destination = context.input(0), &source = context.input(1);
  expect_shape(context, "source", source, destination.shape, destination.type);
  return make_kernel([&destination, &source, bytes = source.bytes(), threads = context.threads](const Memory& memory) {
    std::byte* to = memory.data<std::byte>(destination);
    const std::byte* from = memory.data<std::byte>(source);
    if (to == from) return;
    parallel_for(threads, bytes, kElementsPerThread * static_cast<int64_t>(sizeof(float)),
                 [=](int64_t begin, int64_t end) { std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin)); });
  });
}

// Copies `width` elements of each row from one matrix to another; a stride is the distance between rows.
template <class T>
void copy_columns(int threads, int64_t rows, int64_t width, const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  parallel_for(threads, rows, rows_per_thread(width), [=](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) std::copy_n(from + row * from_stride, width, to + row * to_stride);
  });
}

std::vector<int64_t> with_last_axis(std::vector<int64_t> shape, int64_t size) {
  shape.back() = size;
  return shape;
}

std::unique_ptr<Kernel> prepare_slice(const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  const int64_t start = context.integer("start"), width = context.integer("end") - start;
  if (start < 0 || width < 0 || start + width > matrix.channels) {
    context.fail("expected 0 <= start <= end <= " + std::to_string(matrix.channels) + " but received start " + std::to_string(start) +
                 ", end " + std::to_string(start + width));
  }
  expect_shape(context, "y", y, with_last_axis(x.shape, width), x.type);
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&x, &y, matrix, start, width, threads = context.threads](const Memory& memory) {
      copy_columns(threads, matrix.rows, width, memory.data<T>(x) + start, matrix.channels, memory.data<T>(y), width);
    });
  });
}

template <class T>
std::unique_ptr<Kernel> make_slice_backward(const StepContext& context, Matrix matrix, int64_t start, int64_t size) {
  const Tensor &dy = context.input(0), &dx = context.output(0);
  return make_kernel([&dy, &dx, matrix, start, size, threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(dy);
    T* out = memory.data<T>(dx);
    const int64_t width = matrix.channels;
    parallel_for(threads, matrix.rows, rows_per_thread(size), [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        T* out_row = out + row * size;
        std::fill_n(out_row, start, static_cast<T>(0.0f));
        std::copy_n(in + row * width, width, out_row + start);
        std::fill_n(out_row + start + width, size - start - width, static_cast<T>(0.0f));
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_slice_backward(const StepContext& context) {
  const Tensor& dy = context.input(0);
  const Matrix matrix = as_matrix(context, "dy", dy, dy.type);
  const int64_t start = context.integer("start"), size = context.integer("size");
  if (start < 0 || start + matrix.channels > size) {
    context.fail("expected start " + std::to_string(start) + " + " + std::to_string(matrix.channels) + " channels within size " +
                 std::to_string(size));
  }
  expect_shape(context, "dx", context.output(0), with_last_axis(dy.shape, size), dy.type);
  return for_element(context, "dy", dy,
                     [&]<class T>(std::type_identity<T>) { return make_slice_backward<T>(context, matrix, start, size); });
}

std::unique_ptr<Kernel> prepare_concat(const StepContext& context) {
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
  return for_element(context, "y", y, [&]<class T>(std::type_identity<T>) {
    return make_kernel([parts, &y, matrix, threads = context.threads](const Memory& memory) {
      T* out = memory.data<T>(y);
      for (const Tensor* part : parts) {
        const int64_t width = part->shape.back();
        copy_columns(threads, matrix.rows, width, memory.data<T>(*part), width, out, matrix.channels);
        out += width;
      }
    });
  });
}

}  // namespace

void add_elementwise(KernelRegistry& registry) {
  registry.add("add", prepare_add);
  registry.add("add_bias", prepare_add_bias);
  registry.add("cast", prepare_cast);
  registry.add("fill", prepare_fill);
  registry.add("copy", prepare_copy);
  registry.add("slice", prepare_slice);
  registry.add("slice_backward", prepare_slice_backward);
  registry.add("concat", prepare_concat);
}

}  // namespace kw::cpu
