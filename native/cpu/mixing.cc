#include "cpu/mixing.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <span>
#include <type_traits>

#include "cpu/kernel.h"
#include "cpu/parallel.h"
#include "cpu/simd/mixing_kernels.h"

namespace kw::cpu {

const MixingKernels& mixing_kernels() {
#ifdef KW_SIMD_X86
  static const MixingKernels& best = __builtin_cpu_supports("avx512f")                                 ? avx512::mixing_kernels()
                                     : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2::mixing_kernels()
                                                                                                       : baseline::mixing_kernels();
  return best;
#else
  return baseline::mixing_kernels();
#endif
}

namespace {

// The cells' panels of a piece and the gathered weight gradients of a piece are each to stay in a second-level cache.
constexpr int64_t kPieceBytes = 192 << 10;
// `correlate` does best when its rows of that many panels fit into a first-level cache.
constexpr int64_t kCorrelatedPanels = 16;
constexpr int64_t kMostRowBlock = 16;
constexpr int64_t kMostPanel = 32;

size_t float_bytes(int64_t count) { return (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64; }
int64_t blocks(int64_t count, int64_t block) { return (count + block - 1) / block; }

// [rows, terms] with the given strides to [row blocks][terms][row_block], as the kernels want their coefficients.
void pack_coefficients(const float* from, int64_t rows, int64_t row_stride, int64_t terms, int64_t term_stride, int64_t row_block,
                       float* to) {
  for (int64_t first = 0; first < rows; first += row_block) {
    const int64_t count = std::min(row_block, rows - first);
    for (int64_t t = 0; t < terms; ++t, to += row_block) {
      for (int64_t r = 0; r < count; ++r) to[r] = from[(first + r) * row_stride + t * term_stride];
    }
  }
}

uint64_t fingerprint(std::span<const int32_t> values) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const int32_t value : values) hash = (hash ^ static_cast<uint32_t>(value)) * 0x100000001b3;
  return hash;
}

}  // namespace

CellGrid cell_grid(const StepContext& context, const std::vector<int64_t>& cell_shape, const std::vector<int64_t>& weight_shape) {
  if (cell_shape.size() != 5 || product(cell_shape) < 1)
    context.fail("expected cells [n,fe,keh,kew,ce] but received " + describe(cell_shape));
  for (size_t axis = 0; axis < 4; ++axis) {
    if (weight_shape[axis] < 1 || weight_shape[axis] % cell_shape[axis + 1] != 0) {
      context.fail("cells " + describe(cell_shape) + " do not divide the weight " + describe(weight_shape));
    }
  }
  return {cell_shape[0],   cell_shape[1],   cell_shape[2],   cell_shape[3],  cell_shape[4],
          weight_shape[0], weight_shape[1], weight_shape[2], weight_shape[3]};
}

std::optional<CellPlacement> place_cells(const CellGrid& g, const WeightOffsets& offsets) {
  const auto keeps_shape = [](const std::vector<int64_t>& axis, int64_t cell) {
    for (size_t index = 0; index < axis.size(); ++index) {
      const size_t within = index % static_cast<size_t>(cell);
      if (axis[index] - axis[index - within] != axis[within] - axis[0]) return false;
    }
    return true;
  };
  if (!keeps_shape(offsets.out, g.cell_out) || !keeps_shape(offsets.row, g.cell_height) || !keeps_shape(offsets.column, g.cell_width) ||
      !keeps_shape(offsets.in, g.cell_in)) {
    return std::nullopt;
  }
  const auto for_each = [&](int64_t outs, int64_t rows, int64_t columns, int64_t ins, int64_t out_step, int64_t row_step,
                            int64_t column_step, int64_t in_step, const auto& visit) {
    for (int64_t o = 0; o < outs; ++o) {
      for (int64_t p = 0; p < rows; ++p) {
        for (int64_t q = 0; q < columns; ++q) {
          for (int64_t i = 0; i < ins; ++i) {
            visit(offsets.out[o * out_step] + offsets.row[p * row_step] + offsets.column[q * column_step] + offsets.in[i * in_step]);
          }
        }
      }
    }
  };
  CellPlacement placement;
  const int64_t origin = offsets.out[0] + offsets.row[0] + offsets.column[0] + offsets.in[0];
  for_each(g.cell_out, g.cell_height, g.cell_width, g.cell_in, 1, 1, 1, 1,
           [&](int64_t offset) { placement.elements.push_back(offset - origin); });
  // Mixtures count spatial cells first, then output cells, then input cells.
  for (int64_t p = 0; p < g.kernel_height; p += g.cell_height) {
    for (int64_t q = 0; q < g.kernel_width; q += g.cell_width) {
      for (int64_t o = 0; o < g.out_channels; o += g.cell_out) {
        for (int64_t i = 0; i < g.in_channels; i += g.cell_in) {
          placement.mixtures.push_back(offsets.out[o] + offsets.row[p] + offsets.column[q] + offsets.in[i]);
        }
      }
    }
  }
  return placement;
}

