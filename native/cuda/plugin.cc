// The plug-in's only exported name.
#include "runtime/plugin.h"

#include "cuda/cuda_backend.h"
#include "cuda/libraries/describe.h"

extern "C" __attribute__((visibility("default"))) const kw::Plugin* kw_plugin() {
  static const kw::Plugin plugin{kw::plugin_version(), kw::cuda::open_backend, [] { return kw::cuda::describe_libraries(); }};
  return &plugin;
}
