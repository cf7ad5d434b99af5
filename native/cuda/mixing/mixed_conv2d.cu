// The convolution of KernelWarehouse: each sample's weight is mixed from cells and used at once. The samples go in chunks, so that a
// chunk's weights, just written, are read from the L2 cache; no weight, and no gradient of one, outlives its chunk.
#include <algorithm>
#include <memory>
#include <optional>

#include "cuda/convolution/convolution.h"
#include "cuda/kernel.h"
#include "cuda/mixing/cell_mixing.h"
#include "cuda/mixing/fused_mixed_convolution.h"
#include "cuda/mixing/mixed_kernel_choice.h"
#include "ops/op_list.h"

namespace kw::cuda {

namespace {

size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

// What the three passes share: how attention and cells become weights, and how these meet the samples.
class MixedConvolution : public Kernel {
 protected:
  MixedConvolution(const Device& gpu, const MixedConvolutionStep& step, const KernelContext& context, const ConvolutionOptions& options)
      : geometry_(step.geometry),
        grid_(step.grid),
        x_(step.x),
        y_(step.y),
        attention_(step.attention),
        weight_stride_(assembled_weight_stride(geometry_)),
        choice_(choose_mixed_kernel(gpu, geometry_, grid_, x_.type, step.pass)),
        chunk_(choice_.samples),
        mixing_(gpu, context, grid_, chunk_, options.weights, false),
        convolution_(gpu, geometry_.with_batch(chunk_), step.pass, options) {
    mixing_.keep_cells(context, step.cells);
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
  MixThenConvolve(const Device& gpu, const MixedConvolutionStep& step, const KernelContext& context)
      : MixedConvolution(gpu, step, context, options_of(step)), bias_(step.bias) {
    if (step.epilogue) epilogue_.emplace(*step.epilogue);
    if (choice_.fused_channels > 0) {
      fused_.emplace(gpu, geometry_, grid_, epilogue_ ? epilogue_->activation() : Activation::none, choice_.fused_channels);
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

 private:
  static ConvolutionOptions options_of(const MixedConvolutionStep& step) {
    ConvolutionOptions options = {.activations = step.x.type, .weights = step.x.type, .adds_bias = step.bias != nullptr};
    if (step.epilogue) NormalizedEpilogue(*step.epilogue).fill_in(options);
    return options;
  }

  // With what follows the convolution, from sample `first`.
  ConvolutionRun finished(const Memory& memory, int64_t first, ConvolutionRun run) const {
    if (bias_) run.bias = memory.data<float>(*bias_);
    if (epilogue_) epilogue_->fill_in(memory, first, run);
    return run;
  }

  const Tensor* bias_;
  std::optional<NormalizedEpilogue> epilogue_;
  std::optional<FusedMixedConvolution> fused_;
};

// mixed_conv2d_backward_mixing: the gradient of each sample's weight, taken apart into those of attention and cells. The scratch:
// attention, the gradient of a chunk's weights, sums for dcells, and what the convolution and the gradient of attention need in turn.
class MixedBackwardMixing final : public MixedConvolution {
 public:
  MixedBackwardMixing(const Device& gpu, const MixedConv2dBackwardMixingStep& step, const KernelContext& context)
      : MixedConvolution(gpu, step, context, {.activations = step.x.type, .weights = step.x.type}),
        dattention_(step.dattention),
        dcells_(step.dcells),
        accumulates_(step.accumulates) {
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

 private:
  const Tensor& dattention_;
  const Tensor& dcells_;
  const bool accumulates_;
};

std::unique_ptr<Kernel> prepare_backward_mixing(const Device& gpu, const MixedConv2dBackwardMixingStep& step,
                                                const KernelContext& context) {
  refuse_large(context, step.geometry);
  return std::make_unique<MixedBackwardMixing>(gpu, step, context);
}

}  // namespace

void add_mixed_convolution(KernelRegistry& registry, const Device& gpu) {
  const auto prepare = [&gpu](const MixedConvolutionStep& step, const KernelContext& context) -> std::unique_ptr<Kernel> {
    refuse_large(context, step.geometry);
    return std::make_unique<MixThenConvolve>(gpu, step, context);
  };
  kw::add_kernel(registry, ops::mixed_conv2d, prepare);
  kw::add_kernel(registry, ops::normalized_mixed_conv2d, prepare);
  kw::add_kernel(registry, ops::mixed_conv2d_backward_input, prepare);
  add_kernel(registry, gpu, ops::mixed_conv2d_backward_mixing, prepare_backward_mixing);
}

}  // namespace kw::cuda
