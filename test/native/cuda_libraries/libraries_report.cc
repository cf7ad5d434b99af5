// libraries_report ROOT [LIBRARY...]: opens each LIBRARY, as another part of a process might have, and prints the report of the search with
// the system's folders under ROOT. With `tables` for ROOT it prints the files that hold the functions of the tables instead.
#include <dlfcn.h>

#include <iostream>
#include <string>

#include "cuda/libraries/describe.h"
#ifdef KW_WITH_CUDNN
#include "cuda/libraries/cudnn.h"
#endif
#ifdef KW_WITH_CUBLAS
#include "cuda/libraries/cublas_lt.h"
#endif

namespace {

template <class Function>
std::string file_of(Function* function) {
  Dl_info info{};
  return function && dladdr(reinterpret_cast<void*>(function), &info) ? info.dli_fname : "nowhere";
}

std::string list_tables() {
  std::string files;
#ifdef KW_WITH_CUDNN
  const kw::cuda::CudnnFunctions* cudnn = kw::cuda::cudnn_functions();
  files += "cuDNN: " + (cudnn ? file_of(cudnn->cudnnBackendExecute) : "no table") + "\n";
#endif
#ifdef KW_WITH_CUBLAS
  const kw::cuda::CublasLtFunctions* cublas_lt = kw::cuda::cublas_lt_functions();
  files += "cuBLASLt: " + (cublas_lt ? file_of(cublas_lt->cublasLtMatmul) : "no table") + "\n";
#endif
  return files;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) return 2;
  for (int i = 2; i < count; i++) {
    if (dlopen(arguments[i], RTLD_NOW | RTLD_LOCAL)) continue;
    std::cerr << dlerror() << "\n";
    return 1;
  }
  if (std::string(arguments[1]) == "tables") {
    std::cout << list_tables();
    return 0;
  }
  kw::cuda::Surroundings surroundings = kw::cuda::this_process();
  surroundings.root = arguments[1];
  std::cout << kw::cuda::describe_libraries(kw::cuda::open_gpu_libraries(surroundings), kw::cuda::examine_driver(surroundings)) << "\n";
}
