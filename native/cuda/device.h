// What kernels may know of the GPU that they are prepared for.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <string>

namespace kw::cuda {

class LibraryPlans;

// Lives as long as the backend, which outlives its kernels.
struct Device {
  int index = 0;
  std::string name;
  int capability = 0;  // 10 * major + minor: 80, 90, ...
  int multiprocessors = 0;
  size_t shared_memory = 0;  // bytes that a block may ask for
  size_t l2_bytes = 0;
  size_t memory_bytes = 0;
  bool tf32 = false;                        // float32 products may be rounded to TF32
  cudaStream_t stream = nullptr;            // where kernels are queued, in order
  std::shared_ptr<LibraryPlans> libraries;  // kernels of NVIDIA's libraries; null: without them
};

// Fills in all but stream and libraries. Throws unsupported, naming what is there, when there is no GPU `index`.
Device describe_device(int index, bool tf32);

}  // namespace kw::cuda
