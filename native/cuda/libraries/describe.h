// What `doctor` prints of the GPU, as JSON text, so that it can pass through a C interface. lib/runtime/cuda_report.ts reads it.
#pragma once

#include <string>

#include "cuda/libraries/driver.h"
#include "cuda/libraries/gpu_libraries.h"

namespace kw::cuda {

// {"driver": library + {"release"}, "devices": [{"name", "memory", "computeCapability"}], "problem", "libraries": [library, ...]} where
// library is {"name", "soname", "path", "version", "isUsed", "problem", "attempts": [{"origin", "path", "problem"}]}. Text that does not
// apply is empty. `isUsed` is false for a library whose headers were missing when the plug-in was built. UTF-8.
std::string describe_libraries(const GpuLibraries& libraries, const DriverFacts& driver);

// Of this process: opens all libraries and asks the driver.
std::string describe_libraries();

}  // namespace kw::cuda
