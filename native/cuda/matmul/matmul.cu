// c = op(a) op(b) (+ bias on each row), two-dimensional.
#include "cuda/kernels/matmul.cuh"

#include <algorithm>

#include "cuda/grid.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"
#include "cuda/libraries/library_plans.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

// Blocks that fill a GPU, and depths that are worth a block, or too much for one float sum. Not a GPU's own numbers: sums are to have the
// same bits on all of them.
constexpr int64_t kFillingBlocks = 132;
constexpr int64_t kLeastDepth = 128;
constexpr int64_t kMostDepth = 4096;
constexpr int64_t kMostParts = 65535;  // of a grid

int64_t tiles_of(int64_t size, int64_t tile) { return (size + tile - 1) / tile; }

struct Division {
  int tile;
  int64_t parts;  // of the inner axis
};

// Large tiles where there are enough of them; small ones otherwise, and where these are too few, several parts of the inner axis.
Division divide(int64_t rows, int64_t columns, int64_t inner) {
  const int64_t deep = tiles_of(inner, kMostDepth);
  if (tiles_of(rows, 128) * tiles_of(columns, 128) >= kFillingBlocks) return {128, deep};
  const int64_t missing = tiles_of(2 * kFillingBlocks, tiles_of(rows, 64) * tiles_of(columns, 64));
  return {64, std::min(kMostParts, std::max(deep, std::min(missing, inner / kLeastDepth)))};
}

device::MatmulOperand operand(const float* data, int64_t rows, int64_t inner, bool transposed) {
  const int64_t contiguous = transposed ? rows : inner;
  return {data, static_cast<int>(rows), transposed ? 1 : inner, transposed ? rows : 1, contiguous % 4 == 0 && starts_packs({data})};
}

template <int kTile>
void multiply(const Device& gpu, const device::Matmul& matmul, int64_t parts) {
  const dim3 grid(static_cast<unsigned>(tiles_of(matmul.a.rows, kTile)), static_cast<unsigned>(tiles_of(matmul.b.rows, kTile)),
                  static_cast<unsigned>(parts));
  const auto start = [&]<class Math>(std::type_identity<Math>) {
    launch(device::matmul<Math, kTile>, grid, device::MatmulTile<Math, kTile>::kThreads, device::MatmulGemm<Math, kTile>::kSharedBytes,
           gpu.stream, matmul);
  };
  gpu.tf32 ? start(std::type_identity<device::Tf32Mma>()) : start(std::type_identity<device::FloatFma>());
}

std::unique_ptr<Kernel> prepare_matmul(const Device& gpu, const MatmulStep& step, const KernelContext& context) {
  const int64_t rows = as_int(context, "rows", step.rows), inner = as_int(context, "terms of a product", step.inner),
                columns = as_int(context, "columns", step.columns);
  const auto library = gpu.libraries ? gpu.libraries->find(ProductRequest{.rows = rows,
                                                                          .columns = columns,
                                                                          .inner = inner,
                                                                          .transpose_a = step.transpose_a,
                                                                          .transpose_b = step.transpose_b,
                                                                          .adds_bias = step.bias != nullptr})
                                     : nullptr;
  if (library) context.reserve_scratch(library->workspace_bytes());
  const Division division = divide(rows, columns, inner);
  if (division.parts > 1) context.reserve_scratch(static_cast<size_t>(division.parts * rows * columns) * sizeof(float));
  return make_kernel([&gpu, step, rows, inner, columns, division, library](const Memory& memory) {
    const float* added = step.bias ? memory.data<float>(*step.bias) : nullptr;
    float *to = memory.data<float>(step.c), *parts = reinterpret_cast<float*>(memory.scratch());
    const ProductOperands operands = {memory.data<float>(step.a), memory.data<float>(step.b), to, added};
    if (library && operands.are_aligned() && library->run(operands, memory.scratch())) return;
    const device::Matmul matmul = {operand(memory.data<float>(step.a), rows, inner, step.transpose_a),
                                   operand(memory.data<float>(step.b), columns, inner, !step.transpose_b), static_cast<int>(inner), added,
                                   division.parts > 1 ? parts : to};
    const auto run = division.tile == 128 ? multiply<128> : multiply<64>;
    run(gpu, matmul, division.parts);
    if (division.parts > 1) {
      launch(device::add_matmul_splits, pass_grid(gpu, rows * columns), kPassThreads, 0, gpu.stream, parts, division.parts, rows * columns,
             columns, added, to);
    }
  });
}

}  // namespace

void add_matmul(KernelRegistry& registry, const Device& gpu) { add_kernel(registry, gpu, ops::matmul, prepare_matmul); }

}  // namespace kw::cuda
