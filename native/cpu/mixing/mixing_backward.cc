// The gradients of mixing: of attention and of cells.
#include <algorithm>
#include <cstring>
#include <span>

#include "cpu/bfloat16.h"
#include "cpu/convolution/convolution_epilogue.h"
#include "cpu/mixing/mixing.h"
#include "cpu/mixing/mixing_memory.h"
#include "cpu/parallel.h"

namespace kw::cpu {

namespace {

// `correlate` does best when its rows of that many panels fit into a first-level cache.
constexpr int64_t kCorrelatedPanels = 16;
constexpr int64_t kMostRowBlock = 16;

// Rows from a gathered panel to the next: an odd number of cache lines, because powers of two put all panels into few sets of a cache.
int64_t row_step(int64_t rows) { return rows | 1; }

}  // namespace

// The parts of scratch, in bytes, for that many rows (samples times mixtures).
struct CellMixing::BackwardScratch {
  size_t coefficients;  // packed attention, transposed; one for all threads
  // Of each thread:
  size_t gathered;   // a piece of dweights as panels or tiles
  size_t row_pairs;  // the same in the order for dcells, where there are tiles
  size_t staged;     // one panel of floats on its way to tiles
  size_t places;     // where rows begin
  size_t products;   // sums of dattention
  size_t dcells;     // a piece of them as panels, on its way to plain cells

  size_t of_thread() const { return gathered + row_pairs + staged + places + products + dcells; }
};

CellMixing::BackwardScratch CellMixing::backward_scratch(int64_t rows) const {
  const size_t dcells = float_bytes(most_panels_ * dcell_rows() * kernels_.panel);
  if (!tiles_) {
    const int64_t padded = blocks(grid_.cells, kernels_.row_block) * kernels_.row_block;
    return {float_bytes(padded * rows),
            float_bytes(most_panels_ * row_step(rows) * kernels_.panel),
            0,
            0,
            0,
            float_bytes(rows * grid_.cells * kernels_.lanes),
            dcells};
  }
  const int64_t row_blocks = blocks(rows, 32);
  const size_t gathered = tile_bytes(most_panels_ * 2 * row_blocks);
  return {tile_bytes(cell_blocks(16) * row_blocks),    gathered, gathered, float_bytes(rows * kernels_.panel), float_bytes(2 * rows),
          float_bytes(row_blocks * 32 * dcell_rows()), dcells};
}

size_t CellMixing::backward_scratch_bytes() const {
  const BackwardScratch sizes = backward_scratch(samples_ * mixtures_);
  return sizes.coefficients + static_cast<size_t>(threads_) * sizes.of_thread();
}

void CellMixing::backward(const float* attention, int64_t samples, const std::byte* cell_panels, const float* dweights,
                          int64_t weight_stride, const Gradients& gradients, std::byte* scratch, int64_t slice) const {
  const int64_t rows = samples * mixtures_;
  const int64_t n = grid_.cells;
  const int threads = threads_for(samples);
  const BackwardScratch sizes = backward_scratch(rows);
  if (gradients.dcells && tiles_) {
    auto* coefficients = reinterpret_cast<uint16_t*>(scratch);
    std::memset(coefficients, 0, sizes.coefficients);
    for_each_attention(attention, rows, [&](int64_t row, int64_t j, float value) {
      coefficients[tile_place(j, row, blocks(rows, 32))] = bfloat16(value).bits;
    });
  } else if (gradients.dcells) {
    auto* coefficients = reinterpret_cast<float*>(scratch);
    for_each_attention(attention, rows, [&](int64_t row, int64_t j, float value) {
      coefficients[coefficient_place(j, row, rows, kernels_.row_block)] = value;
    });
  }
  if (gradients.dattention) cell_panels += static_cast<size_t>(slice) * slice_step();
  Gradients gradients_of_slice = gradients;
  if (gradients.dcells) gradients_of_slice.dcells += slice * part_step();
  const auto memory_of = [&](int64_t part) { return scratch + sizes.coefficients + sizes.of_thread() * static_cast<size_t>(part); };
  const Dweights from = {dweights, weight_stride, rows};
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t part = 0; part < threads; ++part) {
    const auto count = static_cast<int64_t>(pieces_.size());
    const int64_t begin = range_begin(count, threads, part), end = range_begin(count, threads, part + 1);
    const auto pieces = std::span(pieces_).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    std::memset(memory_of(part), 0, sizes.products);
    if (tiles_) {
      backward_tiles(pieces, from, cell_panels, scratch, sizes, gradients_of_slice, memory_of(part));
    } else {
      backward_floats(pieces, from, cell_panels, scratch, sizes, gradients_of_slice, memory_of(part));
    }
  }
  if (!gradients.dattention) return;
  const int64_t lanes = tiles_ ? 1 : kernels_.lanes, row_products = tiles_ ? dcell_rows() : n;
  // In the order of the parts: the same sum every time.
  parallel_for(threads, rows, rows_per_thread(n * lanes * threads), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t j = 0; j < n; ++j) {
        float sum = 0;
        for (int64_t part = 0; part < threads; ++part) {
          const float* products = reinterpret_cast<const float*>(memory_of(part)) + (row * row_products + j) * lanes;
          for (int64_t lane = 0; lane < lanes; ++lane) sum += products[lane];
        }
        float& dattention = gradients.dattention[row * n + j];
        dattention = gradients.accumulate_attention ? dattention + sum : sum;
      }
    }
  });
}

