// The convolution of KernelWarehouse: each sample's weight is mixed from cells and used at once. The samples go in chunks, so that no more
// weights exist than a chunk has; a chunk is first mixed, all samples together, because every cell is then read once for all of them, and
// then convolved, one sample for each thread. Weights that would leave the cores' caches between the two are cut into slices of channels:
// a thread mixes and convolves a slice of its own. The mixing writes the layout that oneDNN wants wherever that keeps cells in shape.
#include <omp.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "cpu/convolution.h"
#include "cpu/cpu_backend.h"
#include "cpu/depthwise_weight_gradient.h"
#include "cpu/direct_weight_gradient.h"
#include "cpu/folded_normalization.h"
#include "cpu/mixed_input_conv2d.h"
#include "cpu/mixing.h"
#include "cpu/sample_convolution.h"
#include "cpu/weight_slices.h"
#include "runtime/kernel_checks.h"

namespace kw::cpu {

namespace {

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
    const bool backward = pass == ConvolutionPass::backward_weight;
    const WeightSlicing slicing = weight_slicing(geometry, grid_, pass, backward ? DataType::float32 : x_.type, context.threads);
    slices_ = slicing.slices;
    const int lanes = slicing.parallel ? context.threads : 1;
    const StepContext alone(context.plan, context.step, 1, context.resources);
    const StepContext& of_lane = slicing.parallel ? alone : context;
    const CellGrid slice = slice_grid(grid_, slices_);
    const CellGrid band = sliced() ? band_grid(grid_, slices_) : grid_;
    bands_ = slice.out_channels / band.out_channels * (slice.in_channels / band.in_channels);
    const ConvolutionGeometry convolved = band_geometry(geometry, band);
    const auto convolution = [&] {
      if (backward && has_large_depthwise_kernel(convolved)) return depthwise_weight_gradient(convolved, of_lane.threads, x_.type);
      if (backward && has_direct_weight_gradient(convolved)) return direct_weight_gradient(convolved, of_lane.threads, x_.type);
      return samplewise_convolution(convolved, pass, of_lane.threads, options);
    };
    convolutions_.push_back(convolution());
    const auto band_bytes = [&] { return static_cast<int64_t>((convolutions_.front()->weight_bytes() + 63) / 64 * 64); };
    const auto place = [&](const WeightOffsets& of_band) {
      const int64_t distance = band_bytes() / element_bytes(convolutions_.front()->weight_type());
      return place_cells(slice, slice_offsets(of_band, slices_.axis, bands_, distance));
    };
    const auto placed = [&] {
      const auto& offsets = convolutions_.front()->offsets();
      return offsets ? place(*offsets) : std::nullopt;
    };
    auto placement = placed();
    if (!placement && pass == ConvolutionPass::forward && convolutions_.front()->weight_type() == DataType::float32) {
      // On AVX-512 oneDNN likes blocks of 48 channels, which divide few cells; it has a fast kernel for 16 too.
      try {
        options.weights = Options::Weights::blocks;
        convolutions_.front() = convolution();
        placement = placed();
      } catch (const Error& error) {
        if (error.code() != ErrorCode::unsupported) throw;
      }
    }
    if (!placement) {
      options.weights = Options::Weights::plain;
      convolutions_.front() = convolution();
      placement = place(plain_weight_offsets(band.out_channels, band.kernel_height, band.kernel_width, band.in_channels));
    }
    while (convolutions_.size() < static_cast<size_t>(lanes)) convolutions_.push_back(convolution());
    const int64_t weight_bytes = bands_ * band_bytes();
    const DataType weight_type = convolutions_.front()->weight_type();
    weight_stride_ = weight_bytes / element_bytes(weight_type);
    const int64_t room = slicing.parallel ? slice_bytes(slice, weight_bytes, context.threads) : kChunkBytes;
    chunk_ = samples_of_chunk(geometry.batch, weight_bytes, of_lane.threads, room);
    mixing_.emplace(of_lane, slice, *placement, chunk_, MixingTypes{x_.type, backward ? x_.type : weight_type}, slices_);
    if (sliced()) {
      const bool out = slices_.axis == CellSlices::Axis::out;
      band_ = {out ? y_ : x_, out ? band.out_channels : band.in_channels, of_lane.threads};
    }
    mixing_->keep_cells(context, tensors.cells, backward ? CellMixing::Use::backward : CellMixing::Use::mix);
  }

