#include "cpu/mixing/mixing.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <span>

#include "cpu/bfloat16.h"
#include "cpu/mixing/mixing_memory.h"
#include "cpu/parallel.h"
#include "cpu/processor.h"

namespace kw::cpu {

const MixingKernels& mixing_kernels() {
#if defined(KW_SIMD_AMX)
  static const MixingKernels& best =
      for_instruction_set(baseline::mixing_kernels(), &avx2::mixing_kernels(), &avx512::mixing_kernels(), &amx::mixing_kernels());
#elif defined(KW_SIMD_X86)
  static const MixingKernels& best =
      for_instruction_set<MixingKernels>(baseline::mixing_kernels(), &avx2::mixing_kernels(), &avx512::mixing_kernels(), nullptr);
#else
  static const MixingKernels& best = baseline::mixing_kernels();
#endif
  return best;
}

namespace {

// The cells' panels of a piece and the gathered weight gradients of a piece are each to stay in a second-level cache.
constexpr int64_t kPieceBytes = 192 << 10;
constexpr int64_t kMostRowBlock = 32;
constexpr int64_t kMostPanel = 32;

}  // namespace

CellMixing::CellMixing(const KernelContext& context, const CellGrid& grid, const CellPlacement& placement, int64_t samples,
                       const MixingTypes& types, const CellSlices& slices, const MixingKernels& kernels)
    : grid_(grid),
      threads_(context.threads),
      types_(types),
      slices_(slices),
      kernels_(kernels),
      tiles_(types.weights == DataType::bfloat16 ? kernels.tiles : nullptr),
      mixtures_(grid.mixtures()),
      samples_(samples),
      mixture_offsets_(placement.mixtures) {
  const int64_t elements = grid.cell_elements();
  if (whole_cell() > INT32_MAX) context.unsupported("a cell has more than 2^31 elements");
  panel_count_ = blocks(elements, kernels_.panel);
  plain_ = keeps_plain_panels(placement.elements);
  order_.resize(static_cast<size_t>(elements));
  std::iota(order_.begin(), order_.end(), 0);
  if (!plain_) std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) { return placement.elements[a] < placement.elements[b]; });
  std::vector<int64_t> offsets(order_.size());
  for (size_t column = 0; column < order_.size(); ++column) offsets[column] = placement.elements[order_[column]];
  if (slices_.axis == CellSlices::Axis::in && slices_.parts > 1) {
    for (int32_t& element : order_) {
      element = static_cast<int32_t>(element / grid.cell_in * grid.cell_in * slices_.parts + element % grid.cell_in);
    }
  }
  cut_into_pieces(offsets);
}

// Whether every whole panel of a plain cell lies together in the weight, and no panel is in two slices.
bool CellMixing::keeps_plain_panels(const std::vector<int64_t>& elements) const {
  const int64_t panel = kernels_.panel, count = grid_.cell_elements();
  if (tiles_) return false;
  if (slices_.parts > 1 && (slices_.axis == CellSlices::Axis::out ? count : grid_.cell_in) % panel != 0) return false;
  for (int64_t first = 0; first + panel <= count; first += panel) {
    for (int64_t column = first; column < first + panel; ++column) {
      if (elements[static_cast<size_t>(column)] != elements[static_cast<size_t>(first)] + column - first) return false;
    }
  }
  return true;
}