// The converted copy of a warehouse's cells.
struct CellMixing::Panels {
  Panels(const StepContext& context, const Tensor& tensor, size_t bytes) : tensor(tensor), state(context, tensor), data(bytes) {}
  const Tensor& tensor;
  CopyState state;
  AlignedFloats data;
};

CellMixing::CellMixing(const StepContext& context, const CellGrid& grid, const CellPlacement& placement, int64_t samples,
                       DataType weights)
    : grid_(grid),
      threads_(context.threads),
      weights_(weights),
      mixtures_(grid.mixtures()),
      samples_(samples),
      mixture_offsets_(placement.mixtures) {
  const int64_t elements = grid.cell_elements();
  if (elements > INT32_MAX) context.fail("a cell of more than 2^31 elements");
  panel_count_ = blocks(elements, mixing_kernels().panel);
  order_.resize(static_cast<size_t>(elements));
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) { return placement.elements[a] < placement.elements[b]; });
  std::vector<int64_t> sorted_offsets(order_.size());
  for (size_t column = 0; column < order_.size(); ++column) sorted_offsets[column] = placement.elements[order_[column]];
  cut_into_pieces(sorted_offsets);
}

void CellMixing::cut_into_pieces(const std::vector<int64_t>& offsets) {
  const int64_t panel = mixing_kernels().panel;
  const int64_t elements = static_cast<int64_t>(offsets.size());
  const int64_t tallest = std::max(grid_.cells, std::min<int64_t>(samples_ * mixtures_, 256));
  const int64_t fitting = kPieceBytes / (tallest * panel * static_cast<int64_t>(sizeof(float)));
  most_panels_ = std::clamp<int64_t>(std::min(fitting, panel_count_ / (4 * threads_)), 1, 64);
  const auto contiguous = [&](int64_t from, int64_t to) { return offsets[to - 1] - offsets[from] == to - 1 - from; };
  for (int64_t p = 0; p < panel_count_; ++p) {
    const int64_t begin = p * panel;
    const int64_t end = std::min(begin + panel, elements);
    if (end - begin == panel && contiguous(begin, end)) {
      Piece* last = pieces_.empty() ? nullptr : &pieces_.back();
      if (last && last->runs == 0 && last->panels < most_panels_ && last->offset + last->panels * panel == offsets[begin]) {
        ++last->panels;
      } else {
        pieces_.push_back({p, 1, offsets[begin]});
      }
      continue;
    }
    Piece piece{p, 1, offsets[begin], runs_.size(), 0};
    for (int64_t from = begin; from < end;) {
      int64_t to = from + 1;
      while (to < end && offsets[to] == offsets[to - 1] + 1) ++to;
      runs_.push_back({offsets[from], static_cast<int32_t>(from - begin), static_cast<int32_t>(to - from)});
      from = to;
    }
    piece.runs = runs_.size() - piece.first_run;
    pieces_.push_back(piece);
  }
}

void CellMixing::keep_cells(const StepContext& context, size_t input, Use) {
  const std::string key = "cells " + std::to_string(context.step.inputs[input]) + " " + std::to_string(fingerprint(order_));
  kept_ = context.shared<Panels>(key, [&] {
    context.resources.prepared_bytes += dcell_panel_bytes();
    return new Panels(context, context.input(input), dcell_panel_bytes());
  });
}

size_t CellMixing::dcell_panel_bytes() const { return float_bytes(panel_count_ * grid_.cells * mixing_kernels().panel); }

const std::byte* CellMixing::cell_panels(const Memory& memory) {
  float* panels = kept_->data.data();
  const auto* bytes = reinterpret_cast<const std::byte*>(panels);
  if (!kept_->state.outdated(memory)) return bytes;
  const float* cells = memory.data<float>(kept_->tensor);
  const int64_t panel = mixing_kernels().panel;
  const int64_t elements = grid_.cell_elements();
  for_each_strip([&](int64_t p, int64_t j, int64_t lanes) {
    const int32_t* order = order_.data() + p * panel;
    float* to = panels + (p * grid_.cells + j) * panel;
    const float* from = cells + j * elements;
    for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = from[order[lane]];
    for (int64_t lane = lanes; lane < panel; ++lane) to[lane] = 0;
  });
  return bytes;
}

