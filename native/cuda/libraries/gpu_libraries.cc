#include "cuda/libraries/gpu_libraries.h"

#include <cstddef>

#include "cuda/libraries/function_names.h"

namespace kw::cuda {
namespace {

// Both as their libraries encode them: CUDA 13.0 is 13000.
constexpr size_t kCudaMajor = 13;
constexpr size_t kCudaMajorUnit = 1000;

std::string version_text(size_t version) {
  const auto part = [&](size_t unit) { return std::to_string(version / unit % 100); };
  return part(10000) + "." + part(100) + "." + part(1);
}

void require_cuda(size_t cudart_version, const std::string& remedy) {
  const size_t major = cudart_version / kCudaMajorUnit;
  if (major == kCudaMajor) return;
  throw Refusal("it is built for CUDA " + std::to_string(major) + ", and CUDA " + std::to_string(kCudaMajor) + " is needed; " + remedy);
}

std::string read_nvrtc_version(const Library& library) {
  int major = 0;
  int minor = 0;
  if (library.function<int(int*, int*)>("nvrtcVersion")(&major, &minor) != 0) throw Refusal("nvrtcVersion fails");
  require_cuda(static_cast<size_t>(major) * kCudaMajorUnit, "pip install nvidia-cuda-nvrtc");
  return std::to_string(major) + "." + std::to_string(minor);
}

std::string read_cublas_lt_version(const Library& library) {
  require_cuda(library.function<size_t()>("cublasLtGetCudartVersion")(), "pip install nvidia-cublas");
  return version_text(library.function<size_t()>("cublasLtGetVersion")());
}

// cuDNN ends the process when a companion that it needs is missing, so these come before any call.
const std::vector<std::string> kCudnnCompanions = {"libcudnn_graph.so.9",
                                                   "libcudnn_ops.so.9",
                                                   "libcudnn_cnn.so.9",
                                                   "libcudnn_heuristic.so.9",
                                                   "libcudnn_engines_precompiled.so.9",
                                                   "libcudnn_engines_runtime_compiled.so.9"};

std::string read_cudnn_version(const Library& library) {
  require_cuda(library.function<size_t()>("cudnnGetCudartVersion")(), "pip install nvidia-cudnn-cu13");
  const size_t version = library.function<size_t()>("cudnnGetVersion")();
  if (version < 90000)
    throw Refusal("it is cuDNN " + std::to_string(version / 1000) + ", and 9 or newer is needed; pip install nvidia-cudnn-cu13");
  const struct {
    const char* check;
    const char* companion;
  } companions[] = {{"cudnnGraphVersionCheck", "libcudnn_graph.so.9"},
                    {"cudnnOpsVersionCheck", "libcudnn_ops.so.9"},
                    {"cudnnCnnVersionCheck", "libcudnn_cnn.so.9"}};
  for (const auto& [check, companion] : companions) {
    if (library.function<int()>(check)() == 0) continue;
    throw Refusal("it is of another version than the " + std::string(companion) + " beside it (" + check + "); reinstall cuDNN");
  }
  return version_text(version);
}

LibraryDescription describe_nvrtc(const Surroundings& surroundings) {
  LibraryDescription description;
  description.name = "NVRTC";
  description.soname = "libnvrtc.so.13";
  description.remedy = "Install it with the CUDA 13 toolkit or `pip install nvidia-cuda-nvrtc`.";
  description.chosen = chosen_toolkit_places(surroundings);
  description.places = toolkit_places(surroundings);
  description.read_version = read_nvrtc_version;
  return description;
}

#define KW_NAME(function) #function,

LibraryDescription describe_cublas_lt(const Surroundings& surroundings) {
  LibraryDescription description;
  description.name = "cuBLASLt";
  description.soname = "libcublasLt.so.13";
  description.path_variable = "KW_CUBLAS_PATH";
  description.remedy = "Install it with the CUDA 13 toolkit or `pip install nvidia-cublas`, or name its folder in KW_CUBLAS_PATH.";
  description.chosen = chosen_toolkit_places(surroundings);
  description.places = toolkit_places(surroundings);
  description.symbols = {KW_CUBLAS_LT_FUNCTIONS(KW_NAME)};
  description.read_version = read_cublas_lt_version;
  return description;
}

LibraryDescription describe_cudnn(const Surroundings& surroundings) {
  LibraryDescription description;
  description.name = "cuDNN";
  description.soname = "libcudnn.so.9";
  description.path_variable = "KW_CUDNN_PATH";
  description.remedy =
      "Install it with `pip install nvidia-cudnn-cu13` or NVIDIA's package cudnn9-cuda-13, or name its folder in KW_CUDNN_PATH.";
  description.chosen = chosen_toolkit_places(surroundings);
  description.places = toolkit_places(surroundings);
  description.symbols = {KW_CUDNN_FUNCTIONS(KW_NAME)};
  description.required_companions = kCudnnCompanions;
  description.companions = "libcudnn_*.so.9";
  description.read_version = read_cudnn_version;
  return description;
}

#undef KW_NAME

}  // namespace

GpuLibraries open_gpu_libraries(const Surroundings& surroundings) {
  // Braces evaluate from left to right.
  return {Library(describe_nvrtc(surroundings), surroundings), Library(describe_cublas_lt(surroundings), surroundings),
          Library(describe_cudnn(surroundings), surroundings)};
}

const GpuLibraries& gpu_libraries() {
  static const GpuLibraries libraries = open_gpu_libraries(this_process());
  return libraries;
}

}  // namespace kw::cuda
