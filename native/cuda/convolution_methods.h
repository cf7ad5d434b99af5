// The ways to compute a convolution pass that a Convolution chooses from. Each queues its kernels on the GPU's stream.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/kernels/convolution_problem.cuh"
#include "runtime/plan.h"

namespace kw::cuda {

constexpr int64_t kLargestGrid = 2147483647;

inline int64_t whole_parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

// The grid for `blocks` blocks in a row. Throws unsupported where CUDA cannot start as many.
dim3 row_of_blocks(int64_t blocks);

inline bool is_aligned(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

// ---- tiles (implicit_gemm.cu): matrix products, on the tensor cores in bfloat16 and, where the GPU is asked to, TF32 ----

// Whether tiles of 128 serve a product of `rows` by `columns` that is to be computed `times` times better than those of 64: where they fill
// the GPU and are not much emptier.
bool takes_large_tiles(const Device& gpu, DataType type, int64_t rows, int64_t columns, int64_t times);

// Of the shares in the means.
size_t tiled_means_bytes(const device::GatherProblem& problem, int64_t positions);

// `large`: tiles of 128 where the addresses allow. `means` [weights,O] of y over its positions (may be null), `scratch` for the shares.
void gather_by_tiles(const Device& gpu, const device::GatherProblem& problem, DataType type, bool backward, bool large, float* means,
                     std::byte* scratch);
void weight_gradient_by_tiles(const Device& gpu, const device::WeightGradientProblem& problem, DataType type, bool large);

// ---- depth-wise (depthwise_convolution.cu), for channels and addresses of whole 16 bytes ----

bool is_depthwise(const device::GatherProblem& problem, const Device& gpu, DataType type);
void gather_depthwise(const Device& gpu, const device::GatherProblem& problem, DataType type, bool backward);

// Whether there is a kernel for this shape, and how many blocks it has for each part of the strips.
bool has_depthwise_gradient(const device::WeightGradientProblem& problem, DataType type);
int64_t depthwise_gradient_blocks(const device::WeightGradientProblem& problem, DataType type);
int64_t depthwise_gradient_strips(const device::WeightGradientProblem& problem);
// part_positions counts strips.
void weight_gradient_depthwise(const Device& gpu, const device::WeightGradientProblem& problem, DataType type);

// ---- directly (direct_convolution.cu): any shape and address ----

void gather_directly(const Device& gpu, const device::GatherProblem& problem, DataType type, bool backward);
void weight_gradient_directly(const Device& gpu, const device::WeightGradientProblem& problem, DataType type);

// ---- what is around them (direct_convolution.cu) ----

// means [images,channels] of y [images,positions,channels].
void average_positions(const Device& gpu, DataType type, const void* y, int64_t images, int64_t positions, int64_t channels, float* means);
// Adds the parts' sums to what `problem` would have written with one part.
void sum_parts(const Device& gpu, const device::WeightGradientProblem& problem, const float* sums, void* dweight);
// `rounded` [weights,elements] in bfloat16, of float32 weights `stride` elements apart.
void round_weights(const Device& gpu, const float* weights, int64_t count, int64_t elements, int64_t stride, std::byte* rounded);

}  // namespace kw::cuda
