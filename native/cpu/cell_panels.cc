// The copies of a warehouse's cells that mixing reads, and dcells back from theirs.
#include <algorithm>
#include <cstring>
#include <span>
#include <string>

#include "cpu/bfloat16.h"
#include "cpu/converted_copy.h"
#include "cpu/mixing.h"
#include "cpu/mixing_memory.h"
#include "cpu/parallel.h"

namespace kw::cpu {

namespace {

// FNV-1a over the cell elements of all parts, in their order.
uint64_t fingerprint(std::span<const int32_t> order, int64_t parts, int64_t part_step) {
  uint64_t hash = 0xcbf29ce484222325;
  for (int64_t part = 0; part < parts; ++part) {
    for (const int32_t element : order) hash = (hash ^ static_cast<uint64_t>(element + part * part_step)) * 0x100000001b3;
  }
  return hash;
}

}  // namespace

struct CellMixing::Panels {
  Panels(const StepContext& context, const Tensor& tensor, size_t bytes) : tensor(tensor), state(context, tensor), data(bytes) {}
  const Tensor& tensor;
  CopyState state;
  AlignedFloats data;
};

void CellMixing::keep_cells(const StepContext& context, size_t input, Use use) {
  format_ = !tiles_ ? Format::floats : use == Use::mix ? Format::term_pairs : Format::column_pairs;
  const std::string key =
      "cells " + std::to_string(context.step.inputs[input]) + " " + std::to_string(fingerprint(order_, slices_.parts, part_step())) + " " +
      std::to_string(static_cast<int>(format_)) + " " + std::to_string(part_bytes(format_) * static_cast<size_t>(slices_.parts));
  kept_ = context.shared<Panels>(key, [&] {
    const size_t bytes = part_bytes(format_) * static_cast<size_t>(slices_.parts);
    context.resources.prepared_bytes += bytes;
    return new Panels(context, context.input(input), bytes);
  });
}

size_t CellMixing::part_bytes(Format format) const {
  switch (format) {
    case Format::term_pairs:
      return tile_bytes(panel_count_ * 2 * cell_blocks(32));
    case Format::column_pairs:
      return tile_bytes(panel_count_ * cell_blocks(16));
    default:
      return float_bytes(panel_count_ * grid_.cells * kernels_.panel);
  }
}

size_t CellMixing::dcell_part_bytes() const { return float_bytes(panel_count_ * dcell_rows() * kernels_.panel); }
size_t CellMixing::dcell_panel_bytes() const { return dcell_part_bytes() * static_cast<size_t>(slices_.parts); }

const std::byte* CellMixing::cell_panels(const Memory& memory) {
  auto* panels = reinterpret_cast<std::byte*>(kept_->data.data());
  if (kept_->state.outdated(memory)) {
    const auto* cells = memory.data<float>(kept_->tensor);
    for (int64_t part = 0; part < slices_.parts; ++part) {
      fill_part(cells + part * part_step(), format_, panels + static_cast<size_t>(part) * part_bytes(format_));
    }
  }
  return panels;
}

void CellMixing::fill_part(const float* cells, Format format, void* panels) const {
  const int64_t panel = kernels_.panel;
  if (format != Format::floats) std::memset(panels, 0, part_bytes(format));
  for_each_strip([&](int64_t p, int64_t j, int64_t lanes) {
    const int32_t* order = order_.data() + p * panel;
    const float* from = cells + j * whole_cell();
    if (format == Format::floats) {
      float* to = static_cast<float*>(panels) + (p * grid_.cells + j) * panel;
      if (in_order_[static_cast<size_t>(p)]) {
        std::memcpy(to, from + order[0], static_cast<size_t>(lanes) * sizeof(float));
      } else {
        for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = from[order[lane]];
      }
      for (int64_t lane = lanes; lane < panel; ++lane) to[lane] = 0;
    } else if (format == Format::term_pairs) {
      auto* to = static_cast<bfloat16*>(panels) + (p * cell_blocks(32) + j / 32) * 1024 + j % 32 / 2 * 32 + j % 2;
      for (int64_t lane = 0; lane < lanes; ++lane) to[lane / 16 * 512 + lane % 16 * 2] = bfloat16(from[order[lane]]);
    } else {
      auto* to = static_cast<bfloat16*>(panels) + (p * cell_blocks(16) + j / 16) * 512 + j % 16 * 2;
      for (int64_t lane = 0; lane < lanes; ++lane) to[lane / 2 * 32 + lane % 2] = bfloat16(from[order[lane]]);
    }
  });
}

void CellMixing::unpack(const float* panels, bool accumulate, float* cells) const {
  for (int64_t part = 0; part < slices_.parts; ++part) {
    unpack_part(panels + static_cast<size_t>(part) * dcell_part_bytes() / sizeof(float), accumulate, cells + part * part_step());
  }
}

void CellMixing::unpack_part(const float* panels, bool accumulate, float* cells) const {
  const int64_t panel = kernels_.panel;
  for_each_strip([&](int64_t p, int64_t j, int64_t lanes) {
    const int32_t* order = order_.data() + p * panel;
    const float* from = panels + (p * dcell_rows() + j) * panel;
    float* to = cells + j * whole_cell();
    if (in_order_[static_cast<size_t>(p)]) {
      to += order[0];
#pragma omp simd
      for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = accumulate ? to[lane] + from[lane] : from[lane];
    } else if (accumulate) {
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
  const int64_t panel = kernels_.panel;
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

}  // namespace kw::cpu
