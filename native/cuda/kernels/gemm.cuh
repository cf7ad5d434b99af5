// Matrix products (GEMM) of a block tile: a multi-stage pipeline of asynchronous copies, whose loader brings the k-tiles of A and B to
// shared memory wherever they come from, and an epilogue that takes the finished tile.
//
// A loader has load(k_tile, a, b), which all threads call together: it starts to copy the k-tile with that number to the SharedTiles a and
// b, with zeros outside of the matrices. Past the end of K, zeros in one operand are enough.
#pragma once

#include "cuda/kernels/gemm_shape.cuh"
#include "cuda/kernels/pack.cuh"

namespace kw::cuda::device {

/** The types of a product: its shape, and how its operands lie in shared memory. */
template <class ShapeOf, Major kMajorA, Major kMajorB>
struct Gemm {
  using Shape = ShapeOf;
  using Element = typename Shape::Element;
  template <Major kMajor>
  using Tile = SharedTile<Element, Shape::kTile, Shape::kDepth, kMajor, Shape::Math::padding(kMajor)>;
  using TileA = Tile<kMajorA>;
  using TileB = Tile<kMajorB>;
  using Accumulators = BlockAccumulators<Shape, kMajorA, kMajorB>;
  using ResultTile = SharedTile<float, Shape::kTile, Shape::kTile, Major::k, 4>;  // at(row, column)

  static constexpr int kStageElements = TileA::kElements + TileB::kElements;
  static constexpr int kStageBytes = Shape::kStages * kStageElements * static_cast<int>(sizeof(Element));
  /** The result takes over the place of the stages. */
  static constexpr int kSharedBytes = max(kStageBytes, ResultTile::kElements* static_cast<int>(sizeof(float)));
};

/** The ring of stages at the start of the block's dynamic shared memory. */
template <class Gemm>
class Pipeline {
  using Element = typename Gemm::Element;
  using TileA = typename Gemm::TileA;
  using TileB = typename Gemm::TileB;
  static constexpr int kStages = Gemm::Shape::kStages;

 public:
  /** The main loop: accumulators += the products of the k-tiles from `first` to before `end`. Afterwards the stages are free. */
  template <class Loader>
  __device__ __forceinline__ void run(const Loader& loader, int first, int end, typename Gemm::Accumulators& accumulators) const {
#pragma unroll
    for (int stage = 0; stage < kStages - 1; ++stage) start(loader, first + stage, end);  // the prologue
    for (int k_tile = first; k_tile < end; ++k_tile) {
      wait_copies<kStages - 2>();
      syncthreads();  // the k-tile is there for all, and nobody reads any more from the stage that is filled next
      start(loader, k_tile + kStages - 1, end);
      accumulators.multiply_add(tile_a(k_tile), tile_b(k_tile));
    }
    wait_copies<0>();
    syncthreads();
  }

 private:
  __device__ __forceinline__ TileA tile_a(int k_tile) const {
    return TileA(reinterpret_cast<Element*>(dynamic_shared()) + k_tile % kStages * Gemm::kStageElements);
  }
  __device__ __forceinline__ TileB tile_b(int k_tile) const { return TileB(tile_a(k_tile).in_line(0, TileA::kElements)); }

  template <class Loader>
  __device__ __forceinline__ void start(const Loader& loader, int k_tile, int end) const {
    if (k_tile < end) loader.load(k_tile, tile_a(k_tile), tile_b(k_tile));
    commit_copies();  // an empty group too, so that the number of groups tells which k-tiles are there
  }
};

/** The block tile in shared memory, of the k-tiles from `first` to before `end`. Through shared memory, the epilogue's neighbouring threads
 * can write neighbouring addresses. */
template <class Gemm, class Loader>
__device__ __forceinline__ typename Gemm::ResultTile multiply_tiles(const Loader& loader, int first, int end) {
  typename Gemm::Accumulators accumulators;
  Pipeline<Gemm>().run(loader, first, end, accumulators);
  const typename Gemm::ResultTile tile(reinterpret_cast<float*>(dynamic_shared()));
  accumulators.for_each([&](int row, int column, float value) { *tile.at(row, column) = value; });
  syncthreads();
  return tile;
}

/**
 * Loads 16 bytes at a time from operands with copy(shared, line, position), which starts one such copy, or writes zeros outside of the
 * matrix. Lines are K-major or MN-major as the tiles are.
 */
template <class Gemm, class OperandA, class OperandB>
struct MatrixLoader {
  using TileA = typename Gemm::TileA;
  using TileB = typename Gemm::TileB;
  const OperandA& a;
  const OperandB& b;
  int first_row, first_column;

  __device__ __forceinline__ void load(int k_tile, TileA tile_a, TileB tile_b) const {
    copy_tile(a, first_row, k_tile * TileA::kDepth, tile_a);
    copy_tile(b, first_column, k_tile * TileB::kDepth, tile_b);
  }

 private:
  template <class Operand, class Tile>
  static __device__ __forceinline__ void copy_tile(const Operand& operand, int row, int k, Tile tile) {
    constexpr int kVector = kPack<typename Tile::Element>, kVectors = Tile::kLineLength / kVector;
    const int first_line = Tile::kMajor == Major::k ? row : k, first_position = Tile::kMajor == Major::k ? k : row;
    for (int index = static_cast<int>(threadIdx.x); index < Tile::kLines * kVectors; index += Gemm::Shape::kThreads) {
      const int line = index / kVectors, position = index % kVectors * kVector;
      operand.copy(tile.in_line(line, position), first_line + line, first_position + position);
    }
  }
};

/**
 * The block tile of a * b from first_row and first_column, summed over K from `begin`, a multiple of the k-tile's depth, to `end`. Then
 * calls epilogue(row, column, values) for each 16 bytes of what it stores, `values` being that many float32; also past the ends of the
 * result.
 */
template <class Gemm, class OperandA, class OperandB, class Epilogue>
__device__ __forceinline__ void multiply_matrices(const OperandA& a, const OperandB& b, int first_row, int first_column, int begin, int end,
                                                  const Epilogue& epilogue) {
  using Shape = typename Gemm::Shape;
  const MatrixLoader<Gemm, OperandA, OperandB> loader{a, b, first_row, first_column};
  const auto tile = multiply_tiles<Gemm>(loader, begin / Shape::kDepth, ceil_divide(end, Shape::kDepth));
  constexpr int kVector = kPack<typename Epilogue::Element>, kVectors = Shape::kTile / kVector;
  for (int index = static_cast<int>(threadIdx.x); index < Shape::kTile * kVectors; index += Shape::kThreads) {
    const int row = index / kVectors, column = index % kVectors * kVector;
    epilogue(first_row + row, first_column + column, tile.at(row, column));
  }
}

}  // namespace kw::cuda::device
