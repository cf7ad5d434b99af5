// Ops that treat every element (or row of elements) alike: add, add_bias, cast, fill, copy, slice, concat and their gradients. An output
// may be an input's memory where sizes agree, so pointers are not __restrict; `omp simd` says that elements do not depend on each other.
#include <algorithm>
#include <cstring>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

template <class T>
KW_WIDE void add(const T* a, const T* b, int64_t count, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(static_cast<float>(a[i]) + static_cast<float>(b[i]));
}

template <class T>
std::unique_ptr<Kernel> make_add(const AddStep& step, const KernelContext& context) {
  return make_kernel([step, count = step.y.elements(), threads = context.threads](const Memory& memory) {
    const T *left = memory.data<T>(step.a), *right = memory.data<T>(step.b);
    T* out = memory.data<T>(step.y);
    parallel_for(threads, count, kElementsPerThread,
                 [=](int64_t begin, int64_t end) { add(left + begin, right + begin, end - begin, out + begin); });
  });
}

std::unique_ptr<Kernel> prepare_add(const AddStep& step, const KernelContext& context) {
  return for_element(step.a, [&]<class T>(std::type_identity<T>) { return make_add<T>(step, context); });
}

template <class T>
KW_WIDE void add_bias(const T* x, const float* bias, int64_t rows, int64_t channels, T* y) {
  for (int64_t row = 0; row < rows; ++row) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) y[row * channels + c] = static_cast<T>(x[row * channels + c] + bias[c]);
  }
}

template <class T>
std::unique_ptr<Kernel> make_add_bias(const AddBiasStep& step, const KernelContext& context) {
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(step.x);
    const float* offset = memory.data<float>(step.bias);
    T* out = memory.data<T>(step.y);
    const int64_t channels = step.matrix.channels;
    parallel_for(threads, step.matrix.rows, rows_per_thread(channels), [=](int64_t begin, int64_t end) {
      add_bias(in + begin * channels, offset, end - begin, channels, out + begin * channels);
    });
  });
}

std::unique_ptr<Kernel> prepare_add_bias(const AddBiasStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_add_bias<T>(step, context); });
}

template <class From, class To>
KW_WIDE void cast(const From* x, int64_t count, To* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<To>(static_cast<float>(x[i]));
}

template <class From, class To>
std::unique_ptr<Kernel> make_cast(const CastStep& step, const KernelContext& context) {
  return make_kernel([step, count = step.y.elements(), threads = context.threads](const Memory& memory) {
    const From* in = memory.data<From>(step.x);
    To* out = memory.data<To>(step.y);
    parallel_for(threads, count, kElementsPerThread, [=](int64_t begin, int64_t end) { cast(in + begin, end - begin, out + begin); });
  });
}

std::unique_ptr<Kernel> prepare_cast(const CastStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class From>(std::type_identity<From>) {
    return for_element(step.y, [&]<class To>(std::type_identity<To>) { return make_cast<From, To>(step, context); });
  });
}

std::unique_ptr<Kernel> prepare_fill(const FillStep& step, const KernelContext& context) {
  return make_kernel([step, count = step.y.elements(), threads = context.threads](const Memory& memory) {
    float* out = memory.data<float>(step.y);
    parallel_for(threads, count, kElementsPerThread,
                 [=, value = step.value](int64_t begin, int64_t end) { std::fill(out + begin, out + end, value); });
  });
}

std::unique_ptr<Kernel> prepare_copy(const CopyStep& step, const KernelContext& context) {
  return make_kernel([step, bytes = step.source.bytes(), threads = context.threads](const Memory& memory) {
    std::byte* to = memory.data<std::byte>(step.destination);
    const std::byte* from = memory.data<std::byte>(step.source);
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

std::unique_ptr<Kernel> prepare_slice(const SliceStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([step, threads = context.threads](const Memory& memory) {
      copy_columns(threads, step.matrix.rows, step.width, memory.data<T>(step.x) + step.start, step.matrix.channels, memory.data<T>(step.y),
                   step.width);
    });
  });
}

template <class T>
std::unique_ptr<Kernel> make_slice_backward(const SliceBackwardStep& step, const KernelContext& context) {
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(step.dy);
    T* out = memory.data<T>(step.dx);
    const int64_t width = step.matrix.channels, start = step.start, size = step.size;
    parallel_for(threads, step.matrix.rows, rows_per_thread(size), [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        T* out_row = out + row * size;
        std::fill_n(out_row, start, static_cast<T>(0.0f));
        std::copy_n(in + row * width, width, out_row + start);
        std::fill_n(out_row + start + width, size - start - width, static_cast<T>(0.0f));
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_slice_backward(const SliceBackwardStep& step, const KernelContext& context) {
  return for_element(step.dy, [&]<class T>(std::type_identity<T>) { return make_slice_backward<T>(step, context); });
}

std::unique_ptr<Kernel> prepare_concat(const ConcatStep& step, const KernelContext& context) {
  return for_element(step.y, [&]<class T>(std::type_identity<T>) {
    return make_kernel([step, threads = context.threads](const Memory& memory) {
      T* out = memory.data<T>(step.y);
      for (const Tensor* part : step.parts) {
        const int64_t width = part->shape.back();
        copy_columns(threads, step.matrix.rows, width, memory.data<T>(*part), width, out, step.matrix.channels);
        out += width;
      }
    });
  });
}

}  // namespace

void add_elementwise(KernelRegistry& registry) {
  add_kernel(registry, ops::add, prepare_add);
  add_kernel(registry, ops::add_bias, prepare_add_bias);
  add_kernel(registry, ops::cast, prepare_cast);
  add_kernel(registry, ops::fill, prepare_fill);
  add_kernel(registry, ops::copy, prepare_copy);
  add_kernel(registry, ops::slice, prepare_slice);
  add_kernel(registry, ops::slice_backward, prepare_slice_backward);
  add_kernel(registry, ops::concat, prepare_concat);
}

}  // namespace kw::cpu
