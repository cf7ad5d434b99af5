// Allocations and copies.
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "emulator/heap.h"
#include "emulator/options.h"
#include "emulator/runtime/status.h"
#include "emulator/runtime/stream.h"

namespace kw::emulator {
namespace {

/** Not allowed in a capture, and not with an obstacle. */
cudaError_t unsafe_call() {
  const cudaError_t status = obstacle();
  return status == cudaSuccess ? streams().allow_unsafe_call() : status;
}

bool is_device(const void* address) { return device_heap().contains(address, 1); }

/** Whether both ends of a copy are where its kind says, and all of it. */
bool is_possible(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyDefault ? is_device(to) : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDefault ? is_device(from) : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const auto fits = [&](const void* address, bool on_device) {
    return on_device ? device_heap().contains(address, bytes) : address != nullptr && !is_device(address);
  };
  return fits(to, to_device) && fits(from, from_device);
}

/** The memory is looked at again when it is used: a graph may outlive it. */
void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (is_possible(to, from, bytes, kind)) {
    std::memmove(to, from, bytes);
  } else {
    fail_device(cudaErrorIllegalAddress, "a copy of " + std::to_string(bytes) + " bytes to or from memory that has been freed");
  }
}

void set(void* address, int value, std::size_t bytes) {
  if (device_heap().contains(address, bytes)) {
    std::memset(address, value, bytes);
  } else {
    fail_device(cudaErrorIllegalAddress, "setting " + std::to_string(bytes) + " bytes of memory that has been freed");
  }
}

cudaError_t check_copy(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  return bytes == 0 || is_possible(to, from, bytes, kind) ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace
}  // namespace kw::emulator

using namespace kw::emulator;

cudaError_t cudaMalloc(void** address, std::size_t bytes) {
  if (const cudaError_t status = unsafe_call(); status != cudaSuccess) return finish(status);
  *address = nullptr;
  if (bytes == 0) return cudaSuccess;
  *address = device_heap().allocate(bytes, options().memory);
  return finish(*address ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void* address) {
  if (const cudaError_t status = unsafe_call(); status != cudaSuccess) return finish(status);
  if (!address) return cudaSuccess;
  if (const cudaError_t status = streams().synchronize_device(); status != cudaSuccess) return finish(status);
  return finish(device_heap().free(address) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMallocHost(void** address, std::size_t bytes, unsigned flags) { return cudaHostAlloc(address, bytes, flags); }

cudaError_t cudaHostAlloc(void** address, std::size_t bytes, unsigned) {
  if (const cudaError_t status = unsafe_call(); status != cudaSuccess) return finish(status);
  *address = nullptr;
  if (bytes == 0) return cudaSuccess;
  *address = page_locked_heap().allocate(bytes, SIZE_MAX);
  return finish(*address ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void* address) {
  if (const cudaError_t status = unsafe_call(); status != cudaSuccess) return finish(status);
  if (!address) return cudaSuccess;
  if (const cudaError_t status = streams().synchronize_device(); status != cudaSuccess) return finish(status);
  return finish(page_locked_heap().free(address) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  if (const cudaError_t status = obstacle(); status != cudaSuccess) return finish(status);
  *total = options().memory;
  const std::size_t used = device_heap().used_bytes();
  *free = *total > used ? *total - used : 0;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  if (const cudaError_t status = obstacle(); status != cudaSuccess) return finish(status);
  void* place = const_cast<void*>(address);
  if (is_device(address)) {
    *attributes = {cudaMemoryTypeDevice, 0, place, nullptr};
  } else if (page_locked_heap().contains(address, 1)) {
    *attributes = {cudaMemoryTypeHost, 0, place, place};
  } else {
    *attributes = {cudaMemoryTypeUnregistered, -1, nullptr, place};
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t status = unsafe_call(); status != cudaSuccess) return finish(status);
  if (const cudaError_t status = check_copy(to, from, bytes, kind); status != cudaSuccess) return finish(status);
  if (const cudaError_t status = streams().synchronize_default(); status != cudaSuccess) return finish(status);
  if (bytes > 0) std::memmove(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (const cudaError_t status = obstacle(); status != cudaSuccess) return finish(status);
  if (const cudaError_t status = check_copy(to, from, bytes, kind); status != cudaSuccess) return finish(status);
  if (bytes == 0) return cudaSuccess;
  const auto perform = [=] { copy(to, from, bytes, kind); };
  return finish(is_device(to) ? streams().queue_transfer(stream, perform) : streams().queue(stream, perform));
}

cudaError_t cudaMemset(void* address, int value, std::size_t bytes) { return cudaMemsetAsync(address, value, bytes, nullptr); }

cudaError_t cudaMemsetAsync(void* address, int value, std::size_t bytes, cudaStream_t stream) {
  if (const cudaError_t status = obstacle(); status != cudaSuccess) return finish(status);
  if (bytes == 0) return cudaSuccess;
  if (!device_heap().contains(address, bytes)) return finish(cudaErrorInvalidValue);
  return finish(streams().queue(stream, [=] { set(address, value, bytes); }));
}
