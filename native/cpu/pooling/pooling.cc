// Global average pooling and 2-D max pooling, channels-last, with gradients.
#include <algorithm>
#include <atomic>
#include <limits>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

// A unit of work where samples are few: one sample's tile of channels.
constexpr int64_t kTileChannels = 64;

int64_t tiles_of(int64_t channels) { return (channels + kTileChannels - 1) / kTileChannels; }

// Calls body(sample, first_channel, channels) for every tile of every sample.
template <class Body>
void for_tiles(int threads, int64_t samples, int64_t positions, int64_t channels, const Body& body) {
  const int64_t tiles = tiles_of(channels);
  parallel_for(threads, samples * tiles, rows_per_thread(positions * std::min(channels, kTileChannels)), [=](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = unit % tiles * kTileChannels;
      body(unit / tiles, first, std::min(kTileChannels, channels - first));
    }
  });
}

// Adds `positions` rows of `width` channels, `channels` apart.
template <class T>
KW_WIDE void add_rows(const T* x, int64_t positions, int64_t channels, int64_t width, float* sums) {
  for (int64_t position = 0; position < positions; ++position) {
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) sums[c] += x[position * channels + c];
  }
}

template <class T>
std::unique_ptr<Kernel> make_global_avg_pool(const GlobalAvgPoolStep& step, const KernelContext& context) {
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    constexpr int64_t kRun = 32;  // positions added in float before they go to the double sums
    const T* in = memory.data<T>(step.x);
    float* out = memory.data<float>(step.y);
    const PooledShape shape = step.shape;
    for_tiles(threads, shape.samples, shape.positions, shape.channels, [=](int64_t sample, int64_t first, int64_t width) {
      const T* tile = in + sample * shape.positions * shape.channels + first;
      double totals[kTileChannels] = {};
      for (int64_t begin = 0; begin < shape.positions; begin += kRun) {
        float sums[kTileChannels] = {};
        add_rows(tile + begin * shape.channels, std::min(kRun, shape.positions - begin), shape.channels, width, sums);
        for (int64_t c = 0; c < width; ++c) totals[c] += sums[c];
      }
      float* out_tile = out + sample * shape.channels + first;
      for (int64_t c = 0; c < width; ++c) out_tile[c] = static_cast<float>(totals[c] / static_cast<double>(shape.positions));
    });
  });
}

std::unique_ptr<Kernel> prepare_global_avg_pool(const GlobalAvgPoolStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_global_avg_pool<T>(step, context); });
}

// Every row of `rows` is dy * factor, plus the accumulator's row when there is one.
template <class T, bool kAccumulates>
KW_WIDE void spread_rows(const float* dy, float factor, const T* accumulator, int64_t rows, int64_t channels, T* dx) {
  for (int64_t row = 0; row < rows; ++row) {
    const T* added = kAccumulates ? accumulator + row * channels : nullptr;
    T* dx_row = dx + row * channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      const float spread = dy[c] * factor;
      dx_row[c] = static_cast<T>(kAccumulates ? added[c] + spread : spread);
    }
  }
}