void CellMixing::backward_floats(std::span<const Piece> pieces, const Dweights& from, const std::byte* cell_panels,
                                 const std::byte* coefficients, const BackwardScratch& sizes, const Gradients& gradients,
                                 std::byte* memory) const {
  const int64_t panel = kernels_.panel, row_block = kernels_.row_block, n = grid_.cells, rows = from.rows, step = row_step(rows) * panel;
  auto* products = reinterpret_cast<float*>(memory);
  auto* gathered = reinterpret_cast<float*>(memory + sizes.products);
  auto* dcell_panels = reinterpret_cast<float*>(memory + sizes.products + sizes.gathered);
  for (const Piece& piece : pieces) {
    gather_piece(piece, from, gathered);
    for (int64_t p = 0; p < piece.panels && gradients.dattention; p += kCorrelatedPanels) {
      kernels_.correlate(gathered + p * step, rows, step, reinterpret_cast<const float*>(cell_panels) + (piece.first_panel + p) * n * panel,
                         n, std::min(kCorrelatedPanels, piece.panels - p), products);
    }
    if (!gradients.dcells) continue;
    const bool in_place = plain_ && !piece.runs;
    for (int64_t j = 0; j < n; j += row_block) {
      float* targets[kMostRowBlock];
      const int64_t count = std::min(row_block, n - j);
      for (int64_t cell = 0; cell < count; ++cell) {
        targets[cell] =
            in_place ? gradients.dcells + (j + cell) * whole_cell() + piece.first_panel * panel : dcell_panels + (j + cell) * panel;
      }
      kernels_.combine(reinterpret_cast<const float*>(coefficients) + j * rows, count, rows, gathered, step, piece.panels, targets,
                       in_place ? panel : n * panel, in_place && gradients.accumulate_cells);
    }
    if (!in_place) spread_piece(piece, dcell_panels, n, gradients.accumulate_cells, gradients.dcells);
  }
}

