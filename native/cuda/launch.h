// Starting a kernel: the one place that does, for the device and for the emulator of the tests.
#pragma once

#include <cuda_runtime.h>
#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "cuda/check.h"

namespace kw::cuda {

/** The name of a kernel as the source has it, or "kernel" where CUDA knows none. */
inline std::string kernel_name(const void* kernel) {
  const char* mangled = nullptr;
  if (cudaFuncGetName(&mangled, kernel) != cudaSuccess || !mangled) {
    cudaGetLastError();
    return "kernel";
  }
  int status = 0;
  std::unique_ptr<char, decltype(&std::free)> name(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), &std::free);
  return status == 0 ? name.get() : mangled;
}

/** Shared memory in bytes that a block may have without being allowed more. */
constexpr std::size_t kUsualSharedBytes = 48 * 1024;

/**
 * Starts `kernel` with `arguments` on `stream`: `grid` blocks of `block` threads, each block with `shared_bytes` of dynamic shared memory
 * (at most 163 KB on sm_80, 227 KB on sm_90). Returns at once; what goes wrong in the kernel comes out where the stream is waited for.
 * Throws kw::Error, naming the kernel, when it cannot be started.
 */
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream, Arguments&&... arguments) {
  const void* function = reinterpret_cast<const void*>(kernel);
  cudaError_t status = cudaSuccess;
  // Each time, not once: a kernel may be started with more on another device or by another program, and the call costs less than a
  // microsecond.
  if (shared_bytes > kUsualSharedBytes)
    status = cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  if (status == cudaSuccess) {
#ifdef KW_EMULATOR
    status = kw::emulator::launch_kernel(function, grid, block, shared_bytes, stream, [kernel, values] { std::apply(kernel, values); });
#else
    std::apply(
        [&](auto&... value) {
          void* addresses[] = {&value..., nullptr};
          status = cudaLaunchKernel(function, grid, block, addresses, shared_bytes, stream);
        },
        values);
#endif
  }
  if (status == cudaSuccess) return;
  const auto size = [](dim3 count) { return std::to_string(count.x) + "x" + std::to_string(count.y) + "x" + std::to_string(count.z); };
  check(status, "starting " + kernel_name(function) + " with " + size(grid) + " blocks of " + size(block) + " threads and " +
                    std::to_string(shared_bytes) + " bytes of shared memory");
}

}  // namespace kw::cuda
