// A GPU: its memory, its stream, and the kernels prepared for it.
#pragma once

#include <memory>

#include "runtime/backend.h"
#include "runtime/plugin.h"

namespace kw::cuda {

// Throws unsupported, with everything that was tried, where there is no such GPU.
std::shared_ptr<Backend> open_backend(const PluginOptions& options);

}  // namespace kw::cuda
