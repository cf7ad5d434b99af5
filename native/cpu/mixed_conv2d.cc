// The convolution of KernelWarehouse: each sample's weight is mixed from cells and used at once. The samples go in chunks, so that no more
// weights exist than a chunk has; a chunk is first mixed, all samples together, because every cell is then read once for all of them, and
// then convolved, one sample for each thread. The mixing writes the layout that oneDNN wants wherever that keeps cells in shape.
#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "cpu/convolution.h"
#include "cpu/cpu_backend.h"
#include "cpu/depthwise_weight_gradient.h"
#include "cpu/folded_normalization.h"
#include "cpu/kernel.h"
#include "cpu/mixed_input_conv2d.h"
#include "cpu/mixing.h"
#include "cpu/parallel.h"
#include "cpu/sample_convolution.h"

namespace kw::cpu {

namespace {

// Room for the weights of a chunk: what it holds should be found in a cache by the convolution.
constexpr int64_t kChunkBytes = int64_t{32} << 20;

// A multiple of the threads where there are enough samples, and chunks of nearly equal size.
int64_t samples_of_chunk(int64_t samples, int64_t weight_bytes, int64_t threads) {
  const int64_t most = std::clamp(kChunkBytes / weight_bytes, std::min(threads, samples), samples);
  const int64_t rounded = std::max(most / threads * threads, std::min(threads, samples));
  if (most == samples) return samples;
  const int64_t chunks = (samples + rounded - 1) / rounded;
  const int64_t even = (samples + chunks - 1) / chunks;
  return std::min(rounded, (even + threads - 1) / threads * threads);
}

// A slice for all samples should stay in a cache; narrower slices make slow convolutions.
constexpr int64_t kSliceBytes = int64_t{16} << 20;
constexpr int64_t kLeastSliceChannels = 64;

// Along the channels that the pass does not sum over.
CellSlices slices_of(const ConvolutionGeometry& geometry, const CellGrid& grid, ConvolutionPass pass, DataType weights) {
  const int64_t bytes = geometry.batch * geometry.weight_elements() * element_bytes(weights);
  if (geometry.groups != 1 || bytes <= kChunkBytes) return {};
  const auto axis = pass == ConvolutionPass::backward_input ? CellSlices::Axis::in : CellSlices::Axis::out;
  const int64_t channels = axis == CellSlices::Axis::in ? grid.cell_in : grid.cell_out;
  if (channels % kLeastSliceChannels != 0) return {};
  CellSlices slices = cell_slices(grid, axis, 1);
  while (bytes / (slices.positions * slices.parts) > kSliceBytes && channels % (2 * slices.parts * kLeastSliceChannels) == 0) {
    slices.parts *= 2;
  }
  return slices;
}

ConvolutionGeometry slice_geometry(ConvolutionGeometry geometry, const CellGrid& slice) {
  geometry.in_channels = slice.in_channels * geometry.groups;
  geometry.out_channels = slice.out_channels;
  return geometry;
}

// What the three passes share: how attention and cells become weights, and how these meet the samples.
class MixedConvolution : public Kernel {
 protected:
  struct Tensors {
    const Tensor& x;
    const Tensor& y;
    const Tensor& attention;
    size_t cells;  // the input's position
  };

  MixedConvolution(const StepContext& context, ConvolutionPass pass, const ConvolutionGeometry& geometry, const Tensors& tensors,
                   bool has_bias, const std::optional<SampleConvolution::Finishing>& finishing)
      : geometry_(geometry),
        grid_(cell_grid(context, context.input(tensors.cells).shape, geometry.weight_shape())),
        x_(tensors.x),
        y_(tensors.y),
        attention_(tensors.attention) {
    using Options = SampleConvolution::Options;
    Options options = {.has_bias = has_bias, .weights = Options::Weights::preferred, .activations = x_.type, .finishing = finishing};
    expect_shape(context, "attention", attention_, {geometry.batch, grid_.mixtures(), grid_.cells});
    expect_type(context, "cells", context.input(tensors.cells));
    // An epilogue wants all channels.
    if (!finishing) slices_ = slices_of(geometry, grid_, pass, pass == ConvolutionPass::backward_weight ? DataType::float32 : x_.type);
    const CellGrid slice = sliced() ? slice_grid(grid_, slices_) : grid_;
    const ConvolutionGeometry convolved = slice_geometry(geometry, slice);
    if (pass == ConvolutionPass::backward_weight && has_large_depthwise_kernel(geometry)) {
      convolution_ = depthwise_weight_gradient(geometry, context.threads, x_.type);
    } else {
      convolution_ = samplewise_convolution(convolved, pass, context.threads, options);
    }
    auto placement = convolution_->offsets() ? place_cells(slice, *convolution_->offsets()) : std::nullopt;
    if (!placement) {
      options.weights = Options::Weights::plain;
      convolution_ = samplewise_convolution(convolved, pass, context.threads, options);
      placement = place_cells(slice, plain_weight_offsets(slice.out_channels, slice.kernel_height, slice.kernel_width, slice.in_channels));
    }
    const auto weight_bytes = static_cast<int64_t>((convolution_->weight_bytes() + 63) / 64 * 64);
    weight_stride_ = weight_bytes / element_bytes(convolution_->weight_type());
    chunk_ = samples_of_chunk(geometry.batch, weight_bytes, context.threads);
    const bool backward = pass == ConvolutionPass::backward_weight;
    mixing_.emplace(context, slice, *placement, chunk_, backward ? x_.type : convolution_->weight_type(), slices_);
    if (sliced()) {
      const bool out = slices_.axis == CellSlices::Axis::out;
      slice_ = {out ? &y_ : &x_, out ? slice.out_channels : slice.in_channels, context.threads};
    }
    mixing_->keep_cells(context, tensors.cells, backward ? CellMixing::Use::backward : CellMixing::Use::mix);
  }

