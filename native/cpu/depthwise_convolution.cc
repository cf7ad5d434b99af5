#include "cpu/depthwise_convolution.h"

#include <algorithm>
#include <vector>

#include "cpu/kernel.h"
#include "cpu/parallel.h"
#include "cpu/simd/depthwise_kernels.h"

namespace kw::cpu {

const DepthwiseKernels& depthwise_kernels() {
#ifdef KW_SIMD_X86
  static const DepthwiseKernels& best = __builtin_cpu_supports("avx512f")                                 ? avx512::depthwise_kernels()
                                        : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2::depthwise_kernels()
                                                                                                          : baseline::depthwise_kernels();
  return best;
#else
  return baseline::depthwise_kernels();
#endif
}

namespace {

// Channels whose part of a row stays in the first-level cache while a row of the gradient is computed.
constexpr int64_t kChannelBlock = 64;

using Taps = std::vector<DepthwiseTap>;

// One axis of either pass over activations: what each index of the result meets in the source.
struct Axis {
  int64_t size, kernel, stride, padding, dilation;  // of the convolution
  bool backward;                                    // the result is dx, the source dy

  Taps taps_of(int64_t index, int64_t source_size) const {
    Taps taps;
    for (int64_t k = 0; k < kernel; ++k) {
      int64_t source = backward ? index + padding - k * dilation : index * stride - padding + k * dilation;
      if (backward && source % stride != 0) continue;
      if (backward) source /= stride;
      if (source >= 0 && source < source_size) taps.push_back({k, source});
    }
    return taps;
  }
};

// Columns that may be computed together, and their taps.
struct ColumnPlan {
  std::vector<DepthwiseColumns> columns;
  Taps taps;
  int64_t column_step, source_step;
};

ColumnPlan plan_columns(const Axis& axis, int64_t count, int64_t source_size) {
  ColumnPlan plan{{}, {}, axis.backward ? axis.stride : 1, axis.backward ? 1 : axis.stride};
  const auto follows = [&](const Taps& first, const Taps& later, int64_t steps) {
    return std::equal(first.begin(), first.end(), later.begin(), later.end(), [&](const DepthwiseTap& a, const DepthwiseTap& b) {
      return a.kernel == b.kernel && a.source + steps * plan.source_step == b.source;
    });
  };
  for (int64_t offset = 0; offset < std::min(plan.column_step, count); ++offset) {
    for (int64_t column = offset; column < count;) {
      const Taps taps = axis.taps_of(column, source_size);
      bool several = column + (kDepthwiseColumns - 1) * plan.column_step < count;
      for (int64_t later = 1; later < kDepthwiseColumns && several; ++later) {
        several = follows(taps, axis.taps_of(column + later * plan.column_step, source_size), later);
      }
      plan.columns.push_back({column, several, static_cast<int64_t>(plan.taps.size()), static_cast<int64_t>(taps.size())});
      plan.taps.insert(plan.taps.end(), taps.begin(), taps.end());
      column += (several ? kDepthwiseColumns : 1) * plan.column_step;
    }
  }
  return plan;
}

class DepthwiseConvolution : public SampleConvolution {
 protected:
  DepthwiseConvolution(const ConvolutionGeometry& geometry, int threads, const Options& options)
      : geometry_(geometry), threads_(threads), type_(options.activations), channels_(geometry.in_channels) {
    weight_bytes_ = static_cast<size_t>(geometry.weight_elements()) * sizeof(float);
    WeightOffsets offsets;
    for (int64_t c = 0; c < channels_; ++c) offsets.out.push_back(c);
    for (int64_t p = 0; p < geometry.kernel[0]; ++p) offsets.row.push_back(p * geometry.kernel[1] * channels_);
    for (int64_t q = 0; q < geometry.kernel[1]; ++q) offsets.column.push_back(q * channels_);
    offsets.in.push_back(0);
    offsets_ = std::move(offsets);
  }

  // Samples are divided among threads if that comes out even, else each sample is.
  int64_t parts(int64_t samples) const { return samples % threads_ == 0 ? 1 : threads_; }

  const std::byte* activation(const void* first, int64_t element) const {
    return static_cast<const std::byte*>(first) + element * element_bytes(type_);
  }

  ConvolutionGeometry geometry_;
  int threads_;
  DataType type_;
  int64_t channels_;
};

// The forward pass and the gradient of the input: each row of the result at a time.
class DepthwiseRows final : public DepthwiseConvolution {
 public:
  DepthwiseRows(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads, const Options& options)
      : DepthwiseConvolution(geometry, threads, options),
        backward_(pass == ConvolutionPass::backward_input),
        size_(backward_ ? geometry.size : geometry.out_size),
        source_size_(backward_ ? geometry.out_size : geometry.size),
        columns_(plan_columns(axis(1), size_[1], source_size_[1])) {
    if (options.finishing) bounds_ = bounds_of(options.finishing->activation);
    for (int64_t row = 0; row < size_[0]; ++row) rows_.push_back(axis(0).taps_of(row, source_size_[0]));
    // Sums of a row and of a part of the sample; factors of one where there is a bias but no BatchNorm.
    scratch_bytes_ = (static_cast<size_t>(geometry.batch * threads) * 2 + 1) * static_cast<size_t>(channels_) * sizeof(float);
  }