  SampleConvolution& convolution(size_t lane = 0) const { return *convolutions_[lane]; }
  size_t lanes() const { return convolutions_.size(); }

  size_t weight_bytes() const { return static_cast<size_t>(chunk_ * weight_stride_ * element_bytes(convolution().weight_type())); }

  // Calls body(first sample, samples) for each chunk.
  template <class Body>
  void for_each_chunk(const Body& body) const {
    for (int64_t first = 0; first < geometry_.batch; first += chunk_) body(first, std::min(chunk_, geometry_.batch - first));
  }

  bool sliced() const { return slices_.parts > 1; }

  // Calls body(slice, lane) for each slice; those of different lanes at the same time.
  template <class Body>
  void for_each_slice(const Body& body) const {
    if (lanes() == 1) {
      for (int64_t slice = 0; slice < slices_.parts; ++slice) body(slice, size_t{0});
      return;
    }
    std::exception_ptr failure;  // none may leave the parallel region
#pragma omp parallel for schedule(dynamic) num_threads(static_cast<int>(lanes()))
    for (int64_t slice = 0; slice < slices_.parts; ++slice) {
      try {
        body(slice, static_cast<size_t>(omp_get_thread_num()));
      } catch (...) {
#pragma omp critical(kw_mixed_conv2d)
        failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
  }

  // Calls body(the offset of its weights in a slice's, its first channel) for each band of a slice.
  template <class Body>
  void for_each_band(int64_t slice, const Body& body) const {
    for (int64_t band = 0; band < bands_; ++band) {
      body(weight_stride_ / bands_ * band, (band * slices_.parts + slice) * band_.channels());
    }
  }

  // The activations that the convolution sees.
  const std::byte* x_or_band(const Memory& memory, int64_t sample, const std::byte* band) const {
    return band_.of(x_) ? band : x_at(memory, sample);
  }
  const std::byte* y_or_band(const Memory& memory, int64_t sample, const std::byte* band) const {
    return band_.of(y_) ? band : y_at(memory, sample);
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
  std::vector<std::unique_ptr<SampleConvolution>> convolutions_;  // one for each lane: slices that are made at the same time
  std::optional<CellMixing> mixing_;
  int64_t weight_stride_ = 0;  // from a sample's weight, or all bands of its slice, to the next
  int64_t chunk_ = 0;
  CellSlices slices_;
  int64_t bands_ = 1;    // of a slice
  ActivationBand band_;  // of the activation that is cut
};

// mixed_conv2d, normalized_mixed_conv2d and mixed_conv2d_backward_input: mix, then convolve.
class MixThenConvolve final : public MixedConvolution {
 public:
  MixThenConvolve(const StepContext& context, ConvolutionPass pass, const ConvolutionGeometry& geometry, const Tensors& tensors,
                  const Tensor* bias, const NormalizedEpilogue* epilogue)
      : MixedConvolution(context, pass, geometry, tensors, bias != nullptr, finishing(epilogue)), bias_(bias) {
    if (bias) expect_shape(context, "bias", *bias, {geometry.out_channels});
    if (epilogue) epilogue_.emplace(*epilogue);
    context.reserve_scratch(lanes() * lane_bytes() + (epilogue ? epilogue->scratch_bytes() : 0));
  }

  void run(const Memory& memory) override {
    const std::byte* cells = mixing_->cell_panels(memory);
    std::byte* first_lane = memory.scratch();
    Epilogue epilogue{};
    if (epilogue_) {
      epilogue = epilogue_->prepare(memory, first_lane);
      first_lane += epilogue_->scratch_bytes();
    }
    for_each_slice([&](int64_t slice, size_t lane) {
      std::byte* weights = first_lane + lane * lane_bytes();
      std::byte* band = weights + weight_bytes();
      std::byte* residual = band + band_.bytes(chunk_);
      std::byte* scratch = residual + residual_bytes();
      for_each_chunk([&](int64_t first, int64_t samples) {
        mixing_->mix(attention_at(memory, first), samples, cells, weights, weight_stride_, scratch, slice);
        for_each_band(slice, [&](int64_t offset, int64_t channel) {
          SampleConvolution::Finish finish{.epilogue = epilogue};
          if (epilogue_) prepare_finish(memory, first, samples, channel, residual, finish);
          convolution(lane).run({.count = samples,
                                 .x = x_or_band(memory, first, band),
                                 .weights = weights + offset * element_bytes(convolution().weight_type()),
                                 .weight_stride = weight_stride_,
                                 .y = y_or_band(memory, first, band),
                                 .bias = bias_ ? memory.data<float>(*bias_) + channel : nullptr,
                                 .finish = epilogue_ ? &finish : nullptr},
                                scratch);
          if (sliced()) band_.spread(memory, first, samples, channel, band);
        });
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
  // Of the channels from `channel` on, for a chunk.
  void prepare_finish(const Memory& memory, int64_t first, int64_t samples, int64_t channel, std::byte* residual,
                      SampleConvolution::Finish& finish) const {
    if (sliced()) {
      finish.epilogue.channels = band_.channels();
      finish.epilogue.factor += channel;
      finish.epilogue.shift += channel;
    }
    if (epilogue_->residual()) {
      finish.residual = sample_at(memory, *epilogue_->residual(), first);
      if (sliced()) {
        band_.gather(memory, *epilogue_->residual(), first, samples, channel, residual);
        finish.residual = residual;
      }
    }
    if (epilogue_->means()) {
      finish.means = memory.data<float>(*epilogue_->means()) + first * geometry_.out_channels + channel;
      finish.means_stride = geometry_.out_channels;
    }
  }

  size_t residual_bytes() const { return epilogue_ && epilogue_->residual() ? band_.bytes(chunk_) : 0; }
  // Weights, the bands of y (or x) and of the residual, and scratch.
  size_t lane_bytes() const {
    const size_t scratch = std::max(mixing_->mix_scratch_bytes(), convolution().scratch_bytes());
    return weight_bytes() + band_.bytes(chunk_) + residual_bytes() + (scratch + 63) / 64 * 64;
  }

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
    context.reserve_scratch(weight_bytes() + band_.bytes(chunk_) +
                            std::max(mixing_->backward_scratch_bytes(), convolution().scratch_bytes()));
  }

  void run(const Memory& memory) override {
    const std::byte* cells = mixing_->cell_panels(memory);
    auto* dweights = reinterpret_cast<float*>(memory.scratch());
    std::byte* band = memory.scratch() + weight_bytes();
    std::byte* scratch = band + band_.bytes(chunk_);
    const int64_t attention_stride = grid_.mixtures() * grid_.cells;
    for_each_slice([&](int64_t slice, size_t) {
      for_each_chunk([&](int64_t first, int64_t samples) {
        for_each_band(slice, [&](int64_t offset, int64_t channel) {
          if (sliced()) band_.gather(memory, y_, first, samples, channel, band);
          convolution().run({.count = samples,
                             .x = x_or_band(memory, first, band),
                             .weights = dweights + offset,
                             .weight_stride = weight_stride_,
                             .y = y_or_band(memory, first, band)},
                            scratch);
        });
        mixing_->backward(attention_at(memory, first), samples, cells, dweights, weight_stride_,
                          {.dattention = memory.data<float>(dattention_) + first * attention_stride,
                           .dcells = memory.data<float>(dcells_),
                           .accumulate_cells = first > 0 || accumulator_ != nullptr,
                           .accumulate_attention = slice > 0},
                          scratch, slice);
      });
    });
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
