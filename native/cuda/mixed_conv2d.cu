// The convolution of KernelWarehouse: each sample's weight is mixed from cells and used at once. The samples go in chunks, so that a
// chunk's weights, just written, are read from the L2 cache; no weight, and no gradient of one, outlives its chunk.
#include <algorithm>
#include <memory>
#include <optional>

#include "cuda/cell_mixing.h"
#include "cuda/convolution.h"
#include "cuda/fused_mixed_convolution.h"
#include "cuda/kernel.h"
#include "cuda/mixed_kernel_choice.h"

namespace kw::cuda {

namespace {

size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

// What the three passes share: how attention and cells become weights, and how these meet the samples.
class MixedConvolution : public Kernel {
 protected:
  struct Tensors {
    const Tensor& x;
    const Tensor& y;
    const Tensor& attention;
    size_t cells;  // the input's position
  };

  MixedConvolution(const Device& gpu, const StepContext& context, ConvolutionPass pass, const ConvolutionGeometry& geometry,
                   const Tensors& tensors, const ConvolutionOptions& options)
      : geometry_(geometry),
        grid_(cell_grid(context, context.input(tensors.cells).shape, geometry.weight_shape())),
        x_(tensors.x),
        y_(tensors.y),
        attention_(tensors.attention),
        weight_stride_(assembled_weight_stride(geometry)),
        choice_(choose_mixed_kernel(gpu, geometry, grid_, tensors.x.type, pass)),
        chunk_(choice_.samples),
        mixing_(gpu, context, grid_, chunk_, options.weights, false),
        convolution_(gpu, geometry.with_batch(chunk_), pass, options) {
    expect_shape(context, "attention", attention_, {geometry.batch, grid_.mixtures(), grid_.cells});
    expect_type(context, "cells", context.input(tensors.cells));
    mixing_.keep_cells(context, tensors.cells);
  }

  // Calls body(first sample, samples) for each chunk.
  template <class Body>
  void for_each_chunk(const Body& body) const {
    for (int64_t first = 0; first < geometry_.batch; first += chunk_) body(first, std::min(chunk_, geometry_.batch - first));
  }

  size_t attention_bytes() const { return round_up(mixing_.attention_bytes(geometry_.batch)); }
  size_t weight_bytes() const { return static_cast<size_t>(chunk_ * weight_stride_ * element_bytes(x_.type)); }

  ConvolutionRun run_of(const Memory& memory, int64_t first, int64_t samples, const std::byte* weights) const {
    return {.samples = samples,
            .x = sample_of(memory, x_, first),
            .weight = weights,
            .weight_stride = weight_stride_,
            .y = sample_of(memory, y_, first)};
  }

  const ConvolutionGeometry geometry_;
  const CellGrid grid_;
  const Tensor& x_;
  const Tensor& y_;
  const Tensor& attention_;
  const int64_t weight_stride_;  // elements
  const MixedKernelChoice choice_;
  const int64_t chunk_;  // samples
  CellMixing mixing_;
  const Convolution convolution_;

 private:
  const std::byte* sample_of(const Memory& memory, const Tensor& tensor, int64_t sample) const {
    return memory.data<std::byte>(tensor) + sample * (tensor.bytes() / geometry_.batch);
  }
};

// mixed_conv2d, normalized_mixed_conv2d and mixed_conv2d_backward_input: mix, then convolve, or both in one kernel. The scratch: attention,
// weights, the convolution's.
class MixThenConvolve final : public MixedConvolution {
 public:
  MixThenConvolve(const Device& gpu, const StepContext& context, ConvolutionPass pass, const ConvolutionGeometry& geometry,
                  const Tensors& tensors, const Tensor* bias, const std::optional<NormalizedEpilogue>& epilogue)
      : MixedConvolution(gpu, context, pass, geometry, tensors, options_of(tensors, bias, epilogue)), bias_(bias), epilogue_(epilogue) {
    if (bias) expect_shape(context, "bias", *bias, {geometry.out_channels});
    if (choice_.fused_channels > 0) {
      fused_.emplace(gpu, geometry, grid_, epilogue ? epilogue->activation() : Activation::none, choice_.fused_channels);
    }
    context.reserve_scratch(attention_bytes() + weight_bytes() + convolution_.scratch_bytes());
  }

  void run(const Memory& memory) override {
    std::byte *attention = memory.scratch(), *weights = attention + attention_bytes(), *scratch = weights + weight_bytes();
    mixing_.convert_attention(memory.data<float>(attention_), geometry_.batch, attention);
    if (fused_) {
      const ConvolutionRun whole = finished(memory, 0, run_of(memory, 0, geometry_.batch, nullptr));
      if (FusedMixedConvolution::takes(whole)) return fused_->run(whole, attention, mixing_.converted_cells());
    }
    for_each_chunk([&](int64_t first, int64_t samples) {
      mixing_.mix(mixing_.attention_of(attention, first), samples, {weights, weight_stride_});
      convolution_.run(finished(memory, first, run_of(memory, first, samples, weights)), scratch);
    });
  }

  static std::unique_ptr<Kernel> forward(const Device& gpu, const StepContext& context) {
    const auto geometry = forward_geometry(context);
    return std::make_unique<MixThenConvolve>(gpu, context, ConvolutionPass::forward, geometry, forward_tensors(context),
                                             context.has_input(3) ? &context.input(3) : nullptr, std::nullopt);
  }

