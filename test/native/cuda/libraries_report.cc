// libraries_report ROOT [LIBRARY...]: opens each LIBRARY, as another part of a process might have, and prints the report of the search with
// the system's folders under ROOT.
#include <dlfcn.h>

#include <iostream>

#include "cuda/libraries/describe.h"

int main(int count, char** arguments) {
  if (count < 2) return 2;
  for (int i = 2; i < count; i++) {
    if (dlopen(arguments[i], RTLD_NOW | RTLD_LOCAL)) continue;
    std::cerr << dlerror() << "\n";
    return 1;
  }
  kw::cuda::Surroundings surroundings = kw::cuda::this_process();
  surroundings.root = arguments[1];
  std::cout << kw::cuda::describe_libraries(kw::cuda::open_gpu_libraries(surroundings), kw::cuda::examine_driver(surroundings)) << "\n";
}
