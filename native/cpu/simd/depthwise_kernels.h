// The inner loops of depth-wise convolutions, in which every channel is convolved by itself, compiled once for each instruction set.
// Activations are channels-last; their element type is float, or uint16_t for the bits of a bfloat16. Weights are float [kh,kw,channels].
#pragma once

#include <cstdint>

namespace kw::cpu {

// A position of the kernel, in one of its two axes, and that of the input which it meets.
struct DepthwiseTap {
  int64_t kernel, source;
};

// Result columns `column`, `column` + the columns' step, ..., which meet the same positions of the kernel, each `source_step` columns
// further on in the source than the one before.
struct DepthwiseColumns {
  int64_t column;
  bool several;  // kDepthwiseColumns of them, else one
  int64_t first_tap, taps;
};
inline constexpr int kDepthwiseColumns = 4;

// One row of a result y [columns,channels]: y[column] = sum over taps of weight[kernel row, kernel column] * source[row, column], then
// limited(y * factor + shift + residual).
struct DepthwiseRow {
  int64_t channels;
  const void* source;  // [rows, source_columns, channels]
  int64_t source_columns;
  const float* weight;
  int64_t kernel_columns;
  const DepthwiseTap* rows;
  int64_t row_count;
  const DepthwiseColumns* columns;
  int64_t column_count;
  const DepthwiseTap* column_taps;
  int64_t column_step, source_step;
  void* y;
  const float* factor;  // null: nothing follows the sum
  const float* shift;
  const void* residual;  // a row like y; may be null
  float least, most;
  float* sums;  // [channels], y before rounding is added; may be null
};

// One row of the weight's gradient: dweight[c] += sum over `count` columns of x[first_x + i * step, c] * dy[first_dy + i, c], for
// channels from `first_channel` on.
struct DepthwiseProduct {
  int64_t channels, first_channel, channel_count;
  const void* x;   // a row [columns, channels]
  const void* dy;  // a row [columns, channels]
  int64_t first_x, first_dy, step, count;
  float* dweight;  // [channels]
};

struct DepthwiseKernels {
  void (*row)(const DepthwiseRow& row);
  void (*row_bfloat16)(const DepthwiseRow& row);
  void (*product)(const DepthwiseProduct& product);
  void (*product_bfloat16)(const DepthwiseProduct& product);
};

namespace baseline {
const DepthwiseKernels& depthwise_kernels();
}
namespace avx2 {
const DepthwiseKernels& depthwise_kernels();
}
namespace avx512 {
const DepthwiseKernels& depthwise_kernels();
}

// The best that this processor can run.
const DepthwiseKernels& depthwise_kernels();

}  // namespace kw::cpu
