// Global average pooling and 2-D max pooling, channels-last, with gradients.
#include <algorithm>
#include <limits>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"

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

struct PooledShape {
  int64_t samples;
  int64_t positions;  // what the mean is taken over
  int64_t channels;
};

PooledShape check_pooled(const StepContext& context, const Tensor& wide, const char* wide_name, const Tensor& pooled, const char* name) {
  const Matrix matrix = as_matrix(context, wide_name, wide, wide.type);
  if (wide.shape.size() < 2)
    context.fail(std::string("expected ") + wide_name + " of shape [N, ..., C] but received " + describe(wide.shape));
  const int64_t samples = wide.shape[0];
  expect_shape(context, name, pooled, {samples, matrix.channels});
  return {samples, matrix.rows / samples, matrix.channels};
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
std::unique_ptr<Kernel> make_global_avg_pool(const StepContext& context, PooledShape shape) {
  const Tensor &x = context.input(0), &y = context.output(0);
  return make_kernel([&, shape, threads = context.threads](const Memory& memory) {
    constexpr int64_t kRun = 32;  // positions added in float before they go to the double sums
    const T* in = memory.data<T>(x);
    float* out = memory.data<float>(y);
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

std::unique_ptr<Kernel> prepare_global_avg_pool(const StepContext& context) {
  const Tensor& x = context.input(0);
  const PooledShape shape = check_pooled(context, x, "x", context.output(0), "y");
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) { return make_global_avg_pool<T>(context, shape); });
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
std::unique_ptr<Kernel> make_global_avg_pool_backward(const StepContext& context, PooledShape shape) {
  const Tensor &dy = context.input(0), &dx = context.output(0);
  const Tensor* accumulator = context.has_input(1) ? &context.input(1) : nullptr;
  return make_kernel([&, accumulator, shape, threads = context.threads](const Memory& memory) {
    const float* gradient = memory.data<float>(dy);
    const T* added = accumulator ? memory.data<T>(*accumulator) : nullptr;
    T* out = memory.data<T>(dx);
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

std::unique_ptr<Kernel> prepare_global_avg_pool_backward(const StepContext& context) {
  const Tensor& dx = context.output(0);
  expect_shape(context, "dx", dx, context.integers("inputShape"), dx.type);
  if (context.has_input(1)) expect_shape(context, "accumulator", context.input(1), dx.shape, dx.type);
  const PooledShape shape = check_pooled(context, dx, "dx", context.input(0), "dy");
  return for_element(context, "dx", dx, [&]<class T>(std::type_identity<T>) { return make_global_avg_pool_backward<T>(context, shape); });
}

struct Window {
  int64_t height, width;          // of x
  int64_t out_height, out_width;  // of y
  int64_t channels;
  int64_t kernel_height, kernel_width;
  int64_t stride_height, stride_width;
  int64_t padding_height, padding_width;
};

// The largest value and its position for all channels of one output pixel. A NaN wins over everything before it, as in PyTorch. Selecting
// by a comparison wants wider registers than the baseline's: 2.3 times as fast with AVX2.
template <class T>
KW_WIDE void pool_window(const Window& window, const T* x, int64_t out_row, int64_t out_column, T* y, int32_t* indices) {
  const int64_t top = out_row * window.stride_height - window.padding_height;
  const int64_t left = out_column * window.stride_width - window.padding_width;
  const int64_t first_row = std::max<int64_t>(top, 0), last_row = std::min(top + window.kernel_height, window.height);
  const int64_t first_column = std::max<int64_t>(left, 0), last_column = std::min(left + window.kernel_width, window.width);
  std::fill_n(y, window.channels, static_cast<T>(-std::numeric_limits<float>::infinity()));
  std::fill_n(indices, window.channels, static_cast<int32_t>(first_row * window.width + first_column));
  for (int64_t row = first_row; row < last_row; ++row) {
    for (int64_t column = first_column; column < last_column; ++column) {
      const int32_t position = static_cast<int32_t>(row * window.width + column);
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
std::unique_ptr<Kernel> make_max_pool2d(const StepContext& context, Window window) {
  const Tensor &x = context.input(0), &y = context.output(0), &indices = context.output(1);
  return make_kernel([&, window, samples = x.shape[0], threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(x);
    T* out = memory.data<T>(y);
    int32_t* positions = memory.data<int32_t>(indices);
    const int64_t pixels = window.out_height * window.out_width;
    const int64_t work = window.channels * window.kernel_height * window.kernel_width;
    parallel_for(threads, samples * pixels, rows_per_thread(work), [=](int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        const T* sample = in + pixel / pixels * window.height * window.width * window.channels;
        pool_window(window, sample, pixel % pixels / window.out_width, pixel % window.out_width, out + pixel * window.channels,
                    positions + pixel * window.channels);
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_max_pool2d(const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0), &indices = context.output(1);
  expect_rank(context, "x", x, 4, x.type);
  const std::vector<int64_t> kernel = context.integers("kernel"), stride = context.integers("stride"),
                             padding = context.integers("padding");
  if (kernel.size() != 2 || stride.size() != 2 || padding.size() != 2) context.fail("expected kernel, stride and padding of two integers");
  std::vector<int64_t> shape = x.shape;
  for (size_t axis = 0; axis < 2; ++axis) {
    if (kernel[axis] < 1 || stride[axis] < 1 || padding[axis] < 0 || padding[axis] * 2 > kernel[axis] ||
        x.shape[axis + 1] + 2 * padding[axis] < kernel[axis]) {
      context.fail(
          "expected kernel >= 1, stride >= 1, 0 <= padding <= kernel / 2 and a padded x no smaller than the kernel, but received kernel " +
          describe(kernel) + ", stride " + describe(stride) + ", padding " + describe(padding) + ", x " + describe(x.shape));
    }
    shape[axis + 1] = (x.shape[axis + 1] + 2 * padding[axis] - kernel[axis]) / stride[axis] + 1;
  }
  if (x.shape[1] * x.shape[2] > std::numeric_limits<int32_t>::max()) context.fail("x is too large for int32 indices: " + describe(x.shape));
  expect_shape(context, "y", y, shape, x.type);
  expect_shape(context, "indices", indices, shape, DataType::int32);
  const Window window{x.shape[1], x.shape[2], shape[1],  shape[2],   x.shape[3], kernel[0],
                      kernel[1],  stride[0],  stride[1], padding[0], padding[1]};
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) { return make_max_pool2d<T>(context, window); });
}

template <class T>
std::unique_ptr<Kernel> make_max_pool2d_backward(const StepContext& context, int64_t in_pixels) {
  const Tensor &dy = context.input(0), &indices = context.input(1), &dx = context.output(0);
  const int64_t samples = dy.shape[0], channels = dy.shape[3], out_pixels = dy.shape[1] * dy.shape[2];
  return make_kernel([&, samples, channels, in_pixels, out_pixels, threads = context.threads](const Memory& memory) {
    const T* gradient = memory.data<T>(dy);
    const int32_t* positions = memory.data<int32_t>(indices);
    T* out = memory.data<T>(dx);
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

std::unique_ptr<Kernel> prepare_max_pool2d_backward(const StepContext& context) {
  const Tensor &dy = context.input(0), &indices = context.input(1), &dx = context.output(0);
  expect_rank(context, "dy", dy, 4, dy.type);
  expect_shape(context, "indices", indices, dy.shape, DataType::int32);
  const std::vector<int64_t> input_size = context.integers("inputSize");
  if (input_size.size() != 2) context.fail("expected inputSize of two integers but received " + describe(input_size));
  expect_shape(context, "dx", dx, {dy.shape[0], input_size[0], input_size[1], dy.shape[3]}, dy.type);
  const int64_t in_pixels = input_size[0] * input_size[1];
  return for_element(context, "dy", dy, [&]<class T>(std::type_identity<T>) { return make_max_pool2d_backward<T>(context, in_pixels); });
}

}  // namespace

void add_pooling(KernelRegistry& registry) {
  registry.add("global_avg_pool", prepare_global_avg_pool);
  registry.add("global_avg_pool_backward", prepare_global_avg_pool_backward);
  registry.add("max_pool2d", prepare_max_pool2d);
  registry.add("max_pool2d_backward", prepare_max_pool2d_backward);
}

}  // namespace kw::cpu
