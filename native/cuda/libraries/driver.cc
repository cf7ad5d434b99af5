#include "cuda/libraries/driver.h"

#include <fstream>
#include <regex>

namespace kw::cuda {
namespace {

// Of cuda.h, which is not needed for so little: codes and attributes of a stable interface.
constexpr int kSuccess = 0;
constexpr int kComputeCapabilityMajor = 75;
constexpr int kComputeCapabilityMinor = 76;
constexpr int kLeastCuda = 13000;

std::string read_driver_version(const Library& library) {
  int version = 0;
  if (library.function<int(int*)>("cuDriverGetVersion")(&version) != kSuccess) throw Refusal("cuDriverGetVersion fails");
  const std::string text = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
  if (version < kLeastCuda) throw Refusal("this driver serves CUDA " + text + ", and 13.0 is needed: install driver 580 or newer");
  return text;
}

std::string read_release(const Surroundings& surroundings) {
  std::ifstream file(surroundings.root + "/proc/driver/nvidia/version");
  std::string line;
  std::getline(file, line);
  std::smatch match;
  return std::regex_search(line, match, std::regex(R"(\s(\d+\.\d+(\.\d+)?)\s)")) ? match[1].str() : "";
}

// Throws Refusal with the driver's name of the error.
void check(const Library& library, const char* call, int code) {
  if (code == kSuccess) return;
  const char* name = nullptr;
  const bool is_named = library.function<int(int, const char**)>("cuGetErrorName")(code, &name) == kSuccess && name;
  throw Refusal(std::string(call) + " fails with " + (is_named ? name : "an unknown error") + " (" + std::to_string(code) + ")");
}

std::vector<GpuFacts> list_devices(const Library& library) {
  check(library, "cuInit", library.function<int(unsigned)>("cuInit")(0));
  int count = 0;
  check(library, "cuDeviceGetCount", library.function<int(int*)>("cuDeviceGetCount")(&count));
  std::vector<GpuFacts> devices(static_cast<size_t>(count));
  for (int ordinal = 0; ordinal < count; ordinal++) {
    GpuFacts& facts = devices[static_cast<size_t>(ordinal)];
    int device = 0;
    check(library, "cuDeviceGet", library.function<int(int*, int)>("cuDeviceGet")(&device, ordinal));
    char name[256] = "";
    check(library, "cuDeviceGetName", library.function<int(char*, int, int)>("cuDeviceGetName")(name, sizeof(name), device));
    facts.name = name;
    size_t bytes = 0;
    check(library, "cuDeviceTotalMem", library.function<int(size_t*, int)>("cuDeviceTotalMem_v2")(&bytes, device));
    facts.memory = bytes;
    const auto attribute = library.function<int(int*, int, int)>("cuDeviceGetAttribute");
    check(library, "cuDeviceGetAttribute", attribute(&facts.major, kComputeCapabilityMajor, device));
    check(library, "cuDeviceGetAttribute", attribute(&facts.minor, kComputeCapabilityMinor, device));
  }
  return devices;
}

LibraryDescription describe_driver_library(const Surroundings& surroundings) {
  LibraryDescription description;
  description.name = "The NVIDIA driver";
  description.soname = "libcuda.so.1";
  description.remedy = "Install driver 580 or newer; in a container, start it with access to the GPUs.";
  description.places = driver_places(surroundings);
  description.read_version = read_driver_version;
  return description;
}

}  // namespace

DriverFacts examine_driver(const Surroundings& surroundings) {
  DriverFacts facts{Library(describe_driver_library(surroundings), surroundings), read_release(surroundings), {}, ""};
  facts.problem = facts.library.problem();
  if (!facts.library.is_open()) return facts;
  try {
    facts.devices = list_devices(facts.library);
    if (facts.devices.empty()) facts.problem = "The driver sees no device; is CUDA_VISIBLE_DEVICES set?";
  } catch (const Refusal& refusal) {
    facts.problem = refusal.what();
  }
  return facts;
}

}  // namespace kw::cuda