template <class T>
std::unique_ptr<Kernel> make_global_avg_pool_backward(const GlobalAvgPoolBackwardStep& step, const KernelContext& context) {
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    const float* gradient = memory.data<float>(step.dy);
    const T* added = step.accumulator ? memory.data<T>(*step.accumulator) : nullptr;
    T* out = memory.data<T>(step.dx);
    const PooledShape shape = step.shape;
    const float factor = 1.0f / static_cast<float>(shape.positions);
    parallel_for(threads, shape.samples * shape.positions, rows_per_thread(shape.channels), [=](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t sample = begin / shape.positions, last = std::min(end, (sample + 1) * shape.positions);
        const int64_t start = begin * shape.channels;
        const float* row = gradient + sample * shape.channels;
        if (added) {
          spread_rows<T, true>(row, factor, added + start, last - begin, shape.channels, out + start);
        } else {
          spread_rows<T, false>(row, factor, nullptr, last - begin, shape.channels, out + start);
        }
        begin = last;
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_global_avg_pool_backward(const GlobalAvgPoolBackwardStep& step, const KernelContext& context) {
  return for_element(step.dx, [&]<class T>(std::type_identity<T>) { return make_global_avg_pool_backward<T>(step, context); });
}

// The largest value and its position for all channels of one output pixel. A NaN wins over everything before it, as in PyTorch. Selecting
// by a comparison wants wider registers than the baseline's: 2.3 times as fast with AVX2.
template <class T>
KW_WIDE void pool_window(const PoolWindows& window, const T* x, int64_t out_row, int64_t out_column, T* y, int32_t* indices) {
  const int64_t height = window.size[0], width = window.size[1];
  const int64_t top = out_row * window.stride[0] - window.padding[0], left = out_column * window.stride[1] - window.padding[1];
  const int64_t first_row = std::max<int64_t>(top, 0), last_row = std::min(top + window.kernel[0], height);
  const int64_t first_column = std::max<int64_t>(left, 0), last_column = std::min(left + window.kernel[1], width);
  std::fill_n(y, window.channels, static_cast<T>(-std::numeric_limits<float>::infinity()));
  std::fill_n(indices, window.channels, static_cast<int32_t>(first_row * width + first_column));
  for (int64_t row = first_row; row < last_row; ++row) {
    for (int64_t column = first_column; column < last_column; ++column) {
      const int32_t position = static_cast<int32_t>(row * width + column);
      const T* pixel = x + position * window.channels;
#pragma omp simd
      for (int64_t c = 0; c < window.channels; ++c) {
        const float value = pixel[c], largest = y[c];
        const bool taken = (value > largest) | (value != value);
        y[c] = static_cast<T>(taken ? value : largest);
        indices[c] = taken ? position : indices[c];
      }
    }
  }
}

template <class T>
std::unique_ptr<Kernel> make_max_pool2d(const MaxPool2dStep& step, const KernelContext& context) {
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(step.x);
    T* out = memory.data<T>(step.y);
    int32_t* positions = memory.data<int32_t>(step.indices);
    const PoolWindows& window = step.windows;
    const int64_t columns = window.out_size[1], pixels = window.out_size[0] * columns, channels = window.channels;
    const int64_t work = channels * std::min(window.kernel[0], window.size[0]) * std::min(window.kernel[1], window.size[1]);
    parallel_for(threads, step.x.shape[0] * pixels, rows_per_thread(work), [=, &window](int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        const T* sample = in + pixel / pixels * window.size[0] * window.size[1] * channels;
        pool_window(window, sample, pixel % pixels / columns, pixel % columns, out + pixel * channels, positions + pixel * channels);
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_max_pool2d(const MaxPool2dStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_max_pool2d<T>(step, context); });
}

// Indices are data, so they are checked at every run. Throws invalid_argument.
void check_indices(const Step& step, int threads, const int32_t* indices, int64_t count, int64_t in_pixels) {
  const auto is_outside = [in_pixels](int32_t index) { return index < 0 || index >= in_pixels; };
  std::atomic<bool> any_outside = false;
  parallel_for(threads, count, kElementsPerThread, [&](int64_t begin, int64_t end) {
    bool outside = false;
    for (int64_t i = begin; i < end; ++i) outside |= is_outside(indices[i]);
    if (outside) any_outside = true;
  });
  if (!any_outside) return;
  const int32_t index = *std::find_if(indices, indices + count, is_outside);
  throw data_error(step, "expected indices in 0.." + std::to_string(in_pixels - 1) + " but received " + std::to_string(index));
}

template <class T>
std::unique_ptr<Kernel> make_max_pool2d_backward(const MaxPool2dBackwardStep& step, const KernelContext& context) {
  return make_kernel([step, &plan_step = context.step, threads = context.threads](const Memory& memory) {
    const int64_t samples = step.samples, channels = step.channels, in_pixels = step.in_pixels, out_pixels = step.out_pixels;
    const T* gradient = memory.data<T>(step.dy);
    const int32_t* positions = memory.data<int32_t>(step.indices);
    T* out = memory.data<T>(step.dx);
    check_indices(plan_step, threads, positions, step.indices.elements(), in_pixels);
    for_tiles(threads, samples, in_pixels, channels, [=](int64_t sample, int64_t first, int64_t width) {
      T* out_tile = out + sample * in_pixels * channels + first;
      for (int64_t pixel = 0; pixel < in_pixels; ++pixel) std::fill_n(out_tile + pixel * channels, width, static_cast<T>(0.0f));
      for (int64_t pixel = 0; pixel < out_pixels; ++pixel) {
        const int64_t offset = (sample * out_pixels + pixel) * channels + first;
        for (int64_t c = 0; c < width; ++c) {
          T& sum = out_tile[positions[offset + c] * channels + c];
          sum = static_cast<T>(sum + static_cast<float>(gradient[offset + c]));
        }
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_max_pool2d_backward(const MaxPool2dBackwardStep& step, const KernelContext& context) {
  return for_element(step.dy, [&]<class T>(std::type_identity<T>) { return make_max_pool2d_backward<T>(step, context); });
}

}  // namespace

void add_pooling(KernelRegistry& registry) {
  add_kernel(registry, ops::global_avg_pool, prepare_global_avg_pool);
  add_kernel(registry, ops::global_avg_pool_backward, prepare_global_avg_pool_backward);
  add_kernel(registry, ops::max_pool2d, prepare_max_pool2d);
  add_kernel(registry, ops::max_pool2d_backward, prepare_max_pool2d_backward);
}

}  // namespace kw::cpu