void CellMixing::cut_into_pieces(const std::vector<int64_t>& offsets) {
  const int64_t panel = kernels_.panel;
  const int64_t elements = static_cast<int64_t>(offsets.size());
  const int64_t tallest = std::max(grid_.cells, std::min<int64_t>(samples_ * mixtures_, 256));
  const int64_t fitting = kPieceBytes / (tallest * panel * (tiles_ ? 2 : 4));
  most_panels_ = std::clamp<int64_t>(std::min(fitting, panel_count_ / (4 * threads_)), 1, 64);
  const auto contiguous = [&](int64_t from, int64_t to) { return offsets[to - 1] - offsets[from] == to - 1 - from; };
  for (int64_t p = 0; p < panel_count_; ++p) {
    const int64_t begin = p * panel;
    const int64_t end = std::min(begin + panel, elements);
    const int64_t copied = plain_ ? order_[static_cast<size_t>(begin)] / panel : p;
    if (end - begin == panel && contiguous(begin, end)) {
      Piece* last = pieces_.empty() || pieces_.back().runs > 0 ? nullptr : &pieces_.back();
      if (last && last->panels == 1) last->step = offsets[begin] - last->offset;
      if (last && last->panels < most_panels_ && last->first_panel + last->panels == copied &&
          last->offset + last->panels * last->step == offsets[begin]) {
        ++last->panels;
      } else {
        pieces_.push_back({copied, 1, offsets[begin], panel});
      }
      continue;
    }
    Piece piece{copied, 1, offsets[begin], panel, runs_.size(), 0};
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

int CellMixing::threads_for(int64_t samples) const {
  const int64_t work = samples * mixtures_ * grid_.cells * grid_.cell_elements();
  return static_cast<int>(std::clamp<int64_t>(work >> 18, 1, threads_));
}

size_t CellMixing::mix_scratch_bytes() const {
  const int64_t rows = samples_ * mixtures_;
  if (tiles_) return tile_bytes(2 * blocks(rows, 32) * cell_blocks(32));
  return float_bytes(blocks(rows, kernels_.row_block) * kernels_.row_block * grid_.cells);
}

void CellMixing::mix(const float* attention, int64_t samples, const std::byte* cell_panels, void* weights, int64_t weight_stride,
                     std::byte* scratch, int64_t slice) const {
  const int64_t rows = samples * mixtures_;
  const int64_t n = grid_.cells;
  const int64_t panel = kernels_.panel;
  cell_panels += static_cast<size_t>(slice) * slice_step();
  if (tiles_) {
    auto* coefficients = reinterpret_cast<uint16_t*>(scratch);
    const auto* panels = reinterpret_cast<const uint16_t*>(cell_panels);
    const int64_t term_blocks = cell_blocks(32);
    std::memset(coefficients, 0, tile_bytes(2 * blocks(rows, 32) * term_blocks));
    for_each_attention(attention, rows,
                       [&](int64_t row, int64_t j, float value) { coefficients[tile_place(row, j, term_blocks)] = bfloat16(value).bits; });
    mix_pieces(samples, 32, static_cast<uint16_t*>(weights), weight_stride,
               [&](int64_t first, int64_t count, const Piece& piece, uint16_t* const* rows_of_block) {
                 tiles_->combine(coefficients + first * term_blocks * 32, count, term_blocks,
                                 panels + piece.first_panel * panel * term_blocks * 32, piece.panels, rows_of_block, piece.step);
               });
    return;
  }
  auto* coefficients = reinterpret_cast<float*>(scratch);
  const auto* panels = reinterpret_cast<const float*>(cell_panels);
  // Blocks of nearly equal size: a block of two or three rows takes the time of one of four.
  const int64_t row_block = kernels_.row_block, even = blocks(rows, blocks(rows, row_block));
  for_each_attention(attention, rows, [&](int64_t row, int64_t j, float value) {
    coefficients[coefficient_place(row / even * row_block + row % even, j, n, row_block)] = value;
  });
  const auto mix_as = [&](auto* target, const auto& combine) {
    mix_pieces(samples, even, target, weight_stride, [&](int64_t first, int64_t count, const Piece& piece, auto* const* rows_of_block) {
      combine(coefficients + first / even * row_block * n, count, panels + piece.first_panel * n * panel, piece, rows_of_block);
    });
  };
  if (types_.weights == DataType::bfloat16) {
    mix_as(static_cast<uint16_t*>(weights), [&](const float* block, int64_t count, const float* from, const Piece& piece, auto* targets) {
      kernels_.combine_to_bfloat16(block, count, n, from, n * panel, piece.panels, targets, piece.step);
    });
  } else if (rounds()) {
    mix_as(static_cast<float*>(weights), [&](const float* block, int64_t count, const float* from, const Piece& piece, auto* targets) {
      kernels_.combine_rounded(block, count, n, from, n * panel, piece.panels, targets, piece.step);
    });
  } else {
    mix_as(static_cast<float*>(weights), [&](const float* block, int64_t count, const float* from, const Piece& piece, auto* targets) {
      kernels_.combine(block, count, n, from, n * panel, piece.panels, targets, piece.step, false);
    });
  }
}

// Calls combine(first row, rows, piece, their places) for all pieces and blocks of rows.
template <class Weight, class Combine>
void CellMixing::mix_pieces(int64_t samples, int64_t row_block, Weight* weights, int64_t weight_stride, const Combine& combine) const {
  const int64_t rows = samples * mixtures_;
  const int64_t panel = kernels_.panel;
  parallel_for(threads_for(samples), static_cast<int64_t>(pieces_.size()), 1, [&](int64_t begin, int64_t end) {
    Weight* targets[kMostRowBlock];
    alignas(64) Weight mixed[kMostRowBlock * kMostPanel];
    for (const Piece& piece : std::span(pieces_).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin))) {
      for (int64_t first = 0; first < rows; first += row_block) {
        const int64_t count = std::min(row_block, rows - first);
        const auto target = [&](int64_t row) { return weights + row / mixtures_ * weight_stride + mixture_offsets_[row % mixtures_]; };
        for (int64_t r = 0; r < count; ++r) targets[r] = piece.runs ? mixed + r * panel : target(first + r) + piece.offset;
        combine(first, count, piece, targets);
        for (int64_t r = 0; r < count && piece.runs; ++r) {
          Weight* to = target(first + r);
          for (const Run& run : std::span(runs_).subspan(piece.first_run, piece.runs)) {
            for (int32_t lane = 0; lane < run.length; ++lane) to[run.offset + lane] = mixed[r * panel + run.lane + lane];
          }
        }
      }
    }
  });
}

}  // namespace kw::cpu
