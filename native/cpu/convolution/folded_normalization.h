// A BatchNorm with fixed statistics that follows a convolution, with the residual and the activation after it, as the epilogue of that
// convolution: what `normalized_conv2d` and `normalized_mixed_conv2d` have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/converted_copy.h"
#include "cpu/convolution/convolution_epilogue.h"
#include "ops/convolution.h"

namespace kw::cpu {

class FoldedNormalization {
 public:
  explicit FoldedNormalization(const InferenceEpilogue& of) : of_(of) {}

  int64_t channels() const { return of_.channels(); }
  Activation activation() const { return of_.activation; }
  const Tensor* residual() const { return of_.residual; }
  // The tensors that `fold` reads, for those who keep what it gives.
  std::vector<CopyState> states(const KernelContext& context) const;

  // normalize(y + bias) = y * factor + shift for each channel; both [O].
  void fold(const Memory& memory, float* factor, float* shift) const;

 private:
  InferenceEpilogue of_;
};

// The same for a convolution whose weights are mixed: folded anew for each run, which costs nothing beside it, and applied to each sample.
class NormalizedEpilogue {
 public:
  explicit NormalizedEpilogue(const InferenceEpilogue& of) : normalization_(of), means_(of.means) {}

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
