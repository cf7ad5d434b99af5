// The axes of a transpose step, checked and joined, for every backend.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/backend.h"

namespace kw {

// An axis of the result, and the distance between its neighbours in x.
struct OrderedAxis {
  int64_t size, stride;
};

// The axes of a transpose's result, outermost first: those of size 1 are left away, and those that follow each other in x too are one.
// Refuses `axes` that are no order of x's, and tensors that do not fit (invalid_plan).
std::vector<OrderedAxis> ordered_axes(const StepContext& context);

}  // namespace kw
