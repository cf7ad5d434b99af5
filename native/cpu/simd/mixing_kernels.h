// The inner loops of mixing cells, compiled once for each instruction set. Matrices are cut into panels of `panel` columns: panel p of a
// matrix [terms, columns] lies as [terms, panel] contiguously, panels one after the other. A uint16_t here is the bits of a bfloat16.
#pragma once

#include <cstdint>

namespace kw::cpu {

// Products of bfloat16 matrices with float32 sums, for processors with matrix tiles: 16 rows of 32 bfloat16 times 32 of 16. The first
// matrix of a product comes as its tiles row by row; the second one's tiles have the sixteen columns' elements of two rows in turns
// ("paired"). Whatever a matrix lacks to whole tiles is zero. A panel has 32 columns.
struct TileKernels {
  // rows[r][p * step + c] = sum_t a[r][t] * b[p][t][c] rounded to bfloat16, for r < row_count <= 32; a [2][term blocks][16 rows][32 terms],
  // b [panels][term blocks][2][16 term pairs][16 columns][2].
  void (*combine)(const uint16_t* a, int64_t row_count, int64_t term_blocks, const uint16_t* b, int64_t panel_count, uint16_t* const* rows,
                  int64_t step);

  // sums[p][r][c] = (accumulate ? itself : 0) + sum_t a[r][t] * b[p][t][c]; a [row tiles][term blocks][16 rows][32 terms], b as in
  // `combine`, sums [panels][16 * row tiles][32].
  void (*accumulate)(const uint16_t* a, int64_t row_tiles, int64_t term_blocks, const uint16_t* b, int64_t panel_count, float* sums,
                     bool accumulate);

  // products[r][j] += sum over p and c of a[p][r][c] * b[p][j][c]; a [panels][row tiles][16 rows][32 columns], b [panels][column tiles]
  // [16 column pairs][16 j][2], products [16 * row tiles][16 * column tiles].
  void (*correlate)(const uint16_t* a, int64_t row_tiles, const uint16_t* b, int64_t column_tiles, int64_t panel_count, float* products);

  // Panels of rows[r][p * step + c], rounded, in the two orders in which products want them: `tiles` [panels][row tiles][16 rows][32
  // columns] for `correlate`, `pairs` [panels][row blocks of 32][2][16 row pairs][16 columns][2] for `accumulate`. There are as many row
  // tiles as two for each block.
  void (*gather)(const float* const* rows, int64_t row_count, int64_t step, int64_t panel_count, uint16_t* tiles, uint16_t* pairs);
};

struct MixingKernels {
  int64_t panel;      // columns of a panel
  int64_t row_block;  // rows that `combine` takes at most; its coefficients lie as [terms, row_block]
  int64_t lanes;      // partial sums of `correlate`

  // rows[r][p * step + c] = (accumulate ? itself : 0) + sum_t coefficients[t][r] * panels[p][t][c], for r < row_count <= row_block;
  // `panel_step` elements from a panel to the next.
  void (*combine)(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_step, int64_t panel_count,
                  float* const* rows, int64_t step, bool accumulate);

  // rows[r][p * step + c] = the same sum rounded to bfloat16, nothing added.
  void (*combine_to_bfloat16)(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_step,
                              int64_t panel_count, uint16_t* const* rows, int64_t step);

  // The same, what bfloat16 keeps of it stored as float32.
  void (*combine_rounded)(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_step,
                          int64_t panel_count, float* const* rows, int64_t step);

  // products[r][j][l] += sum over p and c = l, l + lanes, ... of a[p][r][c] * b[p][j][c]: the products of the rows of two matrices in
  // panels, `a_step` elements from a panel of a to the next, one partial sum for each lane; products [a_rows, b_rows, lanes].
  void (*correlate)(const float* a, int64_t a_rows, int64_t a_step, const float* b, int64_t b_rows, int64_t panel_count, float* products);

  const TileKernels* tiles;  // null where the instruction set has none
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
namespace amx {
const MixingKernels& mixing_kernels();
}

// The best that this processor can run.
const MixingKernels& mixing_kernels();

}  // namespace kw::cpu
