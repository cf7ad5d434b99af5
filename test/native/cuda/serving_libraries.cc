#include "serving_libraries.h"

#ifdef KW_STAND_INS

#include <cuda_runtime.h>
#include <dlfcn.h>

#include <cstdlib>
#include <stdexcept>

namespace kw::test {

namespace {

bool queue(void* stream, std::function<void()> work) {
  return emulator::launch_kernel(nullptr, dim3(1), dim3(1), 0, static_cast<cudaStream_t>(stream), std::move(work)) == cudaSuccess;
}

void connect(const char* library, stand_ins::State* state) {
  void* handle = dlopen((std::string(KW_STAND_INS) + "/" + library).c_str(), RTLD_NOW | RTLD_LOCAL);
  auto* const connect = handle ? reinterpret_cast<stand_ins::Connect*>(dlsym(handle, "kw_stand_in_connect")) : nullptr;
  if (!connect) throw std::runtime_error(dlerror());
  connect(state);
}

// Before the first search, which is at the first preparation: what is installed on this machine must not be found by tests.
const bool is_connected = [] {
  setenv("KW_CUDNN_PATH", KW_STAND_INS, 1);
  setenv("KW_CUBLAS_PATH", KW_STAND_INS, 1);
  stand_in_state();
  return true;
}();

}  // namespace

stand_ins::State& stand_in_state() {
  static stand_ins::State* const state = [] {
    auto* const made = new stand_ins::State{.queue = queue};
    connect("libcudnn.so.9", made);
    connect("libcublasLt.so.13", made);
    return made;
  }();
  return *state;
}

}  // namespace kw::test

#endif
