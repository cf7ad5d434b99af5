// A backend whose kernels run on the host's processor, with the memory that belongs to it.
#pragma once

#include <memory>

#include "runtime/backend.h"

namespace kw {

// `registry` outlives the backend. `threads` 0: default_threads(). Throws invalid_argument when threads are out of range.
std::shared_ptr<Backend> make_host_backend(const KernelRegistry& registry, int threads);

}  // namespace kw
