#include "cpu/convolution/direct_weight_gradient.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <vector>

#include "cpu/convolution/direct_convolution.h"
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

class DirectWeightGradient final : public SampleConvolution {
 public:
  DirectWeightGradient(const ConvolutionGeometry& geometry, int threads, DataType activations)
      : geometry_(geometry), threads_(threads), type_(activations) {
    weight_bytes_ = static_cast<size_t>(geometry.weight_elements()) * sizeof(float);
    offsets_ = plain_weight_offsets(geometry.out_channels, geometry.kernel[0], geometry.kernel[1], geometry.in_channels);
    // Of one kernel position without padding only the positions of x that it meets are packed.
    const bool sparse = geometry.kernel[0] * geometry.kernel[1] == 1 && geometry.padding[0] == 0 && geometry.padding[1] == 0;
    for (size_t axis = 0; axis < 2; ++axis) {
      const int64_t size = sparse ? geometry.out_size[axis] : geometry.size[axis], stride = sparse ? 1 : geometry.stride[axis];
      packed_size_[axis] = size;
      packed_step_[axis] = sparse ? geometry.stride[axis] : 1;
      stride_[axis] = stride;
      for (int64_t position = 0; position < geometry.kernel[axis]; ++position) {
        const int64_t shift = position * geometry.dilation[axis] - geometry.padding[axis];
        const int64_t first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
        const int64_t end = size <= shift ? 0 : (size - shift - 1) / stride + 1;
        ranges_[axis].push_back({first, std::max(first, std::min(end, geometry.out_size[axis])), shift});
      }
    }
    const int64_t blocks = (geometry.out_size[0] * geometry.out_size[1] + kBlockPositions - 1) / kBlockPositions;
    block_rows_ = (geometry.out_size[0] + blocks - 1) / blocks;
    const int64_t x_rows =
        std::min(packed_size_[0], (block_rows_ - 1) * stride_[0] + ranges_[0].back().shift - ranges_[0].front().shift + 1);
    packed_x_ = x_rows * packed_size_[1] * geometry.in_channels;
    worker_bytes_ = static_cast<size_t>(packed_x_ + block_rows_ * geometry.out_size[1] * geometry.out_channels) * sizeof(float);
    scratch_bytes_ = worker_bytes_ * static_cast<size_t>(threads);
  }

  void run(const Samples& samples, std::byte* scratch) override {
    const bool summed = samples.weight_stride == 0;
    const int64_t alone = summed ? 0 : samples.count - samples.count % threads_;
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
    for (int64_t sample = 0; sample < alone; ++sample) {
      auto* packed = reinterpret_cast<float*>(scratch + static_cast<size_t>(omp_get_thread_num()) * worker_bytes_);
      run_sample(1, samples, sample, packed, false);
    }
    for (int64_t sample = alone; sample < samples.count; ++sample) {
      run_sample(threads_, samples, sample, reinterpret_cast<float*>(scratch), summed && sample > 0);
    }
  }

 private:
  // Positions of dy along an axis that meet x at one position of the kernel, and the place of x under position 0.
  struct Range {
    int64_t first, end, shift;
  };
  // Rows of dy, the first of the rows of x that they meet, and whether their gradient is added to what is there.
  struct Block {
    int64_t first, end, first_x;
    bool accumulate;
  };

  void run_sample(int threads, const Samples& samples, int64_t sample, float* packed, bool accumulate) const {
    const auto& g = geometry_;
    auto* dweight = const_cast<float*>(static_cast<const float*>(samples.weights)) + sample * samples.weight_stride;
    for (int64_t first = 0; first < g.out_size[0]; first += block_rows_) {
      const int64_t end = std::min(first + block_rows_, g.out_size[0]);
      const int64_t first_x = std::clamp<int64_t>(first * stride_[0] + ranges_[0].front().shift, 0, packed_size_[0]);
      const int64_t end_x = std::clamp<int64_t>((end - 1) * stride_[0] + ranges_[0].back().shift + 1, first_x, packed_size_[0]);
      pack(threads, samples.x, sample * g.sample_elements(), {first_x, end_x, packed_size_[1]}, packed_step_, g.size[1], g.in_channels,
           packed);
      pack(threads, samples.y, sample * g.out_sample_elements(), {first, end, g.out_size[1]}, {1, 1}, g.out_size[1], g.out_channels,
           packed + packed_x_);
      const Block block = {first, end, first_x, accumulate || first > 0};
      const int64_t x_positions = (end_x - first_x) * packed_size_[1];
      parallel_for(threads, g.out_channels / kPanel, 1, [&](int64_t begin, int64_t last) {
        for (int64_t out = begin; out < last; ++out) {
          for (int64_t in = 0; in < g.in_channels / kPanel; ++in) run_kernel(packed, x_positions, block, out, in, dweight);
        }
      });
    }
  }