  static std::unique_ptr<Kernel> normalized(const Device& gpu, const StepContext& context) {
    const Tensor& y = context.output(0);
    expect_rank(context, "y", y, 4, y.type);
    const NormalizedEpilogue epilogue(context, 4, y);
    const auto geometry = forward_geometry(context);
    return std::make_unique<MixThenConvolve>(gpu, context, ConvolutionPass::forward, geometry, forward_tensors(context), nullptr, epilogue);
  }

  static std::unique_ptr<Kernel> backward_input(const Device& gpu, const StepContext& context) {
    const Tensor &dy = context.input(0), &dx = context.output(0);
    const auto geometry = convolution_geometry(context, dx, dy, kernel_size(context, 2));
    return std::make_unique<MixThenConvolve>(gpu, context, ConvolutionPass::backward_input, geometry, Tensors{dx, dy, context.input(1), 2},
                                             nullptr, std::nullopt);
  }

 private:
  static ConvolutionGeometry forward_geometry(const StepContext& context) {
    const auto geometry = convolution_geometry(context, context.input(0), context.output(0), kernel_size(context, 2));
    if (geometry.out_channels != context.integer("outChannels")) context.fail("expected y with outChannels channels");
    return geometry;
  }
  static Tensors forward_tensors(const StepContext& context) { return {context.input(0), context.output(0), context.input(1), 2}; }

  static ConvolutionOptions options_of(const Tensors& tensors, const Tensor* bias, const std::optional<NormalizedEpilogue>& epilogue) {
    ConvolutionOptions options = {.activations = tensors.x.type, .weights = tensors.x.type, .adds_bias = bias != nullptr};
    if (epilogue) epilogue->fill_in(options);
    return options;
  }

  // With what follows the convolution, from sample `first`.
  ConvolutionRun finished(const Memory& memory, int64_t first, ConvolutionRun run) const {
    if (bias_) run.bias = memory.data<float>(*bias_);
    if (epilogue_) epilogue_->fill_in(memory, first, run);
    return run;
  }

  const Tensor* bias_;
  const std::optional<NormalizedEpilogue> epilogue_;
  std::optional<FusedMixedConvolution> fused_;
};

// mixed_conv2d_backward_mixing: the gradient of each sample's weight, taken apart into those of attention and cells. The scratch:
// attention, the gradient of a chunk's weights, sums for dcells, and what the convolution and the gradient of attention need in turn.
class MixedBackwardMixing final : public MixedConvolution {
 public:
  MixedBackwardMixing(const Device& gpu, const StepContext& context, const ConvolutionGeometry& geometry)
      : MixedConvolution(gpu, context, ConvolutionPass::backward_weight, geometry,
                         {context.input(0), context.input(1), context.input(2), 3},
                         {.activations = context.input(0).type, .weights = context.input(0).type}),
        dattention_(context.output(0)),
        dcells_(context.output(1)),
        accumulates_(context.has_input(4)) {
    expect_shape(context, "dattention", dattention_, attention_.shape);
    expect_shape(context, "dcells", dcells_, context.input(3).shape);
    if (accumulates_) {
      const Tensor& accumulator = context.input(4);
      expect_shape(context, "accumulator", accumulator, dcells_.shape);
      if (accumulator.buffer != dcells_.buffer || accumulator.offset != dcells_.offset)
        context.fail("expected dcells in the accumulator's memory");
    }
    context.reserve_scratch(attention_bytes() + weight_bytes() + round_up(mixing_.cell_scratch_bytes()) +
                            std::max(convolution_.scratch_bytes(), mixing_.attention_scratch_bytes()));
  }

  void run(const Memory& memory) override {
    std::byte *attention = memory.scratch(), *dweights = attention + attention_bytes(), *sums = dweights + weight_bytes();
    std::byte* scratch = sums + round_up(mixing_.cell_scratch_bytes());
    mixing_.convert_attention(memory.data<float>(attention_), geometry_.batch, attention);
    for_each_chunk([&](int64_t first, int64_t samples) {
      const SampleWeights chunk = {dweights, weight_stride_};
      convolution_.run(run_of(memory, first, samples, dweights), scratch);
      mixing_.backward_attention(chunk, samples, memory.data<float>(dattention_) + first * grid_.mixtures() * grid_.cells, scratch);
      mixing_.backward_cells(mixing_.attention_of(attention, first), chunk, samples,
                             {.is_first = first == 0, .is_last = first + samples == geometry_.batch},
                             {memory.data<float>(dcells_), accumulates_, sums});
    });
  }

  static std::unique_ptr<Kernel> make(const Device& gpu, const StepContext& context) {
    return std::make_unique<MixedBackwardMixing>(
        gpu, context, convolution_geometry(context, context.input(0), context.input(1), kernel_size(context, 2)));
  }

 private:
  const Tensor& dattention_;
  const Tensor& dcells_;
  const bool accumulates_;
};

}  // namespace

void add_mixed_convolution(KernelRegistry& ops, const Device& gpu) {
  ops.add("mixed_conv2d", [&gpu](const StepContext& context) { return MixThenConvolve::forward(gpu, context); });
  ops.add("normalized_mixed_conv2d", [&gpu](const StepContext& context) { return MixThenConvolve::normalized(gpu, context); });
  ops.add("mixed_conv2d_backward_input", [&gpu](const StepContext& context) { return MixThenConvolve::backward_input(gpu, context); });
  ops.add("mixed_conv2d_backward_mixing", [&gpu](const StepContext& context) { return MixedBackwardMixing::make(gpu, context); });
}

}  // namespace kw::cuda
