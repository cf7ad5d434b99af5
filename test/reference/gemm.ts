/** Dense float64 matrix product, fast enough for whole networks: packed panels, 4x4 blocks held in local variables. */

/** Element (i, j) is `data[offset + i * row + j * column]`. */
export interface Matrix {
  readonly data: Float64Array;
  readonly offset: number;
  readonly row: number;
  readonly column: number;
}

const kDepth = 256;
const kRows = 64;
const kColumns = 256;
const packedA = new Float64Array(kRows * kDepth);
const packedB = new Float64Array(kColumns * kDepth);

/** c += a b, with a `[m, k]`, b `[k, n]`, c `[m, n]`. */
export function gemm(m: number, n: number, k: number, a: Matrix, b: Matrix, c: Matrix): void {
  for (let depth = 0; depth < k; depth += kDepth) {
    const depths = Math.min(kDepth, k - depth);
    for (let column = 0; column < n; column += kColumns) {
      const columns = Math.min(kColumns, n - column);
      pack(packedB, b.data, b.offset + depth * b.row + column * b.column, b.column, b.row, columns, depths);
      for (let row = 0; row < m; row += kRows) {
        const rows = Math.min(kRows, m - row);
        pack(packedA, a.data, a.offset + row * a.row + depth * a.column, a.row, a.column, rows, depths);
        for (let i = 0; i < rows; i += 4) {
          for (let j = 0; j < columns; j += 4) {
            const offset = c.offset + (row + i) * c.row + (column + j) * c.column;
            multiplyBlock(i * depths, j * depths, depths, c.data, offset, c.row, c.column, Math.min(4, rows - i), Math.min(4, columns - j));
          }
        }
      }
    }
  }
}

/** Panels of four vectors, depth by depth; the last panel is filled up with zeros. */
function pack(
  target: Float64Array,
  source: Float64Array,
  offset: number,
  vectorStride: number,
  depthStride: number,
  vectors: number,
  depths: number,
): void {
  for (let first = 0; first < vectors; first += 4) {
    const panel = first * depths;
    for (let lane = 0; lane < 4; lane++) {
      let to = panel + lane;
      if (first + lane < vectors) {
        let from = offset + (first + lane) * vectorStride;
        for (let depth = 0; depth < depths; depth++) {
          target[to] = source[from]!;
          to += 4;
          from += depthStride;
        }
      } else {
        for (let depth = 0; depth < depths; depth++) {
          target[to] = 0;
          to += 4;
        }
      }
    }
  }
}

const block = new Float64Array(16);

/** Adds the product of one panel of a and one of b to up to 4x4 elements of c. */
// biome-ignore format: sixteen sums in four rows show what is computed
function multiplyBlock(
  a: number, b: number, depths: number, c: Float64Array, offset: number, rowStride: number, columnStride: number, rows: number, columns: number,
): void {
  let c00 = 0, c01 = 0, c02 = 0, c03 = 0;
  let c10 = 0, c11 = 0, c12 = 0, c13 = 0;
  let c20 = 0, c21 = 0, c22 = 0, c23 = 0;
  let c30 = 0, c31 = 0, c32 = 0, c33 = 0;
  const end = a + 4 * depths;
  for (; a < end; a += 4, b += 4) {
    const b0 = packedB[b]!, b1 = packedB[b + 1]!, b2 = packedB[b + 2]!, b3 = packedB[b + 3]!;
    const a0 = packedA[a]!;
    c00 += a0 * b0; c01 += a0 * b1; c02 += a0 * b2; c03 += a0 * b3;
    const a1 = packedA[a + 1]!;
    c10 += a1 * b0; c11 += a1 * b1; c12 += a1 * b2; c13 += a1 * b3;
    const a2 = packedA[a + 2]!;
    c20 += a2 * b0; c21 += a2 * b1; c22 += a2 * b2; c23 += a2 * b3;
    const a3 = packedA[a + 3]!;
    c30 += a3 * b0; c31 += a3 * b1; c32 += a3 * b2; c33 += a3 * b3;
  }
  block[0] = c00; block[1] = c01; block[2] = c02; block[3] = c03;
  block[4] = c10; block[5] = c11; block[6] = c12; block[7] = c13;
  block[8] = c20; block[9] = c21; block[10] = c22; block[11] = c23;
  block[12] = c30; block[13] = c31; block[14] = c32; block[15] = c33;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) c[offset + i * rowStride + j * columnStride]! += block[i * 4 + j]!;
  }
}
