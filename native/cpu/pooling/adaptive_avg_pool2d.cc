// Mean over a grid of windows that cover the image, channels-last, with its gradient.
#include <algorithm>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

constexpr int64_t kTileChannels = 64;  // that are done at a time

// Adds `count` pixels of `width` channels, which are `channels` apart.
template <class T>
KW_WIDE void add_pixels(const T* x, int64_t count, int64_t channels, int64_t width, float* sums) {
  for (int64_t pixel = 0; pixel < count; ++pixel) {
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) sums[c] += x[pixel * channels + c];
  }
}

// The means of `width` channels over one window of a sample, whose first such channel x points to.
template <class T>
void average_window(const AdaptiveWindows& windows, const T* x, WindowRange rows, WindowRange columns, int64_t width, float* y) {
  double totals[kTileChannels] = {};
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    float sums[kTileChannels] = {};  // of one line, in float
    add_pixels(x + (row * windows.image[1] + columns.begin) * windows.channels, columns.size(), windows.channels, width, sums);
    for (int64_t c = 0; c < width; ++c) totals[c] += sums[c];
  }
  const auto area = static_cast<double>(rows.size() * columns.size());
  for (int64_t c = 0; c < width; ++c) y[c] = static_cast<float>(totals[c] / area);
}

template <class T>
std::unique_ptr<Kernel> make_adaptive_avg_pool2d(const AdaptiveAvgPool2dStep& step, const KernelContext& context) {
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(step.x);
    float* out = memory.data<float>(step.y);
    const AdaptiveWindows& windows = step.windows;
    const int64_t rows = windows.grid[0], columns = windows.grid[1], channels = windows.channels;
    const int64_t sample_elements = windows.image[0] * windows.image[1] * channels;
    parallel_for(threads, windows.samples * rows * columns, rows_per_thread(sample_elements / (rows * columns)),
                 [=, &windows](int64_t begin, int64_t end) {
                   for (int64_t window = begin; window < end; ++window) {
                     const WindowRange across = windows.pixels(0, window / columns % rows), along = windows.pixels(1, window % columns);
                     const T* sample = in + window / (rows * columns) * sample_elements;
                     for (int64_t first = 0; first < channels; first += kTileChannels) {
                       const int64_t width = std::min(kTileChannels, channels - first);
                       average_window(windows, sample + first, across, along, width, out + window * channels + first);
                     }
                   }
                 });
  });
}

std::unique_ptr<Kernel> prepare_adaptive_avg_pool2d(const AdaptiveAvgPool2dStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_adaptive_avg_pool2d<T>(step, context); });
}

KW_WIDE void add_scaled(const float* dy, float factor, int64_t count, float* sums) {
#pragma omp simd
  for (int64_t c = 0; c < count; ++c) sums[c] += dy[c] * factor;
}

// What comes back to `width` channels of a pixel from the windows that it is in; dy points to the first such channel of the sample.
template <class T>
void gather_pixel(const AdaptiveWindows& windows, const float* dy, WindowRange rows, WindowRange columns, int64_t width, T* dx) {
  float sums[kTileChannels] = {};
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t column = columns.begin; column < columns.end; ++column) {
      const auto area = static_cast<float>(windows.pixels(0, row).size() * windows.pixels(1, column).size());
      add_scaled(dy + (row * windows.grid[1] + column) * windows.channels, 1.0f / area, width, sums);
    }
  }
  for (int64_t c = 0; c < width; ++c) dx[c] = static_cast<T>(sums[c]);
}

template <class T>
std::unique_ptr<Kernel> make_adaptive_avg_pool2d_backward(const AdaptiveAvgPool2dBackwardStep& step, const KernelContext& context) {
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    const float* gradient = memory.data<float>(step.dy);
    T* out = memory.data<T>(step.dx);
    const AdaptiveWindows& windows = step.windows;
    const int64_t rows = windows.image[0], columns = windows.image[1], channels = windows.channels;
    const int64_t sample_elements = windows.grid[0] * windows.grid[1] * channels;
    parallel_for(threads, windows.samples * rows * columns, rows_per_thread(channels), [=, &windows](int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        const WindowRange across = windows.windows(0, pixel / columns % rows), along = windows.windows(1, pixel % columns);
        const float* sample = gradient + pixel / (rows * columns) * sample_elements;
        for (int64_t first = 0; first < channels; first += kTileChannels) {
          const int64_t width = std::min(kTileChannels, channels - first);
          gather_pixel(windows, sample + first, across, along, width, out + pixel * channels + first);
        }
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_adaptive_avg_pool2d_backward(const AdaptiveAvgPool2dBackwardStep& step, const KernelContext& context) {
  return for_element(step.dx, [&]<class T>(std::type_identity<T>) { return make_adaptive_avg_pool2d_backward<T>(step, context); });
}

}  // namespace

void add_adaptive_avg_pool2d(KernelRegistry& registry) {
  add_kernel(registry, ops::adaptive_avg_pool2d, prepare_adaptive_avg_pool2d);
  add_kernel(registry, ops::adaptive_avg_pool2d_backward, prepare_adaptive_avg_pool2d_backward);
}

}  // namespace kw::cpu