void CellMixing::unpack(const float* panels, bool accumulate, float* cells) const {
  const int64_t panel = mixing_kernels().panel;
  const int64_t elements = grid_.cell_elements();
  for_each_strip([&](int64_t p, int64_t j, int64_t lanes) {
    const int32_t* order = order_.data() + p * panel;
    const float* from = panels + (p * grid_.cells + j) * panel;
    float* to = cells + j * elements;
    if (accumulate) {
      for (int64_t lane = 0; lane < lanes; ++lane) to[order[lane]] += from[lane];
    } else {
      for (int64_t lane = 0; lane < lanes; ++lane) to[order[lane]] = from[lane];
    }
  });
}

// Calls visit(panel, cell, lanes in use) for all cells and panels, several panels of one cell in a row: they lie in the same cache lines of
// the plain cell.
template <class Visit>
void CellMixing::for_each_strip(const Visit& visit) const {
  constexpr int64_t kStrip = 16;
  const int64_t panel = mixing_kernels().panel;
  const int64_t elements = grid_.cell_elements();
  const int64_t grain = std::max<int64_t>(1, kElementsPerThread / (kStrip * panel * grid_.cells));
  parallel_for(threads_, blocks(panel_count_, kStrip), grain, [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      for (int64_t j = 0; j < grid_.cells; ++j) {
        for (int64_t p = strip * kStrip; p < std::min((strip + 1) * kStrip, panel_count_); ++p) {
          visit(p, j, std::min(panel, elements - p * panel));
        }
      }
    }
  });
}

int CellMixing::threads_for(int64_t samples) const {
  const int64_t work = samples * mixtures_ * grid_.cells * grid_.cell_elements();
  return static_cast<int>(std::clamp<int64_t>(work >> 18, 1, threads_));
}

size_t CellMixing::mix_scratch_bytes() const {
  const int64_t row_block = mixing_kernels().row_block;
  return float_bytes(blocks(samples_ * mixtures_, row_block) * row_block * grid_.cells);
}

void CellMixing::mix(const float* attention, int64_t samples, const std::byte* cell_panels, void* weights, int64_t weight_stride,
                     std::byte* scratch) const {
  const int64_t rows = samples * mixtures_;
  auto* coefficients = reinterpret_cast<float*>(scratch);
  pack_coefficients(attention, rows, grid_.cells, grid_.cells, 1, mixing_kernels().row_block, coefficients);
  parallel_for(threads_for(samples), static_cast<int64_t>(pieces_.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const Piece& piece = pieces_[static_cast<size_t>(index)];
      const auto* panels = reinterpret_cast<const float*>(cell_panels);
      if (weights_ == DataType::bfloat16) {
        mix_piece(piece, coefficients, rows, panels, static_cast<uint16_t*>(weights), weight_stride);
      } else {
        mix_piece(piece, coefficients, rows, panels, static_cast<float*>(weights), weight_stride);
      }
    }
  });
}

template <class Weight>
void CellMixing::mix_piece(const Piece& piece, const float* coefficients, int64_t rows, const float* cell_panels, Weight* weights,
                           int64_t weight_stride) const {
  const auto& kernels = mixing_kernels();
  const int64_t panel = kernels.panel;
  const int64_t row_block = kernels.row_block;
  const float* panels = cell_panels + piece.first_panel * grid_.cells * panel;
  Weight* targets[kMostRowBlock];
  alignas(64) Weight mixed[kMostRowBlock * kMostPanel];
  for (int64_t first = 0; first < rows; first += row_block) {
    const int64_t count = std::min(row_block, rows - first);
    const float* block = coefficients + first * grid_.cells;
    const auto target = [&](int64_t row) { return weights + row / mixtures_ * weight_stride + mixture_offsets_[row % mixtures_]; };
    for (int64_t r = 0; r < count; ++r) targets[r] = piece.runs ? mixed + r * panel : target(first + r) + piece.offset;
    if constexpr (std::is_same_v<Weight, uint16_t>) {
      kernels.combine_to_bfloat16(block, count, grid_.cells, panels, piece.panels, targets, panel);
    } else {
      kernels.combine(block, count, grid_.cells, panels, piece.panels, targets, panel, false);
    }
    for (int64_t r = 0; r < count && piece.runs; ++r) {
      Weight* to = target(first + r);
      for (const Run& run : std::span(runs_).subspan(piece.first_run, piece.runs)) {
        for (int32_t lane = 0; lane < run.length; ++lane) to[run.offset + lane] = mixed[r * panel + run.lane + lane];
      }
    }
  }
}