void CellMixing::backward_tiles(std::span<const Piece> pieces, const Dweights& from, const std::byte* cell_panels,
                                const std::byte* coefficients, const BackwardScratch& sizes, const Gradients& gradients,
                                std::byte* memory) const {
  const int64_t panel = kernels_.panel, row_blocks = blocks(from.rows, 32), cell_tiles = cell_blocks(16);
  auto* products = reinterpret_cast<float*>(memory);
  auto* tiles = reinterpret_cast<uint16_t*>(memory + sizes.products);
  auto* pairs = reinterpret_cast<uint16_t*>(memory + sizes.products + sizes.gathered);
  auto* staged = reinterpret_cast<float*>(memory + sizes.products + sizes.gathered + sizes.row_pairs);
  auto* places = reinterpret_cast<const float**>(memory + sizes.products + sizes.gathered + sizes.row_pairs + sizes.staged);
  auto* dcell_panels = reinterpret_cast<float*>(memory + sizes.of_thread() - sizes.dcells);
  for (const Piece& piece : pieces) {
    if (piece.runs) gather_piece(piece, from, staged);
    for (int64_t row = 0; row < from.rows; ++row) places[row] = piece.runs ? staged + row * panel : row_of(from, row) + piece.offset;
    tiles_->gather(places, from.rows, piece.step, piece.panels, tiles, pairs);
    for (int64_t p = 0; p < piece.panels && gradients.dattention; p += kCorrelatedPanels) {
      const auto* cells = reinterpret_cast<const uint16_t*>(cell_panels) + (piece.first_panel + p) * cell_tiles * kTileElements;
      tiles_->correlate(tiles + p * 2 * row_blocks * kTileElements, 2 * row_blocks, cells, cell_tiles,
                        std::min(kCorrelatedPanels, piece.panels - p), products);
    }
    if (gradients.dcells) {
      tiles_->accumulate(reinterpret_cast<const uint16_t*>(coefficients), cell_tiles, row_blocks, pairs, piece.panels, dcell_panels, false);
      spread_piece(piece, dcell_panels, dcell_rows(), gradients.accumulate_cells, gradients.dcells);
    }
  }
}

const float* CellMixing::row_of(const Dweights& from, int64_t row) const {
  return from.data + row / mixtures_ * from.stride + mixture_offsets_[static_cast<size_t>(row % mixtures_)];
}

void CellMixing::gather_piece(const Piece& piece, const Dweights& dweights, float* panels) const {
  const int64_t panel = kernels_.panel;
  for (int64_t row = 0; row < dweights.rows; ++row) {
    const float* from = row_of(dweights, row);
    if (piece.runs == 0) {
      for (int64_t p = 0; p < piece.panels; ++p) {
        float* to = panels + (p * row_step(dweights.rows) + row) * panel;
        const float* source = from + piece.offset + p * piece.step;
        rounds() ? round_to_bfloat16(source, panel, to)
                 : static_cast<void>(std::memcpy(to, source, static_cast<size_t>(panel) * sizeof(float)));
      }
      continue;
    }
    float* to = panels + row * panel;
    std::fill(to, to + panel, 0.0f);
    for (const Run& run : std::span(runs_).subspan(piece.first_run, piece.runs)) {
      for (int32_t lane = 0; lane < run.length; ++lane) to[run.lane + lane] = from[run.offset + lane];
    }
    if (rounds()) round_to_bfloat16(to, panel, to);
  }
}

void CellMixing::spread_piece(const Piece& piece, const float* dcell_panels, int64_t rows, bool accumulate, float* dcells) const {
  const int64_t panel = kernels_.panel, columns = grid_.cell_elements();
  for (int64_t j = 0; j < grid_.cells; ++j) {
    float* to = dcells + j * whole_cell();
    for (int64_t p = 0; p < piece.panels; ++p) {
      const float* from = dcell_panels + (p * rows + j) * panel;
      const int64_t first = (piece.first_panel + p) * panel;
      const int32_t* order = order_.data() + first;
      const int64_t lanes = std::min(panel, columns - first);
      if (accumulate) {
        for (int64_t lane = 0; lane < lanes; ++lane) to[order[lane]] += from[lane];
      } else {
        for (int64_t lane = 0; lane < lanes; ++lane) to[order[lane]] = from[lane];
      }
    }
  }
}

}  // namespace kw::cpu
