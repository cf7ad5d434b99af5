// Matrix products through cuBLASLt.
#pragma once

#include <memory>

#include "cuda/libraries/cublas_lt.h"
#include "cuda/libraries/library_plans.h"

namespace kw::cuda {

// Null where cuBLASLt makes no handle. `functions` outlives the planner, the planner its plans.
std::unique_ptr<ProductPlanner> make_cublas_lt_planner(const CublasLtFunctions& functions, void* stream, bool tf32);

}  // namespace kw::cuda