  size_t weight_bytes() const { return static_cast<size_t>(chunk_ * weight_stride_ * element_bytes(convolution_->weight_type())); }

  // Calls body(first sample, samples) for each chunk.
  template <class Body>
  void for_each_chunk(const Body& body) const {
    for (int64_t first = 0; first < geometry_.batch; first += chunk_) body(first, std::min(chunk_, geometry_.batch - first));
  }

  bool sliced() const { return slices_.positions * slices_.parts > 1; }

  // Calls body(slice, its first channel) for each slice.
  template <class Body>
  void for_each_slice(const Body& body) const {
    for (int64_t part = 0; part < slices_.parts; ++part) {
      for (int64_t position = 0; position < slices_.positions; ++position) {
        body(CellSlice{position, part}, (position * slices_.parts + part) * slice_.channels);
      }
    }
  }

  // A slice's channels of the activation that is cut, on its own: [samples, positions, channels].
  size_t slice_bytes() const { return sliced() ? static_cast<size_t>(chunk_ * rows_of_sample() * slice_row_bytes() + 63) / 64 * 64 : 0; }
  void gather_slice(const Memory& memory, int64_t first, int64_t samples, int64_t channel, std::byte* slice) const {
    if (!sliced()) return;
    for_each_slice_row(samples, [&](int64_t row) {
      std::memcpy(slice + row * slice_row_bytes(), whole_row(memory, first, row, channel), static_cast<size_t>(slice_row_bytes()));
    });
  }
  void spread_slice(const Memory& memory, int64_t first, int64_t samples, int64_t channel, const std::byte* slice) const {
    if (!sliced()) return;
    for_each_slice_row(samples, [&](int64_t row) {
      std::memcpy(whole_row(memory, first, row, channel), slice + row * slice_row_bytes(), static_cast<size_t>(slice_row_bytes()));
    });
  }
  // The activations that the convolution sees.
  const std::byte* x_or_slice(const Memory& memory, int64_t sample, const std::byte* slice) const {
    return slice_.activation == &x_ ? slice : x_at(memory, sample);
  }
  const std::byte* y_or_slice(const Memory& memory, int64_t sample, const std::byte* slice) const {
    return slice_.activation == &y_ ? slice : y_at(memory, sample);
  }

  const std::byte* x_at(const Memory& memory, int64_t sample) const { return sample_at(memory, x_, sample); }
  const std::byte* y_at(const Memory& memory, int64_t sample) const { return sample_at(memory, y_, sample); }
  std::byte* sample_at(const Memory& memory, const Tensor& tensor, int64_t sample) const {
    return memory.data<std::byte>(tensor) + sample * (tensor.bytes() / geometry_.batch);
  }
  float* attention_at(const Memory& memory, int64_t sample) const {
    return memory.data<float>(attention_) + sample * grid_.mixtures() * grid_.cells;
  }

  ConvolutionGeometry geometry_;
  CellGrid grid_;
  const Tensor& x_;
  const Tensor& y_;
  const Tensor& attention_;
  std::unique_ptr<SampleConvolution> convolution_;
  std::optional<CellMixing> mixing_;
  int64_t weight_stride_ = 0;
  int64_t chunk_ = 0;
  CellSlices slices_;

 private:
  struct Slice {
    const Tensor* activation = nullptr;  // the one that is cut
    int64_t channels = 0;
    int threads = 1;
  };

