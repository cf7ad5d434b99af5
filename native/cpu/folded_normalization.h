// A BatchNorm with fixed statistics that follows a convolution, with the residual and the activation after it, as the epilogue of that
// convolution: what `normalized_conv2d` and `normalized_mixed_conv2d` have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/converted_copy.h"
#include "cpu/convolution_epilogue.h"
#include "runtime/backend.h"

namespace kw::cpu {

class FoldedNormalization {
 public:
  // Reads the inputs scale, shift, mean and variance, each [O], and residual? (like y) from position `first`, the convolution's bias? [O]
  // just before them, and the attributes `epsilon` and `activation`. Refuses what does not fit (invalid_plan).
  FoldedNormalization(const StepContext& context, size_t first, const Tensor& y);

  int64_t channels() const { return channels_; }
  Activation activation() const { return activation_; }
  const Tensor* residual() const { return residual_; }
  // The tensors that `fold` reads, for those who keep what it gives.
  std::vector<CopyState> states(const StepContext& context) const;

  // normalize(y + bias) = y * factor + shift for each channel; both [O].
  void fold(const Memory& memory, float* factor, float* shift) const;

 private:
  int64_t channels_;
  const Tensor* bias_;
  const Tensor& scale_;
  const Tensor& shift_;
  const Tensor& mean_;
  const Tensor& variance_;
  const Tensor* residual_;
  double epsilon_;
  Activation activation_;
};

// The same for a convolution whose weights are mixed: folded anew for each run, which costs nothing beside it, and applied to each sample.
class NormalizedEpilogue {
 public:
  // Also the output `means`? [N,O], the second.
  NormalizedEpilogue(const StepContext& context, size_t first, const Tensor& y);

  Activation activation() const { return normalization_.activation(); }
  const Tensor* residual() const { return normalization_.residual(); }
  const Tensor* means() const { return means_; }
  size_t scratch_bytes() const;
  // Valid as long as what stands in `scratch`.
  Epilogue prepare(const Memory& memory, std::byte* scratch) const;

 private:
  FoldedNormalization normalization_;
  const Tensor* means_;
};

}  // namespace kw::cpu
