// The plug-in's only exported name.
#include "runtime/plugin.h"

#include "cuda/cuda_backend.h"

namespace kw::cuda {

namespace {

std::string report() { return "{}"; }

}  // namespace

}  // namespace kw::cuda

extern "C" __attribute__((visibility("default"))) const kw::Plugin* kw_plugin() {
  static const kw::Plugin plugin{kw::kPluginVersion, kw::cuda::open_backend, kw::cuda::report};
  return &plugin;
}
