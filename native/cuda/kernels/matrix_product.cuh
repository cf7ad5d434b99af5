// Matrix products, a tile of the result for each block: on bfloat16 and TF32 tensor cores, or in float32. The operands come through
// asynchronous copies in several stages; where they lie in memory is the business of the operand types, where the result goes that of the
// store types.
#pragma once

#include "cuda/kernels/tile_product.cuh"

namespace kw::cuda::device {

/** Elements in 16 bytes: what one copy or store moves. */
template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

/** How a product is computed: the multiplication, and the rows and columns of the result that a block makes. */
template <class ProductOf, int kTileOf>
struct BlockProduct {
  using Product = ProductOf;
  using Element = typename Product::Element;
  using Sizes = TileSizes<Element, kTileOf>;
  static constexpr int kTile = kTileOf, kThreads = Sizes::kThreads, kBytes = Sizes::kBytes;
};

/** Queues the copies of one step of an operand into shared memory: its lines from `line`, their elements from `position`. */
template <class Block, bool kRowMajor, class Operand>
__device__ __forceinline__ void copy_step(const Operand& operand, int line, int position, typename Block::Element* tile) {
  using Sizes = typename Block::Sizes;
  constexpr int kLines = kRowMajor ? Block::kTile : Sizes::kDepth, kStride = kRowMajor ? Sizes::kRowStride : Sizes::kDepthStride;
  constexpr int kVectors = (kRowMajor ? Sizes::kDepth : Block::kTile) / kVector<typename Block::Element>;
  for (int index = static_cast<int>(threadIdx.x); index < kLines * kVectors; index += Block::kThreads) {
    const int of_tile = index / kVectors, within = index % kVectors * kVector<typename Block::Element>;
    operand.copy(tile + of_tile * kStride + within, line + of_tile, position + within);
  }
}

/**
 * The block's tile, from row `first_row` and column `first_column`, of the product of `a` and `b`, summed over the indices from `begin` (a
 * multiple of the step's depth) to `end`; then store(row, column, values) with float32 values for each 16 bytes of the result's type, also
 * past the end of the matrix.
 *
 * An operand's copy(shared, line, position) fetches 16 bytes, zeros outside of the matrix. Its lines, runs of neighbours in memory, go
 * along the sum where it is row-major (of b the lines are columns of the result then), else across it. Beyond `end` one of the operands
 * must be zero, unless `end` is a multiple of the depth.
 */
template <class Block, bool kRowMajorA, bool kRowMajorB, class OperandA, class OperandB, class Store>
__device__ __forceinline__ void multiply_matrices(const OperandA& a, const OperandB& b, int first_row, int first_column, int begin, int end,
                                                  const Store& store) {
  using Element = typename Block::Element;
  using Sizes = typename Block::Sizes;
  constexpr int kStages = Sizes::kStages, kDepth = Sizes::kDepth;
  auto* stages = reinterpret_cast<Element*>(dynamic_shared());
  const auto copy = [&](int step) {
    Element* stage = stages + step % kStages * Sizes::kStageElements;
    const int depth = begin + step * kDepth;
    copy_step<Block, kRowMajorA>(a, kRowMajorA ? first_row : depth, kRowMajorA ? depth : first_row, stage);
    copy_step<Block, kRowMajorB>(b, kRowMajorB ? first_column : depth, kRowMajorB ? depth : first_column, stage + Sizes::kOperandElements);
  };
  const int steps = ceil_divide(end - begin, kDepth);
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < steps) copy(step);
    commit_copies();
  }
  TileSums<typename Block::Product, Block::kTile, kRowMajorA, kRowMajorB> sums;
  for (int step = 0; step < steps; ++step) {
    wait_copies<kStages - 2>();
    syncthreads();
    if (step + kStages - 1 < steps) copy(step + kStages - 1);
    commit_copies();
    const Element* stage = stages + step % kStages * Sizes::kStageElements;
    sums.multiply(stage, stage + Sizes::kOperandElements);
  }
  wait_copies<0>();
  syncthreads();
  // Through shared memory, so that neighbouring threads write neighbouring addresses.
  auto* result = reinterpret_cast<float*>(dynamic_shared());
  sums.store(result);
  syncthreads();
  constexpr int kLength = kVector<typename Store::Element>, kVectors = Block::kTile / kLength;
  for (int index = static_cast<int>(threadIdx.x); index < Block::kTile * kVectors; index += Block::kThreads) {
    const int row = index / kVectors, column = index % kVectors * kLength;
    store(first_row + row, first_column + column, result + row * Sizes::kResultStride + column);
  }
}

}  // namespace kw::cuda::device
