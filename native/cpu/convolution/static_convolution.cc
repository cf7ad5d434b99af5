// Convolutions with one weight for the whole batch, over two or three spatial dimensions, and their gradients, by oneDNN or by loops of our
// own where it is slow; and normalized_conv2d.
#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpu/converted_copy.h"
#include "cpu/convolution/convolution.h"
#include "cpu/convolution/direct_weight_gradient.h"
#include "cpu/convolution/folded_normalization.h"
#include "cpu/cpu_backend.h"
#include "ops/op_list.h"

namespace kw::cpu {

namespace {

size_t float_bytes(int64_t count) { return (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64; }

// A batch-wide pass with what surrounds it: the conversion between the plain weight [O,kernel,C/groups] (float32) and oneDNN's, that of the
// activations where oneDNN has no fast bfloat16, and a BatchNorm after it. In float32 the BatchNorm goes into weight and bias. In bfloat16
// it would change what the weight is rounded to, so it is applied to the sums.
class StaticConvolution final : public Kernel {
 public:
  StaticConvolution(const ConvolutionStep& step, const KernelContext& context, std::optional<FoldedNormalization> normalization)
      : pass_(step.pass),
        threads_(context.threads),
        x_(step.x),
        weight_(step.weight),
        y_(step.y),
        bias_(step.bias),
        normalization_(std::move(normalization)),
        types_(computed_types(step.geometry, pass_, context.threads, x_.type)),
        widens_(types_.x != x_.type),
        rounds_weight_(x_.type == DataType::bfloat16 && pass_ != ConvolutionPass::backward_weight),
        end_(choose_end(step.geometry)),
        convolution_(step.geometry, pass_, context.threads, options()) {
    states_.emplace_back(context, weight_);
    if (normalization_) {
      for (const CopyState& state : normalization_->states(context)) states_.push_back(state);
      factor_ = AlignedFloats(static_cast<size_t>(step.geometry.out_channels) * sizeof(float));
      shift_ = AlignedFloats(static_cast<size_t>(step.geometry.out_channels) * sizeof(float));
    }
    const auto plain = plain_weight_desc(step.geometry);
    const auto& preferred = convolution_.weight_desc();
    size_t scratchpad = convolution_.scratchpad_bytes();
    if (preferred != plain) {
      const bool out = pass_ == ConvolutionPass::backward_weight;
      reorder_.emplace(out ? preferred : plain, out ? plain : preferred, threads_);
      scratchpad = std::max(scratchpad, reorder_->scratchpad_bytes());
    }
    if (preferred != plain || changes_weight()) {
      converted_ = AlignedFloats(preferred.get_size());
      context.resources.prepared_bytes += preferred.get_size();
    }
    if (widens_) x_bytes_ = float_bytes(x_.elements());
    if (stages_y()) y_bytes_ = float_bytes(y_.elements());
    // A weight is changed in scratch memory that the run itself needs only later.
    const size_t changed = changes_weight() && reorder_ ? float_bytes(weight_.elements()) : 0;
    scratchpad_offset_ = std::max(x_bytes_ + y_bytes_, changed);
    context.reserve_scratch(scratchpad_offset_ + scratchpad);
  }

  void run(const Memory& memory) override {
    const ThreadLimit limit(threads_);
    const bool out = pass_ == ConvolutionPass::backward_weight;
    auto* plain = memory.data<float>(weight_);
    std::byte* scratchpad = memory.scratch() + scratchpad_offset_;
    if ((converted_.data() || normalization_) && !out && outdated(memory)) convert_weight(memory, scratchpad);
    void *x = memory.data<std::byte>(x_), *y = memory.data<std::byte>(y_);
    if (adds_residual()) copy_residual(memory);
    if (widens_) x = memory.scratch();
    if (stages_y()) y = memory.scratch() + x_bytes_;
    if (widens_ && pass_ != ConvolutionPass::backward_input) {
      widen(threads_, memory.data<bfloat16>(x_), x_.elements(), static_cast<float*>(x));
    }
    if (widens_ && pass_ != ConvolutionPass::forward) {
      widen(threads_, memory.data<bfloat16>(y_), y_.elements(), static_cast<float*>(y));
    }
    check_onednn("a convolution", convolution_.run(x, converted_.data() ? converted_.data() : plain, y, vectors(memory), scratchpad));
    if (end_ == End::finished) {
      const Tensor* residual = normalization_->residual();
      const Epilogue epilogue = {normalization_->channels(), normalization_->activation(), factor_.data(), shift_.data()};
      finish(threads_, epilogue, static_cast<const float*>(y), y_.elements() / epilogue.channels, y_.type,
             residual ? memory.data<std::byte>(*residual) : nullptr, memory.data<std::byte>(y_), nullptr, scratchpad);
    } else if (widens_ && pass_ == ConvolutionPass::forward) {
      narrow(threads_, static_cast<const float*>(y), y_.elements(), memory.data<bfloat16>(y_));
    } else if (widens_ && pass_ == ConvolutionPass::backward_input) {
      narrow(threads_, static_cast<const float*>(x), x_.elements(), memory.data<bfloat16>(x_));
    }
    if (reorder_ && out) check_onednn("converting a weight gradient", reorder_->run(converted_.data(), plain, scratchpad));
  }

 private:
  // Where the BatchNorm is: nowhere, in the weight and the bias, in oneDNN's convolution, or in a pass over its float32 sums.
  enum class End { plain, folded, fused, finished };

  End choose_end(const ConvolutionGeometry& geometry) const {
    if (!normalization_) return End::plain;
    if (x_.type == DataType::float32) {
      // A sum after a depth-wise convolution of channels that fill no block crashes in oneDNN 2.6's code for SSE4.1.
      const bool crashes = normalization_->residual() && onednn_instruction_set() < InstructionSet::avx2;
      return crashes || has_position_in_padding(geometry) ? End::finished : End::folded;
    }
    if (widens_) return End::finished;
    const ConvolutionOptions fused = {
        .types = types_, .scales = true, .adds_to_y = normalization_->residual() != nullptr, .activation = normalization_->activation()};
    return scales_cheaply(geometry, threads_, fused) ? End::fused : End::finished;
  }

  ConvolutionOptions options() const {
    ConvolutionOptions options = {.has_bias = bias_ != nullptr || end_ == End::folded, .types = types_, .adds_to_y = adds_residual()};
    if (end_ == End::finished) options.types.y = DataType::float32;
    if (end_ == End::folded || end_ == End::fused) options.activation = normalization_->activation();
    options.scales = end_ == End::fused;
    return options;
  }

  // By oneDNN.
  bool adds_residual() const { return (end_ == End::folded || end_ == End::fused) && normalization_->residual(); }
  bool stages_y() const { return widens_ || end_ == End::finished; }
  bool changes_weight() const { return end_ == End::folded || (rounds_weight_ && widens_); }

  ConvolutionVectors vectors(const Memory& memory) const {
    if (end_ == End::folded) return {.bias = shift_.data()};
    if (end_ == End::fused) return {.factor = factor_.data(), .shift = shift_.data()};
    return {.bias = bias_ ? memory.data<float>(*bias_) : nullptr};
  }

  // Every state is asked, because asking is what brings it up to date.
  bool outdated(const Memory& memory) {
    bool any = false;
    for (CopyState& state : states_) any = state.outdated(memory) || any;
    return any;
  }

  void convert_weight(const Memory& memory, std::byte* scratchpad) {
    const auto* plain = memory.data<float>(weight_);
    if (normalization_) normalization_->fold(memory, factor_.data(), shift_.data());
    if (changes_weight()) {
      auto* changed = reorder_ ? reinterpret_cast<float*>(memory.scratch()) : converted_.data();
      end_ == End::folded ? fold(plain, changed) : round_to_bfloat16(threads_, plain, weight_.elements(), changed);
      plain = changed;
    }
    // oneDNN rounds where its weight is bfloat16.
    if (reorder_) check_onednn("converting a weight", reorder_->run(plain, converted_.data(), scratchpad));
  }

  // Each output channel's weights times its factor.
  void fold(const float* plain, float* folded) const {
    const int64_t channels = normalization_->channels();
    const int64_t elements = weight_.elements() / channels;
    for (int64_t o = 0; o < channels; ++o) {
      for (int64_t i = 0; i < elements; ++i) folded[o * elements + i] = plain[o * elements + i] * factor_.data()[o];
    }
  }

  // oneDNN adds to what stands in y, which mostly has taken over the residual's memory.
  void copy_residual(const Memory& memory) const {
    const auto* from = memory.data<std::byte>(*normalization_->residual());
    auto* to = memory.data<std::byte>(y_);
    if (from != to) std::memcpy(to, from, static_cast<size_t>(y_.bytes()));
  }

  ConvolutionPass pass_;
  int threads_;
  const Tensor& x_;
  const Tensor& weight_;
  const Tensor& y_;
  const Tensor* bias_;
  std::optional<FoldedNormalization> normalization_;
  ConvolutionTypes types_;
  bool widens_;         // bfloat16 activations, float32 computation
  bool rounds_weight_;  // to bfloat16
  End end_;
  Convolution convolution_;
  std::optional<Reorder> reorder_;
  std::vector<CopyState> states_;  // of what `converted_` is made of
  AlignedFloats converted_, factor_, shift_;
  size_t x_bytes_ = 0, y_bytes_ = 0, scratchpad_offset_ = 0;
};

// Where oneDNN's weight gradient is slow.
std::unique_ptr<Kernel> make_direct_weight_gradient(const ConvolutionStep& step, const KernelContext& context) {
  const std::shared_ptr<SampleConvolution> pass = direct_weight_gradient(step.geometry, context.threads, step.x.type);
  context.reserve_scratch(pass->scratch_bytes());
  return make_kernel([step, pass](const Memory& memory) {
    pass->run({.count = step.geometry.batch,
               .x = memory.data<std::byte>(step.x),
               .weights = memory.data<float>(step.weight),
               .weight_stride = 0,
               .y = memory.data<std::byte>(step.y)},
              memory.scratch());
  });
}

std::unique_ptr<Kernel> prepare_static(const ConvolutionStep& step, const KernelContext& context) {
  refuse_large(context, step.geometry);
  if (step.pass == ConvolutionPass::backward_weight && has_direct_weight_gradient(step.geometry)) {
    return make_direct_weight_gradient(step, context);
  }
  return std::make_unique<StaticConvolution>(step, context, std::nullopt);
}

std::unique_ptr<Kernel> prepare_normalized(const NormalizedConv2dStep& step, const KernelContext& context) {
  refuse_large(context, step.geometry);
  return std::make_unique<StaticConvolution>(step, context, FoldedNormalization(step.epilogue));
}

}  // namespace

void add_convolution(KernelRegistry& registry) {
  add_kernel(registry, ops::conv2d, prepare_static);
  add_kernel(registry, ops::conv2d_backward_input, prepare_static);
  add_kernel(registry, ops::conv2d_backward_weight, prepare_static);
  add_kernel(registry, ops::conv3d, prepare_static);
  add_kernel(registry, ops::conv3d_backward_input, prepare_static);
  add_kernel(registry, ops::conv3d_backward_weight, prepare_static);
  add_kernel(registry, ops::normalized_conv2d, prepare_normalized);
}

}  // namespace kw::cpu
