#include "cpu/convolution/depthwise_weight_gradient.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/processor.h"
#include "cpu/simd/depthwise_kernels.h"
#include "ops/checks.h"

namespace kw::cpu {

const DepthwiseKernels& depthwise_kernels() {
#ifdef KW_SIMD_X86
  static const DepthwiseKernels& best = for_instruction_set<DepthwiseKernels>(baseline::depthwise_kernels(), &avx2::depthwise_kernels(),
                                                                              &avx512::depthwise_kernels(), nullptr);
  return best;
#else
  return baseline::depthwise_kernels();
#endif
}

namespace {

// Channels whose part of a few rows stays in the first-level cache.
constexpr int64_t kChannelBlock = 64;
// Positions of the kernel up to which oneDNN does better.
constexpr int64_t kSmallKernel = 25;

class DepthwiseWeightGradient final : public SampleConvolution {
 public:
  DepthwiseWeightGradient(const ConvolutionGeometry& geometry, int threads, DataType activations)
      : geometry_(geometry), threads_(threads), type_(activations), channels_(geometry.in_channels) {
    weight_bytes_ = static_cast<size_t>(geometry.weight_elements()) * sizeof(float);
    WeightOffsets offsets;
    for (int64_t c = 0; c < channels_; ++c) offsets.out.push_back(c);
    for (int64_t p = 0; p < geometry.kernel[0]; ++p) offsets.row.push_back(p * geometry.kernel[1] * channels_);
    for (int64_t q = 0; q < geometry.kernel[1]; ++q) offsets.column.push_back(q * channels_);
    offsets.in.push_back(0);
    offsets_ = std::move(offsets);
    for (int64_t q = 0; q < geometry.kernel[1]; ++q) {
      const int64_t stride = geometry.stride[1];
      const int64_t shift = q * geometry.dilation[1] - geometry.padding[1];  // of x's column against dy's times the stride
      const int64_t first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
      const int64_t end = geometry.size[1] <= shift ? 0 : (geometry.size[1] - shift - 1) / stride + 1;
      ranges_.push_back({first, std::min(end, geometry.out_size[1]), first * stride + shift});
    }
  }

  void run(const Samples& samples, std::byte*) override {
    // Samples are divided among threads if that comes out even, else each sample's channels are.
    const int64_t blocks = (channels_ + kChannelBlock - 1) / kChannelBlock;
    const int64_t parts = samples.count % threads_ == 0 ? 1 : std::min<int64_t>(threads_, blocks);
    parallel_for(threads_, samples.count * parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t part = task % parts;
        run_blocks(samples, task / parts, range_begin(blocks, parts, part), range_begin(blocks, parts, part + 1));
      }
    });
  }

 private:
  // Columns of dy that meet x at one column of the kernel, and the column of x under the first one.
  struct Range {
    int64_t first, end, first_x;
  };

  const std::byte* element(const void* first, int64_t index) const {
    return static_cast<const std::byte*>(first) + index * element_bytes(type_);
  }

  void run_blocks(const Samples& samples, int64_t sample, int64_t first_block, int64_t last_block) const {
    const auto& g = geometry_;
    auto* dweight = const_cast<float*>(static_cast<const float*>(samples.weights)) + sample * samples.weight_stride;
    const int64_t first = first_block * kChannelBlock, last = std::min(last_block * kChannelBlock, channels_);
    const int64_t taps = g.kernel[0] * g.kernel[1];
    for (int64_t tap = 0; tap < taps; ++tap) std::fill(dweight + tap * channels_ + first, dweight + tap * channels_ + last, 0.0f);
    for (int64_t oh = 0; oh < g.out_size[0]; ++oh) {
      for (int64_t channel = first; channel < last; channel += kChannelBlock) {
        for (int64_t p = 0; p < g.kernel[0]; ++p) {
          const int64_t h = oh * g.stride[0] - g.padding[0] + p * g.dilation[0];
          if (h < 0 || h >= g.size[0]) continue;
          for (int64_t q = 0; q < g.kernel[1]; ++q) {
            const Range& range = ranges_[static_cast<size_t>(q)];
            if (range.first >= range.end) continue;
            const DepthwiseProduct product = {
                .channels = channels_,
                .first_channel = channel,
                .channel_count = std::min(kChannelBlock, last - channel),
                .x = element(samples.x, sample * g.sample_elements() + h * g.size[1] * channels_),
                .dy = element(samples.y, sample * g.out_sample_elements() + oh * g.out_size[1] * channels_),
                .first_x = range.first_x,
                .first_dy = range.first,
                .step = g.stride[1],
                .count = range.end - range.first,
                .dweight = dweight + (p * g.kernel[1] + q) * channels_,
            };
            type_ == DataType::bfloat16 ? depthwise_kernels().product_bfloat16(product) : depthwise_kernels().product(product);
          }
        }
      }
    }
  }

  ConvolutionGeometry geometry_;
  int threads_;
  DataType type_;
  int64_t channels_;
  std::vector<Range> ranges_;  // of each column of the kernel
};

}  // namespace

bool has_large_depthwise_kernel(const ConvolutionGeometry& g) {
  const bool depthwise = g.kernel.size() == 2 && g.groups > 1 && g.groups == g.in_channels && g.groups == g.out_channels;
  return depthwise && product(g.kernel) > kSmallKernel;
}

std::unique_ptr<SampleConvolution> depthwise_weight_gradient(const ConvolutionGeometry& geometry, int threads, DataType activations) {
  return std::make_unique<DepthwiseWeightGradient>(geometry, threads, activations);
}

}  // namespace kw::cpu
