/* Every function that native/cuda/libraries calls or asks for. Linked under each library's name, this stands in for all of them. What it
 * answers is set by environment variables FAKE_*, so that a test can bring a library of another version or a machine with other devices. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/libraries/function_names.h"

#define DEFINE(name) \
  void name(void) {}
#ifdef KW_FAKE_INCOMPLETE /* lacks the functions in the middle */
DEFINE(cudnnCreate)
DEFINE(cublasLtCreate)
#else
KW_CUDNN_FUNCTIONS(DEFINE)
KW_CUBLAS_LT_FUNCTIONS(DEFINE)
#endif

static long setting(const char* name, long otherwise) {
  const char* value = getenv(name);
  return value ? atol(value) : otherwise;
}

size_t cudnnGetVersion(void) { return (size_t)setting("FAKE_CUDNN_VERSION", 92405); }
size_t cudnnGetCudartVersion(void) { return (size_t)setting("FAKE_CUDNN_CUDART", 13030); }
int cudnnGraphVersionCheck(void) { return (int)setting("FAKE_CUDNN_GRAPH_CHECK", 0); }
int cudnnOpsVersionCheck(void) { return (int)setting("FAKE_CUDNN_OPS_CHECK", 0); }
int cudnnCnnVersionCheck(void) { return (int)setting("FAKE_CUDNN_CNN_CHECK", 0); }

size_t cublasLtGetVersion(void) { return 130103; }
size_t cublasLtGetCudartVersion(void) { return (size_t)setting("FAKE_CUBLAS_CUDART", 13000); }

int nvrtcVersion(int* major, int* minor) {
  *major = (int)setting("FAKE_NVRTC_MAJOR", 13);
  *minor = 2;
  return 0;
}

int cuDriverGetVersion(int* version) {
  *version = (int)setting("FAKE_DRIVER_CUDA", 13020);
  return 0;
}

int cuInit(unsigned flags) { return (int)setting("FAKE_CUINIT", 0) + (int)flags; }

int cuGetErrorName(int code, const char** name) {
  *name = code == 100 ? "CUDA_ERROR_NO_DEVICE" : NULL;
  return code == 100 ? 0 : 1;
}

int cuDeviceGetCount(int* count) {
  *count = (int)setting("FAKE_DEVICES", 2);
  return 0;
}

int cuDeviceGet(int* device, int ordinal) {
  *device = 40 + ordinal; /* a handle, not the ordinal */
  return 0;
}

int cuDeviceGetName(char* name, int length, int device) {
  strncpy(name, device == 40 ? "Fake H100" : "Fake A100", (size_t)length);
  return 0;
}

int cuDeviceTotalMem_v2(size_t* bytes, int device) {
  *bytes = device == 40 ? 85000000000u : 42000000000u;
  return 0;
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
  if (attribute != 75 && attribute != 76) return 1;
  *value = attribute == 76 ? 0 : device == 40 ? 9 : 8;
  return 0;
}
