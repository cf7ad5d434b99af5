#include "cpu/convolution/folded_normalization.h"

#include <cmath>

namespace kw::cpu {

std::vector<CopyState> FoldedNormalization::states(const KernelContext& context) const {
  std::vector<CopyState> states;
  for (const Tensor* tensor : {of_.bias, &of_.scale, &of_.shift, &of_.mean, &of_.variance}) {
    if (tensor) states.emplace_back(context, *tensor);
  }
  return states;
}

void FoldedNormalization::fold(const Memory& memory, float* factor, float* shift) const {
  const float *scales = memory.data<float>(of_.scale), *shifts = memory.data<float>(of_.shift);
  const float *means = memory.data<float>(of_.mean), *variances = memory.data<float>(of_.variance);
  const float* biases = of_.bias ? memory.data<float>(*of_.bias) : nullptr;
  for (int64_t c = 0; c < of_.channels(); ++c) {
    const double slope = scales[c] / std::sqrt(variances[c] + of_.epsilon);
    factor[c] = static_cast<float>(slope);
    shift[c] = static_cast<float>(shifts[c] + ((biases ? biases[c] : 0.0f) - static_cast<double>(means[c])) * slope);
  }
}

size_t NormalizedEpilogue::scratch_bytes() const {
  return (2 * static_cast<size_t>(normalization_.channels()) * sizeof(float) + 63) / 64 * 64;
}

Epilogue NormalizedEpilogue::prepare(const Memory& memory, std::byte* scratch) const {
  auto* factor = reinterpret_cast<float*>(scratch);
  auto* shift = factor + normalization_.channels();
  normalization_.fold(memory, factor, shift);
  return {normalization_.channels(), normalization_.activation(), factor, shift};
}

}  // namespace kw::cpu