void CellMixing::gather_piece(const Piece& piece, int64_t rows, const float* dweights, int64_t weight_stride, float* panels) const {
  const int64_t panel = mixing_kernels().panel;
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = dweights + row / mixtures_ * weight_stride + mixture_offsets_[row % mixtures_];
    if (piece.runs == 0) {
      for (int64_t p = 0; p < piece.panels; ++p) {
        std::memcpy(panels + (p * rows + row) * panel, from + piece.offset + p * panel, static_cast<size_t>(panel) * sizeof(float));
      }
      continue;
    }
    float* to = panels + row * panel;
    std::fill(to, to + panel, 0.0f);
    for (const Run& run : std::span(runs_).subspan(piece.first_run, piece.runs)) {
      for (int32_t lane = 0; lane < run.length; ++lane) to[run.lane + lane] = from[run.offset + lane];
    }
  }
}

size_t CellMixing::backward_scratch_bytes() const {
  const auto& kernels = mixing_kernels();
  const int64_t rows = samples_ * mixtures_;
  const size_t coefficients = float_bytes(blocks(grid_.cells, kernels.row_block) * kernels.row_block * rows);
  const size_t gathered = float_bytes(most_panels_ * rows * kernels.panel);
  return coefficients + static_cast<size_t>(threads_) * (gathered + float_bytes(rows * grid_.cells * kernels.lanes));
}

void CellMixing::backward(const float* attention, int64_t samples, const std::byte* cell_panels, const float* dweights, int64_t weight_stride,
                          const Gradients& gradients, std::byte* scratch) const {
  const auto& kernels = mixing_kernels();
  const int64_t panel = kernels.panel;
  const int64_t row_block = kernels.row_block;
  const int64_t rows = samples * mixtures_;
  const int64_t n = grid_.cells;
  const int threads = threads_for(samples);
  const auto* cells = reinterpret_cast<const float*>(cell_panels);

  auto* coefficients = reinterpret_cast<float*>(scratch);
  scratch += float_bytes(blocks(n, row_block) * row_block * rows);
  if (gradients.dcell_panels) pack_coefficients(attention, n, 1, rows, n, row_block, coefficients);
  const size_t gathered_bytes = float_bytes(most_panels_ * rows * panel);
  const size_t products_bytes = float_bytes(rows * n * kernels.lanes);
  std::byte* all_products = scratch + gathered_bytes * static_cast<size_t>(threads);
  const auto products_of = [&](int64_t part) {
    return reinterpret_cast<float*>(all_products + products_bytes * static_cast<size_t>(part));
  };

#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t part = 0; part < threads; ++part) {
    auto* gathered = reinterpret_cast<float*>(scratch + gathered_bytes * static_cast<size_t>(part));
    float* products = products_of(part);
    if (gradients.dattention) std::fill(products, products + rows * n * kernels.lanes, 0.0f);
    const auto pieces = static_cast<int64_t>(pieces_.size());
    for (int64_t index = range_begin(pieces, threads, part); index < range_begin(pieces, threads, part + 1); ++index) {
      const Piece& piece = pieces_[static_cast<size_t>(index)];
      const int64_t first = piece.first_panel * n * panel;
      gather_piece(piece, rows, dweights, weight_stride, gathered);
      for (int64_t p = 0; p < piece.panels && gradients.dattention; p += kCorrelatedPanels) {
        kernels.correlate(gathered + p * rows * panel, rows, cells + first + p * n * panel, n,
                          std::min(kCorrelatedPanels, piece.panels - p), products);
      }
      for (int64_t j = 0; j < n && gradients.dcell_panels; j += row_block) {
        float* targets[kMostRowBlock];
        const int64_t count = std::min(row_block, n - j);
        for (int64_t cell = 0; cell < count; ++cell) targets[cell] = gradients.dcell_panels + first + (j + cell) * panel;
        kernels.combine(coefficients + j * rows, count, rows, gathered, piece.panels, targets, n * panel, gradients.accumulate);
      }
    }
  }
  if (!gradients.dattention) return;
  // In the order of the parts: the same sum every time.
  parallel_for(threads, rows * n, rows_per_thread(kernels.lanes * threads), [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      float sum = 0;
      for (int64_t part = 0; part < threads; ++part) {
        const float* lanes = products_of(part) + index * kernels.lanes;
        for (int64_t lane = 0; lane < kernels.lanes; ++lane) sum += lanes[lane];
      }
      gradients.dattention[index] = sum;
    }
  });
}

}  // namespace kw::cpu
