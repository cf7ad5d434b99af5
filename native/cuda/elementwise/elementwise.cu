// Ops that treat every element (or row of elements) alike: add, add_bias, cast, fill, copy, slice, concat and their gradients. An output
// may be an input's memory where sizes agree.
#include "cuda/kernels/elementwise.cuh"

#include <algorithm>
#include <vector>

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_add(const Device& gpu, const AddStep& step, const KernelContext&) {
  return for_element(step.a, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, count = step.y.elements()](const Memory& memory) {
      launch_map_pairs<device::Add>(gpu, memory.data<const T>(step.a), memory.data<const T>(step.b), count, memory.data<T>(step.y));
    });
  });
}

std::unique_ptr<Kernel> prepare_add_bias(const Device& gpu, const AddBiasStep& step, const KernelContext&) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, channels = step.matrix.channels, count = step.y.elements()](const Memory& memory) {
      const T* in = memory.data<T>(step.x);
      const float* offsets = memory.data<float>(step.bias);
      T* out = memory.data<T>(step.y);
      const bool packed = channels % device::kPack<T> == 0 && starts_packs({in, offsets, out});
      launch(device::add_bias<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, in, offsets, count,
             channels, packed, out);
    });
  });
}

std::unique_ptr<Kernel> prepare_cast(const Device& gpu, const CastStep& step, const KernelContext&) {
  return for_element(step.x, [&]<class From>(std::type_identity<From>) {
    return for_element(step.y, [&]<class To>(std::type_identity<To>) {
      return make_kernel([&gpu, step, count = step.y.elements()](const Memory& memory) {
        launch_map<device::Keep>(gpu, memory.data<const From>(step.x), count, memory.data<To>(step.y));
      });
    });
  });
}

std::unique_ptr<Kernel> prepare_fill(const Device& gpu, const FillStep& step, const KernelContext&) {
  return make_kernel([&gpu, step, count = step.y.elements()](const Memory& memory) {
    float* out = memory.data<float>(step.y);
    const bool packed = starts_packs({out});
    launch(device::fill, packs_grid<device::kPack<float>>(gpu, count, packed), kPassThreads, 0, gpu.stream, step.value, count, packed, out);
  });
}

std::unique_ptr<Kernel> prepare_copy(const Device& gpu, const CopyStep& step, const KernelContext&) {
  return make_kernel([&gpu, step, bytes = static_cast<size_t>(step.source.bytes())](const Memory& memory) {
    std::byte* to = memory.data<std::byte>(step.destination);
    const std::byte* from = memory.data<std::byte>(step.source);
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

std::unique_ptr<Kernel> prepare_slice(const Device& gpu, const SliceStep& step, const KernelContext&) {
  const ColumnBytes in{bytes_of(step.x, step.start), bytes_of(step.x, step.matrix.channels)}, out{0, bytes_of(step.x, step.width)};
  return make_kernel([&gpu, step, in, out](const Memory& memory) {
    launch_copy_columns(gpu, memory.data<std::byte>(step.x), in, step.matrix.rows, out.stride, memory.data<std::byte>(step.y), out);
  });
}

std::unique_ptr<Kernel> prepare_slice_backward(const Device& gpu, const SliceBackwardStep& step, const KernelContext&) {
  const uint64_t start_bytes = bytes_of(step.dy, step.start), width_bytes = bytes_of(step.dy, step.matrix.channels),
                 size_bytes = bytes_of(step.dy, step.size);
  return make_kernel([&gpu, step, start_bytes, width_bytes, size_bytes](const Memory& memory) {
    const std::byte* from = memory.data<std::byte>(step.dy);
    std::byte* to = memory.data<std::byte>(step.dx);
    with_unit({address(from), address(to), start_bytes, width_bytes, size_bytes}, [&]<class Unit>(std::type_identity<Unit>) {
      const int64_t rows = step.matrix.rows;
      const auto in_units = [](uint64_t bytes) { return static_cast<int64_t>(bytes / sizeof(Unit)); };
      launch(device::spread_columns<Unit>, pass_grid(gpu, rows * in_units(size_bytes)), kPassThreads, 0, gpu.stream,
             reinterpret_cast<const Unit*>(from), rows, in_units(width_bytes), in_units(start_bytes), in_units(size_bytes),
             reinterpret_cast<Unit*>(to));
    });
  });
}

std::unique_ptr<Kernel> prepare_concat(const Device& gpu, const ConcatStep& step, const KernelContext&) {
  return make_kernel([&gpu, step, stride = bytes_of(step.y, step.matrix.channels)](const Memory& memory) {
    uint64_t start = 0;
    for (const Tensor* part : step.parts) {
      const uint64_t width = bytes_of(*part, part->shape.back());
      launch_copy_columns(gpu, memory.data<std::byte>(*part), {0, width}, step.matrix.rows, width, memory.data<std::byte>(step.y),
                          {start, stride});
      start += width;
    }
  });
}

}  // namespace

void add_elementwise(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::add, prepare_add);
  add_kernel(registry, gpu, ops::add_bias, prepare_add_bias);
  add_kernel(registry, gpu, ops::cast, prepare_cast);
  add_kernel(registry, gpu, ops::fill, prepare_fill);
  add_kernel(registry, gpu, ops::copy, prepare_copy);
  add_kernel(registry, gpu, ops::slice, prepare_slice);
  add_kernel(registry, gpu, ops::slice_backward, prepare_slice_backward);
  add_kernel(registry, gpu, ops::concat, prepare_concat);
}

}  // namespace kw::cuda