  int64_t rows_of_sample() const { return slice_.activation->elements() / slice_.activation->shape.back() / geometry_.batch; }
  int64_t slice_row_bytes() const { return slice_.channels * element_bytes(x_.type); }
  std::byte* whole_row(const Memory& memory, int64_t first, int64_t row, int64_t channel) const {
    const int64_t element = (first * rows_of_sample() + row) * slice_.activation->shape.back() + channel;
    return memory.data<std::byte>(*slice_.activation) + element * element_bytes(x_.type);
  }
  template <class Visit>
  void for_each_slice_row(int64_t samples, const Visit& visit) const {
    parallel_for(slice_.threads, samples * rows_of_sample(), rows_per_thread(slice_.channels), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) visit(row);
    });
  }

  Slice slice_;
};

// mixed_conv2d, normalized_mixed_conv2d and mixed_conv2d_backward_input: mix, then convolve.
class MixThenConvolve final : public MixedConvolution {
 public:
  MixThenConvolve(const StepContext& context, ConvolutionPass pass, const ConvolutionGeometry& geometry, const Tensors& tensors,
                  const Tensor* bias, const NormalizedEpilogue* epilogue)
      : MixedConvolution(context, pass, geometry, tensors, bias != nullptr, finishing(epilogue)), bias_(bias) {
    if (bias) expect_shape(context, "bias", *bias, {geometry.out_channels});
    size_t bytes = weight_bytes() + slice_bytes() + std::max(mixing_->mix_scratch_bytes(), convolution_->scratch_bytes());
    if (epilogue) {
      epilogue_.emplace(*epilogue);
      bytes += epilogue->scratch_bytes();
    }
    context.reserve_scratch(bytes);
  }

  void run(const Memory& memory) override {
    const std::byte* cells = mixing_->cell_panels(memory);
    auto* weights = reinterpret_cast<float*>(memory.scratch());
    std::byte* slice = memory.scratch() + weight_bytes();
    std::byte* scratch = slice + slice_bytes();
    SampleConvolution::Finish finish{};
    if (epilogue_) {
      finish.epilogue = epilogue_->prepare(memory, scratch);
      scratch += epilogue_->scratch_bytes();
    }
    for_each_slice([&](const CellSlice& part, int64_t channel) {
      for_each_chunk([&](int64_t first, int64_t samples) {
        mixing_->mix(attention_at(memory, first), samples, cells, weights, weight_stride_, scratch, part);
        if (epilogue_) {
          finish.residual = epilogue_->residual() ? sample_at(memory, *epilogue_->residual(), first) : nullptr;
          finish.means = epilogue_->means() ? memory.data<float>(*epilogue_->means()) + first * geometry_.out_channels : nullptr;
        }
        convolution_->run({.count = samples,
                           .x = x_or_slice(memory, first, slice),
                           .weights = weights,
                           .weight_stride = weight_stride_,
                           .y = y_or_slice(memory, first, slice),
                           .bias = bias_ ? memory.data<float>(*bias_) + channel : nullptr,
                           .finish = epilogue_ ? &finish : nullptr},
                          scratch);
        spread_slice(memory, first, samples, channel, slice);
      });
    });
  }

  static std::unique_ptr<Kernel> forward(const StepContext& context) { return make_forward(context, nullptr); }

  static std::unique_ptr<Kernel> normalized(const StepContext& context) {
    const Tensor& y = context.output(0);
    expect_rank(context, "y", y, 4, y.type);
    const NormalizedEpilogue epilogue(context, 4, y);
    return make_forward(context, &epilogue);
  }

  static std::unique_ptr<Kernel> backward_input(const StepContext& context) {
    const Tensor& dy = context.input(0);
    const Tensor& dx = context.output(0);
    const auto geometry = convolution_geometry(context, dx, dy, kernel_size(context, 2));
    const CellGrid grid = cell_grid(context, context.input(2).shape, geometry.weight_shape());
    if (dy.type == DataType::float32 && mixes_input(geometry, grid)) return mixed_input_backward_input(context, geometry, grid);
    return std::make_unique<MixThenConvolve>(context, ConvolutionPass::backward_input, geometry, Tensors{dx, dy, context.input(1), 2},
                                             nullptr, nullptr);
  }

 private:
  static std::optional<SampleConvolution::Finishing> finishing(const NormalizedEpilogue* epilogue) {
    if (!epilogue) return std::nullopt;
    return SampleConvolution::Finishing{epilogue->activation(), epilogue->residual() != nullptr};
  }

