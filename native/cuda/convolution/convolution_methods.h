// The ways to compute a convolution pass that a Convolution chooses from. Each queues its kernels on the GPU's stream.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/convolution/tile_plan.h"
#include "cuda/device.h"
#include "cuda/grid.h"
#include "cuda/kernels/convolution_problem.cuh"
#include "runtime/plan.h"

namespace kw::cuda {

constexpr int64_t kLargestGrid = 2147483647;

// Positions of the result in each of its images.
int64_t result_positions(const device::GatherProblem& problem, bool backward);

// The grid for `blocks` blocks in a row. Throws unsupported where CUDA cannot start as many.
dim3 row_of_blocks(int64_t blocks);

inline bool is_aligned(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

// ---- tiles (implicit_gemm.cu): matrix products, on the tensor cores in bfloat16 and, where the GPU is asked to, TF32 ----

// Whether the table of a kernel's `taps` has room in shared memory.
bool has_room_for_taps(const Device& gpu, int64_t taps);

// Whether tiles of 128 serve a product of `rows` by `columns` that is to be computed `times` times better than those of 64: where they fill
// the GPU and are not much emptier.
bool takes_large_tiles(const Device& gpu, DataType type, int64_t rows, int64_t columns, int64_t times);

// Of a gathering pass.
TilePlan plan_tiles(const Device& gpu, const device::GatherProblem& problem, DataType type, bool backward);
// For the parts' sums and the shares in the means.
size_t tiled_scratch_bytes(const TilePlan& plan, const device::GatherProblem& problem, bool backward, bool gives_means);

// `means` [weights,O] of y over its positions; null: none.
void gather_by_tiles(const Device& gpu, const TilePlan& plan, const device::GatherProblem& problem, DataType type, bool backward,
                     float* means, std::byte* scratch);
void weight_gradient_by_tiles(const Device& gpu, const device::WeightGradientProblem& problem, DataType type, bool large);

// ---- depth-wise (depthwise_convolution.cu), for channels and addresses of whole 16 bytes ----

bool is_depthwise(const device::GatherProblem& problem, const Device& gpu, DataType type);
// For the shares in the means.
size_t depthwise_scratch_bytes(const device::GatherProblem& problem, DataType type);
// `means` as above.
void gather_depthwise(const Device& gpu, const device::GatherProblem& problem, DataType type, bool backward, float* means,
                      std::byte* scratch);

// Whether there is a kernel for this shape, and how many blocks it has for each part of the strips.
bool has_depthwise_gradient(const device::WeightGradientProblem& problem, DataType type);
int64_t depthwise_gradient_blocks(const device::WeightGradientProblem& problem, DataType type);
int64_t depthwise_gradient_strips(const device::WeightGradientProblem& problem);
// split_positions counts strips.
void weight_gradient_depthwise(const Device& gpu, const device::WeightGradientProblem& problem, DataType type);

// ---- directly (direct_convolution.cu): any shape and address ----

void gather_directly(const Device& gpu, const device::GatherProblem& problem, DataType type, bool backward);
void weight_gradient_directly(const Device& gpu, const device::WeightGradientProblem& problem, DataType type);

// ---- what is around them (direct_convolution.cu) ----

// means [images,channels] of y [images,positions,channels].
void average_positions(const Device& gpu, DataType type, const void* y, int64_t images, int64_t positions, int64_t channels, float* means);
// means [images,channels] = the sum of shares [images,count,channels].
void sum_means(const Device& gpu, const float* shares, int64_t images, int64_t count, int64_t channels, float* means);
// Adds the parts' sums to what `problem` would have written with one part.
void sum_parts(const Device& gpu, const device::WeightGradientProblem& problem, const float* sums, void* dweight);
// `rounded` [weights,elements] in bfloat16, of float32 weights `stride` elements apart.
void round_weights(const Device& gpu, const float* weights, int64_t count, int64_t elements, int64_t stride, std::byte* rounded);

}  // namespace kw::cuda
