// Convolutions through cuDNN's backend interface, its graphs: the older functions for each pass are marked as deprecated in all of cuDNN 9,
// fuse less, and do not tell which of their algorithms repeat their bits.
#pragma once

#include <memory>

#include "cuda/libraries/cudnn.h"
#include "cuda/libraries/library_plans.h"

namespace kw::cuda {

// Null where cuDNN makes no handle, as for a GPU that it does not know. `functions` outlives the planner, the planner its plans.
std::unique_ptr<ConvolutionPlanner> make_cudnn_planner(const CudnnFunctions& functions, void* stream, bool tf32);

}  // namespace kw::cuda