  // The bias of a normalized convolution is part of its epilogue.
  static std::unique_ptr<Kernel> make_forward(const StepContext& context, const NormalizedEpilogue* epilogue) {
    const Tensor& x = context.input(0);
    const Tensor& y = context.output(0);
    const auto geometry = convolution_geometry(context, x, y, kernel_size(context, 2));
    if (geometry.out_channels != context.integer("outChannels")) context.fail("expected y with outChannels channels");
    const CellGrid grid = cell_grid(context, context.input(2).shape, geometry.weight_shape());
    if (x.type == DataType::float32 && mixes_input(geometry, grid)) return mixed_input_forward(context, geometry, grid, epilogue);
    const Tensor* bias = context.has_input(3) && !epilogue ? &context.input(3) : nullptr;
    return std::make_unique<MixThenConvolve>(context, ConvolutionPass::forward, geometry, Tensors{x, y, context.input(1), 2}, bias,
                                             epilogue);
  }

  const Tensor* bias_;
  std::optional<NormalizedEpilogue> epilogue_;
};

// mixed_conv2d_backward_mixing: the gradient of each sample's weight, taken apart into those of attention and cells.
class MixedBackwardMixing final : public MixedConvolution {
 public:
  MixedBackwardMixing(const StepContext& context, const ConvolutionGeometry& geometry)
      : MixedConvolution(context, ConvolutionPass::backward_weight, geometry, {context.input(0), context.input(1), context.input(2), 3},
                         false, std::nullopt),
        dattention_(context.output(0)),
        dcells_(context.output(1)),
        accumulator_(context.has_input(4) ? &context.input(4) : nullptr) {
    expect_shape(context, "dattention", dattention_, attention_.shape);
    expect_shape(context, "dcells", dcells_, context.input(3).shape);
    if (accumulator_) {
      expect_shape(context, "accumulator", *accumulator_, dcells_.shape);
      if (accumulator_->buffer != dcells_.buffer || accumulator_->offset != dcells_.offset) {
        context.fail("expected dcells in the accumulator's memory");
      }
    }
    context.reserve_scratch(weight_bytes() + mixing_->dcell_panel_bytes() + slice_bytes() +
                            std::max(mixing_->backward_scratch_bytes(), convolution_->scratch_bytes()));
  }

  void run(const Memory& memory) override {
    const std::byte* cells = mixing_->cell_panels(memory);
    auto* dweights = reinterpret_cast<float*>(memory.scratch());
    auto* dcell_panels = reinterpret_cast<float*>(memory.scratch() + weight_bytes());
    std::byte* slice = memory.scratch() + weight_bytes() + mixing_->dcell_panel_bytes();
    std::byte* scratch = slice + slice_bytes();
    const int64_t attention_stride = grid_.mixtures() * grid_.cells;
    for_each_slice([&](const CellSlice& part, int64_t channel) {
      for_each_chunk([&](int64_t first, int64_t samples) {
        gather_slice(memory, first, samples, channel, slice);
        convolution_->run({.count = samples,
                           .x = x_or_slice(memory, first, slice),
                           .weights = dweights,
                           .weight_stride = weight_stride_,
                           .y = y_or_slice(memory, first, slice)},
                          scratch);
        mixing_->backward(attention_at(memory, first), samples, cells, dweights, weight_stride_,
                          {.dattention = memory.data<float>(dattention_) + first * attention_stride,
                           .dcell_panels = dcell_panels,
                           .accumulate_cells = first > 0 || part.position > 0,
                           .accumulate_attention = part.part > 0},
                          scratch, part);
      });
    });
    mixing_->unpack(dcell_panels, accumulator_ != nullptr, memory.data<float>(dcells_));
  }

  static std::unique_ptr<Kernel> make(const StepContext& context) {
    const auto geometry = convolution_geometry(context, context.input(0), context.input(1), kernel_size(context, 2));
    const CellGrid grid = cell_grid(context, context.input(3).shape, geometry.weight_shape());
    if (context.input(0).type == DataType::float32 && mixes_input(geometry, grid))
      return mixed_input_backward_mixing(context, geometry, grid);
    return std::make_unique<MixedBackwardMixing>(context, geometry);
  }

 private:
  const Tensor& dattention_;
  const Tensor& dcells_;
  const Tensor* accumulator_;
};

}  // namespace

void add_mixed_convolution(KernelRegistry& registry) {
  registry.add("mixed_conv2d", MixThenConvolve::forward);
  registry.add("normalized_mixed_conv2d", MixThenConvolve::normalized);
  registry.add("mixed_conv2d_backward_input", MixThenConvolve::backward_input);
  registry.add("mixed_conv2d_backward_mixing", MixedBackwardMixing::make);
}

}  // namespace kw::cpu
