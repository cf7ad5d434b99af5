// Starting kernels.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string>

#include "emulator/grid.h"
#include "emulator/heap.h"
#include "emulator/options.h"
#include "emulator/runtime/status.h"
#include "emulator/runtime/stream.h"

namespace kw::emulator {
namespace {

/** Dynamic shared memory in bytes that a kernel has been allowed beyond the usual. */
struct Allowances {
  std::mutex mutex;
  std::map<const void*, std::size_t> bytes;
};

Allowances& allowances() {
  static Allowances& instance = *new Allowances;
  return instance;
}

std::size_t allowed_shared_bytes(const void* kernel) {
  constexpr std::size_t kUsual = 48 * 1024;
  const std::lock_guard<std::mutex> lock(allowances().mutex);
  const auto found = allowances().bytes.find(kernel);
  return std::min(shared_limit(), found == allowances().bytes.end() ? kUsual : std::max(kUsual, found->second));
}

bool is_possible(dim3 grid, dim3 block) {
  const auto is_within = [](dim3 size, unsigned x, unsigned y, unsigned z) {
    return size.x >= 1 && size.y >= 1 && size.z >= 1 && size.x <= x && size.y <= y && size.z <= z;
  };
  return is_within(grid, 2147483647, 65535, 65535) && is_within(block, 1024, 1024, 64) && block.x * block.y * block.z <= 1024;
}

cudaError_t status_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::illegal_address:
      return cudaErrorIllegalAddress;
    case FaultKind::misaligned_address:
      return cudaErrorMisalignedAddress;
    case FaultKind::launch_failure:
      break;
  }
  return cudaErrorLaunchFailure;
}

void perform(const Launch& launch) {
  if (const std::optional<Fault> fault = run_grid(launch)) {
    fail_device(status_of(fault->kind), fault->description);
  } else if (const std::optional<std::string> overrun = device_heap().find_overrun()) {
    fail_device(cudaErrorIllegalAddress, *overrun + ", noticed after kernel " + function_name(launch.kernel));
  }
}

}  // namespace

cudaError_t launch_kernel(const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                          std::function<void()> body) {
  if (const cudaError_t status = obstacle(); status != cudaSuccess) return finish(status);
  if (!is_possible(grid, block)) return finish(cudaErrorInvalidConfiguration);
  if (shared_bytes > allowed_shared_bytes(kernel)) return finish(cudaErrorInvalidValue);
  const Launch launch{kernel, grid, block, shared_bytes, std::move(body)};
  return finish(streams().queue(stream, [launch] { perform(launch); }));
}

}  // namespace kw::emulator

using namespace kw::emulator;

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  if (const cudaError_t status = obstacle(); status != cudaSuccess) return finish(status);
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
  if (!function || attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
      static_cast<std::size_t>(value) > shared_limit()) {
    return finish(cudaErrorInvalidValue);
  }
  const std::lock_guard<std::mutex> lock(allowances().mutex);
  allowances().bytes[function] = static_cast<std::size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaFuncGetName(const char** name, const void* function) {
  static std::mutex mutex;
  static std::map<const void*, std::string>& names = *new std::map<const void*, std::string>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::string& known = names[function];
  if (known.empty()) known = symbol_name(function);
  if (known.empty()) return finish(cudaErrorInvalidDeviceFunction);
  *name = known.c_str();
  return cudaSuccess;
}
