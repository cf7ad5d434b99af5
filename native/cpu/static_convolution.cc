// Convolutions with one weight for the whole batch, over two or three spatial dimensions, and their gradients, by oneDNN.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpu/converted_copy.h"
#include "cpu/convolution.h"
#include "cpu/convolution_passes.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernel.h"

namespace kw::cpu {

namespace {

// A batch-wide pass and the conversion between the plain weight [O,kernel,C/groups] and oneDNN's.
class StaticConvolution final : public Kernel {
 public:
  StaticConvolution(const StepContext& context, ConvolutionPass pass, const ConvolutionGeometry& geometry, const Tensor& x,
                    const Tensor& weight, const Tensor& y, const Tensor* bias)
      : pass_(pass),
        threads_(context.threads),
        x_(x),
        weight_(weight),
        y_(y),
        bias_(bias),
        state_(context, weight),
        convolution_(geometry, pass, bias != nullptr, context.threads) {
    expect_shape(context, "weight", weight, geometry.weight_shape());
    if (bias) expect_shape(context, "bias", *bias, {geometry.out_channels});
    const auto plain = plain_weight_desc(geometry);
    const auto& preferred = convolution_.weight_desc();
    size_t scratchpad = convolution_.scratchpad_bytes();
    if (preferred != plain) {
      const bool out = pass == ConvolutionPass::backward_weight;
      reorder_.emplace(out ? preferred : plain, out ? plain : preferred, threads_);
      converted_ = AlignedFloats(preferred.get_size());
      context.resources.prepared_bytes += preferred.get_size();
      scratchpad = std::max(scratchpad, reorder_->scratchpad_bytes());
    }
    context.reserve_scratch(scratchpad);
  }

  void run(const Memory& memory) override {
    const ThreadLimit limit(threads_);
    const bool out = pass_ == ConvolutionPass::backward_weight;
    auto* plain = memory.data<float>(weight_);
    if (reorder_ && !out && state_.outdated(memory)) {
      check_onednn("converting a weight", reorder_->run(plain, converted_.data(), memory.scratch()));
    }
    check_onednn("a convolution", convolution_.run(memory.data<float>(x_), reorder_ ? converted_.data() : plain, memory.data<float>(y_),
                                                   bias_ ? memory.data<float>(*bias_) : nullptr, memory.scratch()));
    if (reorder_ && out) check_onednn("converting a weight gradient", reorder_->run(converted_.data(), plain, memory.scratch()));
  }

 private:
  ConvolutionPass pass_;
  int threads_;
  const Tensor& x_;
  const Tensor& weight_;
  const Tensor& y_;
  const Tensor* bias_;
  CopyState state_;
  Convolution convolution_;
  std::optional<Reorder> reorder_;
  AlignedFloats converted_;
};

}  // namespace

void add_convolution(KernelRegistry& registry) {
  add_passes<StaticConvolution>(registry, "conv2d", 1, 2);
  add_passes<StaticConvolution>(registry, "conv3d", 1, 3);
}

}  // namespace kw::cpu
