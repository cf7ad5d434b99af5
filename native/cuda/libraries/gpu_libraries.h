// The libraries that the CUDA plug-in uses where they are: cuDNN 9, cuBLASLt 13, and NVRTC 13, with which cuDNN compiles kernels.
#pragma once

#include "cuda/libraries/library.h"

namespace kw::cuda {

struct GpuLibraries {
  // In the order in which they are opened: cuDNN looks for the other two by their bare names, and finds what is loaded.
  Library nvrtc;
  Library cublas_lt;
  Library cudnn;
};

// Opens what is there. Needs no GPU and no driver. Takes a fifth of a second.
GpuLibraries open_gpu_libraries(const Surroundings& surroundings);

// Those of this process, opened at the first call.
const GpuLibraries& gpu_libraries();

}  // namespace kw::cuda
