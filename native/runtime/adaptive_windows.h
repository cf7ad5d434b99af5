// The windows of an adaptive average pooling, read from its step's tensors and checked, for every backend.
#pragma once

#include <cstdint>

#include "runtime/backend.h"

namespace kw {

// A range of pixels, or of windows, along one axis.
struct WindowRange {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Windows that cover an image along each of its two axes: window i of n has the pixels floor(i H / n) .. ceil((i + 1) H / n) - 1.
struct AdaptiveWindows {
  int64_t samples, image[2], grid[2], channels;

  WindowRange pixels(int axis, int64_t window) const { return range(image[axis], grid[axis], window); }
  // The windows that a pixel is in: the same rule with pixels and windows exchanged.
  WindowRange windows(int axis, int64_t pixel) const { return range(grid[axis], image[axis], pixel); }

 private:
  static WindowRange range(int64_t size, int64_t parts, int64_t part) {
    return {part * size / parts, ((part + 1) * size + parts - 1) / parts};
  }
};

// Of a step from `wide` [N,H,W,C] to `pooled` [N,OH,OW,C], float32, or back; refuses what does not fit (invalid_plan).
AdaptiveWindows adaptive_windows(const StepContext& context, const Tensor& wide, const Tensor& pooled);

}  // namespace kw
