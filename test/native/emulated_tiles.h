#pragma once

#include "cpu/simd/mixing_kernels.h"

namespace kw::cpu::emulated {

// Only products of bfloat16, with tiles.
const MixingKernels& mixing_kernels();

}  // namespace kw::cpu::emulated
