// Assembling weights from the cells of a warehouse (KernelWarehouse section 3.1, equation 3) and the gradient of that, straight into and
// out of any weight layout in which a cell keeps its shape wherever it is placed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cpu/converted_copy.h"
#include "cpu/convolution.h"
#include "runtime/backend.h"

namespace kw::cpu {

// The cells of a warehouse, [n,fe,keh,kew,ce], in one layer's weight [O,kh,kw,I].
struct CellGrid {
  int64_t cells, cell_out, cell_height, cell_width, cell_in;
  int64_t out_channels, kernel_height, kernel_width, in_channels;

  int64_t cell_elements() const { return cell_out * cell_height * cell_width * cell_in; }
  int64_t mixtures() const {
    return out_channels / cell_out * (kernel_height / cell_height) * (kernel_width / cell_width) * (in_channels / cell_in);
  }
};

// Refuses cells that do not divide the weight (invalid_plan).
CellGrid cell_grid(const StepContext& context, const std::vector<int64_t>& cell_shape, const std::vector<int64_t>& weight_shape);

// A cell's place in a weight layout: element e of mixture i lies at mixtures[i] + elements[e], e row-major in [fe,keh,kew,ce].
struct CellPlacement {
  std::vector<int64_t> mixtures;
  std::vector<int64_t> elements;
};
// Nothing when the distances within a cell depend on the mixture, e.g. in a layout with blocks wider than the cell.
std::optional<CellPlacement> place_cells(const CellGrid& grid, const WeightOffsets& offsets);

// Mixes attention and cells into the weights of several samples, and takes weight gradients apart again. Cells are kept as panels (see
// simd/mixing_kernels.h) whose columns follow the weight layout, so that what is adjacent in a panel is mostly adjacent in the weight.
class CellMixing {
 public:
  // `samples` is the most that one call will take. `weights` is the type that `mix` writes: bfloat16 weights are rounded once, from sums in
  // float32. Attention, weight gradients and all other gradients are float32.
  CellMixing(const StepContext& context, const CellGrid& grid, const CellPlacement& placement, int64_t samples,
             DataType weights = DataType::float32);

  // What a copy of the cells is for.
  enum class Use { mix, backward };
  // A copy of the cells (float32) in panels. Steps whose layers order the elements alike share one.
  void keep_cells(const StepContext& context, size_t input, Use use);
  // The copy, brought up to date: what `mix` or `backward` take.
  const std::byte* cell_panels(const Memory& memory);

  // weights[b] at `weights + b * weight_stride` elements: sum over j of attention[b,i,j] * cells[j] for every mixture i; attention
  // [samples,m,n].
  void mix(const float* attention, int64_t samples, const std::byte* cell_panels, void* weights, int64_t weight_stride,
           std::byte* scratch) const;
  size_t mix_scratch_bytes() const;

  // dattention[b,i,j] = <dweight[b] at mixture i, cells[j]> when `dattention` is given; dcell_panels[j] (+)= sum over b and i of
  // attention[b,i,j] * dweight[b] at mixture i when `dcell_panels` is given.
  struct Gradients {
    float* dattention = nullptr;
    float* dcell_panels = nullptr;
    bool accumulate = false;  // in dcell_panels
  };
  void backward(const float* attention, int64_t samples, const std::byte* cell_panels, const float* dweights, int64_t weight_stride,
                const Gradients& gradients, std::byte* scratch) const;
  size_t backward_scratch_bytes() const;
  size_t dcell_panel_bytes() const;

  // cells [n,fe,keh,kew,ce] = panels, or += with `accumulate`.
  void unpack(const float* panels, bool accumulate, float* cells) const;

 private:
  // Panels whose elements lie side by side in the weight, or one panel in several runs.
  struct Piece {
    int64_t first_panel, panels;
    int64_t offset;                  // of its first element in the weight, from the mixture's
    size_t first_run = 0, runs = 0;  // of a piece that is not contiguous
  };
  struct Run {
    int64_t offset;
    int32_t lane, length;
  };
  struct Panels;

  template <class Visit>
  void for_each_strip(const Visit& visit) const;
  void cut_into_pieces(const std::vector<int64_t>& sorted_offsets);
  int threads_for(int64_t samples) const;
  template <class Weight>
  void mix_piece(const Piece& piece, const float* coefficients, int64_t rows, const float* cell_panels, Weight* weights,
                 int64_t weight_stride) const;
  void gather_piece(const Piece& piece, int64_t rows, const float* dweights, int64_t weight_stride, float* panels) const;

  CellGrid grid_;
  int threads_;
  DataType weights_;
  int64_t mixtures_, samples_;
  int64_t panel_count_;
  int64_t most_panels_ = 1;  // of a piece
  std::vector<int64_t> mixture_offsets_;
  std::vector<int32_t> order_;  // the cell element of each column
  std::vector<Piece> pieces_;
  std::vector<Run> runs_;
  std::shared_ptr<Panels> kept_;
};

}  // namespace kw::cpu
