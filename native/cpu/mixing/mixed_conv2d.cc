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

#include "cpu/convolution/convolution.h"
#include "cpu/convolution/depthwise_weight_gradient.h"
#include "cpu/convolution/direct_weight_gradient.h"
#include "cpu/convolution/folded_normalization.h"
#include "cpu/convolution/sample_convolution.h"
#include "cpu/cpu_backend.h"
#include "cpu/mixing/mixed_input_conv2d.h"
#include "cpu/mixing/mixing.h"
#include "cpu/mixing/weight_slices.h"
#include "ops/op_list.h"

namespace kw::cpu {

namespace {

// What the three passes share: how attention and cells become weights, and how these meet the samples.
class MixedConvolution : public Kernel {
 protected:
  MixedConvolution(const MixedConvolutionStep& step, const KernelContext& context)
      : geometry_(step.geometry), grid_(step.grid), x_(step.x), y_(step.y), attention_(step.attention) {
    using Options = SampleConvolution::Options;
    Options options = {.has_bias = step.bias != nullptr, .weights = Options::Weights::preferred, .activations = x_.type};
    if (step.epilogue) options.finishing = {step.epilogue->activation, step.epilogue->residual != nullptr};
    const ConvolutionGeometry& geometry = geometry_;
    const ConvolutionPass pass = step.pass;
    const bool backward = pass == ConvolutionPass::backward_weight;
    const WeightSlicing slicing = weight_slicing(geometry, grid_, pass, backward ? DataType::float32 : x_.type, context.threads);
    slices_ = slicing.slices;
    const int lanes = slicing.parallel ? context.threads : 1;
    const KernelContext alone(context.plan, context.step, 1, context.resources);
    const KernelContext& of_lane = slicing.parallel ? alone : context;
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
    mixing_->keep_cells(context, step.cells, backward ? CellMixing::Use::backward : CellMixing::Use::mix);
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
  MixThenConvolve(const MixedConvolutionStep& step, const KernelContext& context) : MixedConvolution(step, context), bias_(step.bias) {
    if (step.epilogue) epilogue_.emplace(*step.epilogue);
    context.reserve_scratch(lanes() * lane_bytes() + (epilogue_ ? epilogue_->scratch_bytes() : 0));
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

  const Tensor* bias_;
  std::optional<NormalizedEpilogue> epilogue_;
};

// mixed_conv2d_backward_mixing: the gradient of each sample's weight, taken apart into those of attention and cells.
class MixedBackwardMixing final : public MixedConvolution {
 public:
  MixedBackwardMixing(const MixedConv2dBackwardMixingStep& step, const KernelContext& context)
      : MixedConvolution(step, context), dattention_(step.dattention), dcells_(step.dcells), accumulates_(step.accumulates) {
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
                           .accumulate_cells = first > 0 || accumulates_,
                           .accumulate_attention = slice > 0},
                          scratch, slice);
      });
    });
  }

 private:
  const Tensor& dattention_;
  const Tensor& dcells_;
  const bool accumulates_;
};

bool mixes_input(const MixedConvolutionStep& step) {
  return step.x.type == DataType::float32 && cpu::mixes_input(step.geometry, step.grid);
}

std::unique_ptr<Kernel> prepare_forward(const MixedConvolutionStep& step, const KernelContext& context) {
  refuse_large(context, step.geometry);
  if (mixes_input(step)) return mixed_input_forward(step, context);
  return std::make_unique<MixThenConvolve>(step, context);
}

std::unique_ptr<Kernel> prepare_backward_input(const MixedConv2dBackwardInputStep& step, const KernelContext& context) {
  refuse_large(context, step.geometry);
  if (mixes_input(step)) return mixed_input_backward_input(step, context);
  return std::make_unique<MixThenConvolve>(step, context);
}

std::unique_ptr<Kernel> prepare_backward_mixing(const MixedConv2dBackwardMixingStep& step, const KernelContext& context) {
  refuse_large(context, step.geometry);
  if (mixes_input(step)) return mixed_input_backward_mixing(step, context);
  return std::make_unique<MixedBackwardMixing>(step, context);
}

}  // namespace

void add_mixed_convolution(KernelRegistry& registry) {
  add_kernel(registry, ops::mixed_conv2d, prepare_forward);
  add_kernel(registry, ops::normalized_mixed_conv2d, prepare_forward);
  add_kernel(registry, ops::mixed_conv2d_backward_input, prepare_backward_input);
  add_kernel(registry, ops::mixed_conv2d_backward_mixing, prepare_backward_mixing);
}

}  // namespace kw::cpu
