#include "cpu/direct_weight_gradient.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "cpu/direct_convolution.h"
#include "cpu/parallel.h"
#include "cpu/simd/weight_gradient_kernels.h"

namespace kw::cpu {

namespace {

constexpr int64_t kPanel = 16;
// About as many positions of dy have a panel of channels that stays in the first-level cache beside that of x.
constexpr int64_t kBlockPositions = 256;

// Of the only instruction set that it serves.
const WeightGradientKernels& kernels() {
#ifdef KW_SIMD_X86
  return avx2::weight_gradient_kernels();
#else
  return baseline::weight_gradient_kernels();
#endif
}

size_t panel_bytes(int64_t elements) { return static_cast<size_t>(elements) * sizeof(float); }

// [positions, channels] as float panels [channels / 16, positions, 16]: a panel's positions side by side, because distances of powers of
// two put them into few sets of a cache.
template <class T>
void pack(int threads, const T* from, int64_t positions, int64_t channels, float* to) {
  parallel_for(threads, channels / kPanel, rows_per_thread(positions * kPanel), [=](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      for (int64_t position = 0; position < positions; ++position) {
        const T* source = from + position * channels + panel * kPanel;
        float* target = to + (panel * positions + position) * kPanel;
        for (int64_t lane = 0; lane < kPanel; ++lane) target[lane] = source[lane];
      }
    }
  });
}

class DirectWeightGradient final : public SampleConvolution {
 public:
  DirectWeightGradient(const ConvolutionGeometry& geometry, int threads, DataType activations)
      : geometry_(geometry), threads_(threads), type_(activations) {
    weight_bytes_ = static_cast<size_t>(geometry.weight_elements()) * sizeof(float);
    offsets_ = plain_weight_offsets(geometry.out_channels, geometry.kernel[0], geometry.kernel[1], geometry.in_channels);
    worker_bytes_ = panel_bytes(geometry.sample_elements() + geometry.out_sample_elements());
    scratch_bytes_ = worker_bytes_ * static_cast<size_t>(threads);
    for (size_t axis = 0; axis < 2; ++axis) {
      for (int64_t position = 0; position < geometry.kernel[axis]; ++position) {
        const int64_t stride = geometry.stride[axis], shift = position * geometry.dilation[axis] - geometry.padding[axis];
        const int64_t first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
        const int64_t end = geometry.size[axis] <= shift ? 0 : (geometry.size[axis] - shift - 1) / stride + 1;
        ranges_[axis].push_back({first, std::max(first, std::min(end, geometry.out_size[axis])), shift});
      }
    }
  }

  void run(const Samples& samples, std::byte* scratch) override {
    const int64_t panels = geometry_.out_channels / kPanel;
    const int64_t alone = samples.count - samples.count % threads_;
#pragma omp parallel for schedule(static) num_threads(threads_)
    for (int64_t sample = 0; sample < alone; ++sample) {
      auto* packed = reinterpret_cast<float*>(scratch + static_cast<size_t>(omp_get_thread_num()) * worker_bytes_);
      pack_sample(1, samples, sample, packed);
      run_panels(samples, sample, packed, 0, panels);
    }
    for (int64_t sample = alone; sample < samples.count; ++sample) {
      auto* packed = reinterpret_cast<float*>(scratch);
      pack_sample(threads_, samples, sample, packed);
      parallel_for(threads_, panels, 1, [&](int64_t begin, int64_t end) { run_panels(samples, sample, packed, begin, end); });
    }
  }

 private:
  // Positions of dy along an axis that meet x at one position of the kernel, and the place of x under position 0.
  struct Range {
    int64_t first, end, shift;
  };

  void pack_sample(int threads, const Samples& samples, int64_t sample, float* packed) const {
    pack_activation(threads, samples.x, sample, geometry_.sample_elements(), geometry_.in_channels, packed);
    pack_activation(threads, samples.y, sample, geometry_.out_sample_elements(), geometry_.out_channels,
                    packed + geometry_.sample_elements());
  }