  // Of an activation that the rows of a block need.
  struct Rows {
    int64_t first, end, columns;
  };
  using Pair = std::array<int64_t, 2>;

  // [row, column, channels] from `offset` on, every step[0]-th row and step[1]-th column, as float panels [channels / 16, positions, 16]: a
  // panel's positions side by side, because distances of powers of two put them into few sets of a cache.
  void pack(int threads, const void* activation, int64_t offset, const Rows& rows, const Pair& step, int64_t width, int64_t channels,
            float* to) const {
    if (type_ == DataType::bfloat16) {
      pack_elements(threads, static_cast<const bfloat16*>(activation) + offset, rows, step, width, channels, to);
    } else {
      pack_elements(threads, static_cast<const float*>(activation) + offset, rows, step, width, channels, to);
    }
  }

  template <class T>
  static void pack_elements(int threads, const T* from, const Rows& rows, const Pair& step, int64_t width, int64_t channels, float* to) {
    const int64_t positions = (rows.end - rows.first) * rows.columns;
    parallel_for(threads, channels / kPanel, rows_per_thread(positions * kPanel), [=](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        float* target = to + panel * positions * kPanel;
        for (int64_t row = rows.first; row < rows.end; ++row) {
          const T* source = from + row * step[0] * width * channels + panel * kPanel;
          for (int64_t column = 0; column < rows.columns; ++column, source += step[1] * channels, target += kPanel) {
#pragma omp simd
            for (int64_t lane = 0; lane < kPanel; ++lane) target[lane] = source[lane];
          }
        }
      }
    });
  }

  // Of one panel of channels on each side, all positions of the kernel, for the block's rows of dy.
  void run_kernel(const float* packed, int64_t x_positions, const Block& block, int64_t out, int64_t in, float* dweight) const {
    const auto& g = geometry_;
    const int64_t taps = g.kernel[0] * g.kernel[1];
    const float* x = packed + in * x_positions * kPanel;
    const float* dy = packed + packed_x_ + out * (block.end - block.first) * g.out_size[1] * kPanel;
    for (int64_t p = 0; p < g.kernel[0]; ++p) {
      const Range& row = ranges_[0][static_cast<size_t>(p)];
      const int64_t from = std::max(row.first, block.first), to = std::min(row.end, block.end);
      if (to <= from && block.accumulate) continue;
      for (int64_t q = 0; q < g.kernel[1]; ++q) {
        const Range& column = ranges_[1][static_cast<size_t>(q)];
        const int64_t x_row = from * stride_[0] + row.shift - block.first_x, x_column = column.first * stride_[1] + column.shift;
        kernels().run({.rows = std::max<int64_t>(0, to - from),
                       .columns = column.end - column.first,
                       .x = x + (x_row * packed_size_[1] + x_column) * kPanel,
                       .dy = dy + ((from - block.first) * g.out_size[1] + column.first) * kPanel,
                       .x_row = stride_[0] * packed_size_[1] * kPanel,
                       .x_column = stride_[1] * kPanel,
                       .dy_row = g.out_size[1] * kPanel,
                       .accumulate = block.accumulate,
                       .dweight = dweight + (out * kPanel * taps + p * g.kernel[1] + q) * g.in_channels + in * kPanel,
                       .dweight_row = taps * g.in_channels});
      }
    }
  }

  ConvolutionGeometry geometry_;
  int threads_;
  DataType type_;
  size_t worker_bytes_ = 0;
  // Of x as it is packed: its size, the distance of its positions in x, and of those that neighbours in dy meet.
  Pair packed_size_, packed_step_, stride_;
  std::vector<Range> ranges_[2];  // of each row and each column of the kernel
  int64_t block_rows_;            // of dy
  int64_t packed_x_;              // elements of x that a block needs at most
};

}  // namespace

bool has_direct_weight_gradient(const ConvolutionGeometry& g) {
  return onednn_is_slow() && g.kernel.size() == 2 && g.groups == 1 && g.in_channels % kPanel == 0 && g.out_channels % kPanel == 0;
}

std::unique_ptr<SampleConvolution> direct_weight_gradient(const ConvolutionGeometry& geometry, int threads, DataType activations) {
  return std::make_unique<DirectWeightGradient>(geometry, threads, activations);
}

}  // namespace kw::cpu
