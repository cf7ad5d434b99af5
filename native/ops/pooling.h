// Global, adaptive and max pooling, channels-last.
#pragma once

#include <cstdint>
#include <optional>

#include "ops/op.h"

namespace kw {

// x [N, ..., C] with the axes in the middle taken together.
struct PooledShape {
  int64_t samples, positions, channels;
};

struct GlobalAvgPoolStep {
  explicit GlobalAvgPoolStep(const StepContext& context);
  const Tensor &x, &y;
  PooledShape shape;
};

struct GlobalAvgPoolBackwardStep {
  static constexpr InPlace in_place[] = {{0, 1}};
  explicit GlobalAvgPoolBackwardStep(const StepContext& context);
  const Tensor& dy;
  const Tensor* accumulator;  // what the gradient is added to, or null
  const Tensor& dx;
  PooledShape shape;
};

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

struct AdaptiveAvgPool2dStep {
  explicit AdaptiveAvgPool2dStep(const StepContext& context);
  const Tensor &x, &y;
  AdaptiveWindows windows;
};

struct AdaptiveAvgPool2dBackwardStep {
  explicit AdaptiveAvgPool2dBackwardStep(const StepContext& context);
  const Tensor &dy, &dx;
  AdaptiveWindows windows;
};

// Two of each: along the height, along the width.
struct PoolWindows {
  int64_t size[2], out_size[2];  // of x and y
  int64_t kernel[2], stride[2], padding[2];
  int64_t channels;
};

struct MaxPool2dStep {
  explicit MaxPool2dStep(const StepContext& context);
  const Tensor &x, &y, &indices;
  PoolWindows windows;
};

struct MaxPool2dBackwardStep {
  explicit MaxPool2dBackwardStep(const StepContext& context);
  const Tensor &dy, &indices, &dx;
  int64_t samples, in_pixels, out_pixels, channels;
  // Of the step that made the indices, which is earlier in the same program; none where the indices come from outside of it.
  std::optional<PoolWindows> windows;
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_POOLING_OPS(OP)                                        \
  OP(adaptive_avg_pool2d, AdaptiveAvgPool2dStep)                  \
  OP(adaptive_avg_pool2d_backward, AdaptiveAvgPool2dBackwardStep) \
  OP(global_avg_pool, GlobalAvgPoolStep)                          \
  OP(global_avg_pool_backward, GlobalAvgPoolBackwardStep)         \
  OP(max_pool2d, MaxPool2dStep)                                   \
  OP(max_pool2d_backward, MaxPool2dBackwardStep)
