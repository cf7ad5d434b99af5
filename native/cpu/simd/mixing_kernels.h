// The inner loops of mixing cells, compiled once for each instruction set. Matrices are cut into panels of `panel` columns: panel p of a
// matrix [terms, columns] lies as [terms, panel] contiguously, panels one after the other.
#pragma once

#include <cstdint>

namespace kw::cpu {

struct MixingKernels {
  int64_t panel;      // columns of a panel
  int64_t row_block;  // rows that `combine` takes at most; its coefficients lie as [terms, row_block]
  int64_t lanes;      // partial sums of `correlate`

  // rows[r][p * step + c] = (accumulate ? itself : 0) + sum_t coefficients[t][r] * panels[p][t][c], for r < row_count <= row_block.
  void (*combine)(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_count, float* const* rows,
                  int64_t step, bool accumulate);

  // rows[r][p * step + c] = the same sum rounded to bfloat16 (whose bits a uint16_t is), nothing added.
  void (*combine_to_bfloat16)(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_count,
                              uint16_t* const* rows, int64_t step);

  // products[r][j][l] += sum over p and c = l, l + lanes, ... of a[p][r][c] * b[p][j][c]: the products of the rows of two matrices in
  // panels, one partial sum for each lane; products [a_rows, b_rows, lanes].
  void (*correlate)(const float* a, int64_t a_rows, const float* b, int64_t b_rows, int64_t panel_count, float* products);
};

namespace baseline {
const MixingKernels& mixing_kernels();
}
namespace avx2 {
const MixingKernels& mixing_kernels();
}
namespace avx512 {
const MixingKernels& mixing_kernels();
}

// The best that this processor can run.
const MixingKernels& mixing_kernels();

}  // namespace kw::cpu
