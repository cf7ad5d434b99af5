// What the NVIDIA driver tells of itself and of the machine's GPUs, asked for through libcuda.so.1 alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/libraries/library.h"

namespace kw::cuda {

struct GpuFacts {
  std::string name;
  uint64_t memory = 0;  // bytes
  int major = 0;        // compute capability
  int minor = 0;
};

struct DriverFacts {
  Library library;      // libcuda.so.1; its version is the newest CUDA that the driver serves
  std::string release;  // of the kernel's module, such as 580.95.05; empty where the system does not tell
  std::vector<GpuFacts> devices;
  std::string problem;  // why no device can be used; empty when one can
};

// Opens the driver's library and counts its devices. Makes no context, so it takes no memory of a device.
DriverFacts examine_driver(const Surroundings& surroundings);

}  // namespace kw::cuda