  void run(const Samples& samples, std::byte* scratch) override {
    auto* ones = reinterpret_cast<float*>(scratch);
    std::fill(ones, ones + channels_, 1.0f);
    float* sums = ones + channels_;
    const int64_t each = parts(samples.count);
    parallel_for(threads_, samples.count * each, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t sample = task / each, part = task % each;
        run_rows(samples, sample, range_begin(size_[0], each, part), range_begin(size_[0], each, part + 1), ones,
                 sums + task * 2 * channels_);
      }
    });
    if (!samples.finish || !samples.finish->means) return;
    const auto positions = static_cast<float>(product(size_));
    for (int64_t sample = 0; sample < samples.count; ++sample) {
      for (int64_t c = 0; c < channels_; ++c) {
        float sum = 0;
        for (int64_t part = 0; part < each; ++part) sum += sums[(sample * each + part) * 2 * channels_ + c];
        samples.finish->means[sample * channels_ + c] = sum / positions;
      }
    }
  }

 private:
  Axis axis(size_t index) const {
    const auto& g = geometry_;
    return {g.size[index], g.kernel[index], g.stride[index], g.padding[index], g.dilation[index], backward_};
  }

  // `sums` [2][channels] begins with the totals of these rows afterwards.
  void run_rows(const Samples& samples, int64_t sample, int64_t first, int64_t last, const float* ones, float* sums) const {
    const int64_t elements = product(size_) * channels_, source_elements = product(source_size_) * channels_;
    const void* source = backward_ ? samples.y : samples.x;
    const void* result = backward_ ? samples.x : samples.y;
    const Finish* finish = samples.finish;
    float* run = sums + channels_;
    DepthwiseRow row{};
    row.channels = channels_;
    row.source = activation(source, sample * source_elements);
    row.source_columns = source_size_[1];
    row.weight = static_cast<const float*>(samples.weights) + sample * samples.weight_stride;
    row.kernel_columns = geometry_.kernel[1];
    row.columns = columns_.columns.data();
    row.column_count = static_cast<int64_t>(columns_.columns.size());
    row.column_taps = columns_.taps.data();
    row.column_step = columns_.column_step;
    row.source_step = columns_.source_step;
    row.factor = finish ? finish->epilogue.factor : samples.bias ? ones : nullptr;
    row.shift = finish ? finish->epilogue.shift : samples.bias;
    row.least = bounds_.least;
    row.most = bounds_.most;
    const bool sums_up = finish && finish->means;
    if (sums_up) std::fill(sums, sums + channels_, 0.0f), row.sums = run;
    for (int64_t index = first; index < last; ++index) {
      const int64_t at = sample * elements + index * size_[1] * channels_;
      const Taps& taps = rows_[static_cast<size_t>(index)];
      row.rows = taps.data();
      row.row_count = static_cast<int64_t>(taps.size());
      row.y = const_cast<std::byte*>(activation(result, at));
      row.residual = finish && finish->residual ? activation(finish->residual, at) : nullptr;
      if (sums_up) std::fill(run, run + channels_, 0.0f);
      type_ == DataType::bfloat16 ? depthwise_kernels().row_bfloat16(row) : depthwise_kernels().row(row);
      for (int64_t c = 0; c < channels_ && sums_up; ++c) sums[c] += run[c];
    }
  }

  bool backward_;
  std::vector<int64_t> size_, source_size_;  // of the result and of what it is computed from
  ColumnPlan columns_;
  std::vector<Taps> rows_;
  Bounds bounds_ = bounds_of(Activation::none);
};

// The gradient of the weight.
class DepthwiseWeight final : public DepthwiseConvolution {
 public:
  DepthwiseWeight(const ConvolutionGeometry& geometry, int threads, const Options& options)
      : DepthwiseConvolution(geometry, threads, options) {
    const Axis axis{geometry.size[1], geometry.kernel[1], geometry.stride[1], geometry.padding[1], geometry.dilation[1], false};
    for (int64_t q = 0; q < axis.kernel; ++q) {
      const int64_t shift = q * axis.dilation - axis.padding;  // of x's column against dy's times the stride
      const int64_t first = shift >= 0 ? 0 : (-shift + axis.stride - 1) / axis.stride;
      const int64_t end = axis.size - shift <= 0 ? 0 : (axis.size - shift - 1) / axis.stride + 1;
      ranges_.push_back({first, std::min(end, geometry.out_size[1]), first * axis.stride + shift});
    }
  }

  void run(const Samples& samples, std::byte*) override {
    const int64_t blocks = (channels_ + kChannelBlock - 1) / kChannelBlock;
    const int64_t each = std::min(parts(samples.count), blocks);
    parallel_for(threads_, samples.count * each, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t part = task % each;
        run_blocks(samples, task / each, range_begin(blocks, each, part), range_begin(blocks, each, part + 1));
      }
    });
  }

 private:
  // Columns of dy that meet x at one position of the kernel, and the column of x under the first one.
  struct Range {
    int64_t first, end, first_x;
  };

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
                .x = activation(samples.x, sample * g.sample_elements() + h * g.size[1] * channels_),
                .dy = activation(samples.y, sample * g.out_sample_elements() + oh * g.out_size[1] * channels_),
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

  std::vector<Range> ranges_;  // of each column of the kernel
};

}  // namespace

bool is_depthwise(const ConvolutionGeometry& g) {
  return g.kernel.size() == 2 && g.groups > 1 && g.groups == g.in_channels && g.groups == g.out_channels;
}

std::unique_ptr<SampleConvolution> depthwise_convolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads,
                                                         const SampleConvolution::Options& options) {
  if (pass == ConvolutionPass::backward_weight) return std::make_unique<DepthwiseWeight>(geometry, threads, options);
  return std::make_unique<DepthwiseRows>(geometry, pass, threads, options);
}

}  // namespace kw::cpu
