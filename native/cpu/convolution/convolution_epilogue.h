// What happens to a convolution's result between its float32 sums and the activation in memory: a factor and a shift for each channel, a
// residual, an activation, rounding, and the means over positions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/bfloat16.h"
#include "cpu/elementwise/activation.h"
#include "runtime/backend.h"

namespace kw::cpu {

// y = activation(x * factor + shift + residual), factor and shift [channels].
struct Epilogue {
  int64_t channels;
  Activation activation;
  const float* factor;
  const float* shift;
};

// Applies it to x [rows, channels]. `residual` (may be null) and `y` are of `type`, float32 or bfloat16, and may be the same memory; y may
// be x. `means` (may be null) [channels] are those of y as it is stored.
void finish(int threads, const Epilogue& epilogue, const float* x, int64_t rows, DataType type, const void* residual, void* y, float* means,
            std::byte* scratch);
// The means over the rows of y [rows, channels], float32 or bfloat16.
void channel_means(int threads, const void* y, DataType type, int64_t rows, int64_t channels, float* means, std::byte* scratch);
// Enough for either.
size_t finish_scratch_bytes(int threads, int64_t channels);

void widen(int threads, const bfloat16* from, int64_t count, float* to);
// Rounds to nearest, ties to even.
void narrow(int threads, const float* from, int64_t count, bfloat16* to);
// What bfloat16 keeps of each number, as float32; `to` may be `from`.
void round_to_bfloat16(int threads, const float* from, int64_t count, float* to);
void round_to_bfloat16(const float* from, int64_t count, float* to);  // by the calling thread

}  // namespace kw::cpu
