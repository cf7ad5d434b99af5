// For the emulated plug-in: a cuDNN or cuBLASLt that is installed on this machine must not be given the emulated device's memory.
#include <cstdlib>

namespace {

__attribute__((constructor)) void forbid_libraries() {
  setenv("KW_CUDNN_PATH", "none", 1);
  setenv("KW_CUBLAS_PATH", "none", 1);
}

}  // namespace