  void pack_activation(int threads, const void* first, int64_t sample, int64_t elements, int64_t channels, float* to) const {
    if (type_ == DataType::bfloat16) {
      pack(threads, static_cast<const bfloat16*>(first) + sample * elements, elements / channels, channels, to);
    } else {
      pack(threads, static_cast<const float*>(first) + sample * elements, elements / channels, channels, to);
    }
  }

  // Of output channels, for all input channels.
  void run_panels(const Samples& samples, int64_t sample, const float* packed, int64_t first_panel, int64_t last_panel) const {
    const auto& g = geometry_;
    auto* dweight = const_cast<float*>(static_cast<const float*>(samples.weights)) + sample * samples.weight_stride;
    const int64_t blocks = (g.out_size[0] * g.out_size[1] + kBlockPositions - 1) / kBlockPositions;
    const int64_t rows = (g.out_size[0] + blocks - 1) / blocks;
    for (int64_t first_row = 0; first_row < g.out_size[0]; first_row += rows) {
      const int64_t end_row = std::min(first_row + rows, g.out_size[0]);
      for (int64_t out = first_panel; out < last_panel; ++out) {
        for (int64_t in = 0; in < g.in_channels / kPanel; ++in) run_kernel(packed, first_row, end_row, out, in, dweight);
      }
    }
  }

  // Of one panel of channels on each side, all positions of the kernel; rows first_row..end_row of dy.
  void run_kernel(const float* packed, int64_t first_row, int64_t end_row, int64_t out, int64_t in, float* dweight) const {
    const auto& g = geometry_;
    const int64_t positions = g.size[0] * g.size[1], out_positions = g.out_size[0] * g.out_size[1];
    const int64_t taps = g.kernel[0] * g.kernel[1];
    const float* x = packed + in * positions * kPanel;
    const float* dy = packed + g.sample_elements() + out * out_positions * kPanel;
    for (int64_t p = 0; p < g.kernel[0]; ++p) {
      const Range& row = ranges_[0][static_cast<size_t>(p)];
      const int64_t from = std::max(row.first, first_row), to = std::min(row.end, end_row);
      if (to <= from && first_row > 0) continue;
      for (int64_t q = 0; q < g.kernel[1]; ++q) {
        const Range& column = ranges_[1][static_cast<size_t>(q)];
        const int64_t x_row = from * g.stride[0] + row.shift, x_column = column.first * g.stride[1] + column.shift;
        kernels().run({.rows = std::max<int64_t>(0, to - from),
                       .columns = column.end - column.first,
                       .x = x + (x_row * g.size[1] + x_column) * kPanel,
                       .dy = dy + (from * g.out_size[1] + column.first) * kPanel,
                       .x_row = g.stride[0] * g.size[1] * kPanel,
                       .x_column = g.stride[1] * kPanel,
                       .dy_row = g.out_size[1] * kPanel,
                       .accumulate = first_row > 0,
                       .dweight = dweight + (out * kPanel * taps + p * g.kernel[1] + q) * g.in_channels + in * kPanel,
                       .dweight_row = taps * g.in_channels});
      }
    }
  }

  ConvolutionGeometry geometry_;
  int threads_;
  DataType type_;
  size_t worker_bytes_ = 0;
  std::vector<Range> ranges_[2];  // of each row and each column of the kernel
};

}  // namespace

bool has_direct_weight_gradient(const ConvolutionGeometry& g) {
  return onednn_is_slow() && g.kernel.size() == 2 && g.groups == 1 && g.in_channels % kPanel == 0 && g.out_channels % kPanel == 0;
}

std::unique_ptr<SampleConvolution> direct_weight_gradient(const ConvolutionGeometry& geometry, int threads, DataType activations) {
  return std::make_unique<DirectWeightGradient>(geometry, threads, activations);
}

}  // namespace kw::cpu
