// Assembling weights from the cells of a warehouse (KernelWarehouse section 3.2, equation 3) and the gradient of that, straight into and
// out of any weight layout in which a cell keeps its shape wherever it is placed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cpu/bfloat16.h"
#include "cpu/mixing/cell_placement.h"
#include "cpu/simd/mixing_kernels.h"
#include "runtime/backend.h"

namespace kw::cpu {

// With a precision of bfloat16, attention, cells and the gradients of weights are rounded to it before they are multiplied, and so are the
// mixed weights, which are stored as `weights`. Sums are float32, and so are attention and all gradients in memory.
struct MixingTypes {
  DataType precision = DataType::float32;
  DataType weights = DataType::float32;  // bfloat16 only with that precision
};

// Mixes attention and cells into the weights of several samples, and takes weight gradients apart again. Cells are kept as panels (see
// simd/mixing_kernels.h): those of plain cells where each of these lies together in the weight, one copy then serving all such layouts;
// else with columns that follow the weight layout, so that what is adjacent in a panel is mostly adjacent in the weight.
class CellMixing {
 public:
  // `samples` is the most that one call will take. Where the weight is cut into slices, `grid` and `placement` are those of a slice
  // (slice_grid) and "weights" those of a slice; attention and cells are always the layer's.
  CellMixing(const KernelContext& context, const CellGrid& grid, const CellPlacement& placement, int64_t samples,
             const MixingTypes& types = {}, const CellSlices& slices = {}, const MixingKernels& kernels = mixing_kernels());

  // What a copy of the cells is for.
  enum class Use { mix, backward };
  // A copy of the cells (float32) as panels. Steps whose layers order the elements alike share one.
  void keep_cells(const KernelContext& context, const Tensor& cells, Use use);
  // The copy, brought up to date: what `mix` and `backward` take.
  const std::byte* cell_panels(const Memory& memory);

  // weights[b] at `weights + b * weight_stride` elements: sum over j of attention[b,i,j] * cells[j] for every mixture i; attention
  // [samples,m,n].
  void mix(const float* attention, int64_t samples, const std::byte* cell_panels, void* weights, int64_t weight_stride, std::byte* scratch,
           int64_t slice = 0) const;
  size_t mix_scratch_bytes() const;

  // dattention[b,i,j] = <dweight[b] at mixture i, cells[j]> when `dattention` is given; dcells[j] (+)= sum over b and i of attention[b,i,j]
  // * dweight[b] at mixture i when `dcells` [n,fe,keh,kew,ce] is given. dattention is a sum over the slices, and each slice has its
  // own elements of dcells.
  struct Gradients {
    float* dattention = nullptr;
    float* dcells = nullptr;
    bool accumulate_cells = false;
    bool accumulate_attention = false;
  };
  void backward(const float* attention, int64_t samples, const std::byte* cell_panels, const float* dweights, int64_t weight_stride,
                const Gradients& gradients, std::byte* scratch, int64_t slice = 0) const;
  size_t backward_scratch_bytes() const;

 private:
  // Panels that follow one another in the copy of the cells and lie at equal distances in the weight, or one panel in several runs.
  struct Piece {
    int64_t first_panel, panels;
    int64_t offset, step;            // of its first element in the weight, from the mixture's; to the next panel
    size_t first_run = 0, runs = 0;  // of a panel that is not contiguous in the weight
  };
  struct Run {
    int64_t offset;
    int32_t lane, length;
  };
  struct Panels;

  // How a copy of the cells lies: as float panels, of the cells or of what bfloat16 keeps of them, or in bfloat16 tiles (see TileKernels)
  // for one of the products.
  enum class Format { floats, rounded_floats, term_pairs, column_pairs };

  bool keeps_plain_panels(const std::vector<int64_t>& elements) const;
  void cut_into_pieces(const std::vector<int64_t>& offsets);
  // Calls visit(panel, cell, lanes in use) for all panels of cells of that many elements.
  template <class Visit>
  void for_each_strip(int64_t elements, const Visit& visit) const;
  size_t part_bytes(Format format) const;
  size_t copy_bytes() const { return part_bytes(format_) * static_cast<size_t>(slices_.parts); }
  // From the first panel of a slice to that of the next, in the copy.
  size_t slice_step() const;
  void fill_plain(const float* cells, float* panels) const;
  void fill_part(const float* cells, Format format, void* panels) const;
  // Distance of the parts of a cell, in elements, and the elements of all parts.
  int64_t part_step() const { return slices_.axis == CellSlices::Axis::out ? grid_.cell_elements() : grid_.cell_in; }
  int64_t whole_cell() const { return grid_.cell_elements() * slices_.parts; }
  bool rounds() const { return types_.precision == DataType::bfloat16; }
  // Calls visit(row, cell, attention as it is multiplied).
  template <class Visit>
  void for_each_attention(const float* attention, int64_t rows, const Visit& visit) const {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t j = 0; j < grid_.cells; ++j) {
        const float value = attention[row * grid_.cells + j];
        visit(row, j, rounds() ? kept_by_bfloat16(value) : value);
      }
    }
  }
  int threads_for(int64_t samples) const;
  int64_t cell_blocks(int64_t block) const { return (grid_.cells + block - 1) / block; }
  // Of dcell panels: whole tiles where there are tiles.
  int64_t dcell_rows() const { return tiles_ ? cell_blocks(16) * 16 : grid_.cells; }

  template <class Weight, class Combine>
  void mix_pieces(int64_t samples, int64_t row_block, Weight* weights, int64_t weight_stride, const Combine& combine) const;

  struct Dweights {
    const float* data;
    int64_t stride;  // between samples
    int64_t rows;    // samples times mixtures
  };
  struct BackwardScratch;
  BackwardScratch backward_scratch(int64_t rows) const;
  void backward_floats(std::span<const Piece> pieces, const Dweights& from, const std::byte* cell_panels, const std::byte* coefficients,
                       const BackwardScratch& sizes, const Gradients& gradients, std::byte* memory) const;
  void backward_tiles(std::span<const Piece> pieces, const Dweights& from, const std::byte* cell_panels, const std::byte* coefficients,
                      const BackwardScratch& sizes, const Gradients& gradients, std::byte* memory) const;
  const float* row_of(const Dweights& from, int64_t row) const;
  void gather_piece(const Piece& piece, const Dweights& dweights, float* panels) const;
  // dcells (+)= what lies at `dcell_panels` for a piece, [panels][rows][panel].
  void spread_piece(const Piece& piece, const float* dcell_panels, int64_t rows, bool accumulate, float* dcells) const;

  CellGrid grid_;
  int threads_;
  MixingTypes types_;
  CellSlices slices_;
  const MixingKernels& kernels_;
  const TileKernels* tiles_;  // null: float products
  int64_t mixtures_, samples_;
  int64_t panel_count_;
  int64_t most_panels_ = 1;  // of a piece
  bool plain_;               // whether panels are those of plain cells
  std::vector<int64_t> mixture_offsets_;
  std::vector<int32_t> order_;  // the cell element of each column, in the first part of a cell
  std::vector<Piece> pieces_;
  std::vector<Run> runs_;
  Format format_ = Format::floats;  // of kept_
  std::shared_ptr<Panels> kept_;
};

}  // namespace kw::cpu
