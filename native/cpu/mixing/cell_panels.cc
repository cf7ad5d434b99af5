// The copies of a warehouse's cells that mixing reads.
#include <algorithm>
#include <cstring>
#include <span>
#include <string>

#include "cpu/bfloat16.h"
#include "cpu/converted_copy.h"
#include "cpu/mixing/mixing.h"
#include "cpu/mixing/mixing_memory.h"
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
  Panels(const KernelContext& context, const Tensor& tensor, size_t bytes) : tensor(tensor), state(context, tensor), data(bytes) {}
  const Tensor& tensor;
  CopyState state;
  AlignedFloats data;
};

void CellMixing::keep_cells(const KernelContext& context, const Tensor& cells, Use use) {
  const Format panels = rounds() ? Format::rounded_floats : Format::floats;
  format_ = !tiles_ ? panels : use == Use::mix ? Format::term_pairs : Format::column_pairs;
  const std::string order = plain_ ? "plain" : std::to_string(fingerprint(order_, slices_.parts, part_step()));
  const std::string key = "cells " + std::to_string(&cells - context.plan.tensors.data()) + " " + order + " " +
                          std::to_string(static_cast<int>(format_)) + " " + std::to_string(copy_bytes());
  kept_ = context.shared<Panels>(key, [&] {
    context.resources.prepared_bytes += copy_bytes();
    return new Panels(context, cells, copy_bytes());
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

size_t CellMixing::slice_step() const {
  return plain_ ? static_cast<size_t>(part_step() * grid_.cells) * sizeof(float) : part_bytes(format_);
}

const std::byte* CellMixing::cell_panels(const Memory& memory) {
  auto* panels = reinterpret_cast<std::byte*>(kept_->data.data());
  if (kept_->state.outdated(memory)) {
    const auto* cells = memory.data<float>(kept_->tensor);
    if (plain_) {
      fill_plain(cells, reinterpret_cast<float*>(panels));
    } else {
      for (int64_t part = 0; part < slices_.parts; ++part) {
        fill_part(cells + part * part_step(), format_, panels + static_cast<size_t>(part) * slice_step());
      }
    }
  }
  return panels;
}

void CellMixing::fill_plain(const float* cells, float* panels) const {
  const int64_t panel = kernels_.panel;
  for_each_strip(whole_cell(), [&](int64_t p, int64_t j, int64_t lanes) {
    float* to = panels + (p * grid_.cells + j) * panel;
    const float* from = cells + j * whole_cell() + p * panel;
    if (rounds()) {
      for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = kept_by_bfloat16(from[lane]);
    } else {
      std::memcpy(to, from, static_cast<size_t>(lanes) * sizeof(float));
    }
    for (int64_t lane = lanes; lane < panel; ++lane) to[lane] = 0;
  });
}

void CellMixing::fill_part(const float* cells, Format format, void* panels) const {
  const int64_t panel = kernels_.panel;
  if (tiles_) std::memset(panels, 0, part_bytes(format));
  for_each_strip(grid_.cell_elements(), [&](int64_t p, int64_t j, int64_t lanes) {
    const int32_t* order = order_.data() + p * panel;
    const float* from = cells + j * whole_cell();
    if (format == Format::floats || format == Format::rounded_floats) {
      float* to = static_cast<float*>(panels) + (p * grid_.cells + j) * panel;
      for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = from[order[lane]];
      if (format == Format::rounded_floats) {
        for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = kept_by_bfloat16(to[lane]);
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

// Several panels of one cell in a row: they lie in the same cache lines of the plain cell.
template <class Visit>
void CellMixing::for_each_strip(int64_t elements, const Visit& visit) const {
  constexpr int64_t kStrip = 16;
  const int64_t panel = kernels_.panel, panels = blocks(elements, panel);
  const int64_t grain = std::max<int64_t>(1, kElementsPerThread / (kStrip * panel * grid_.cells));
  parallel_for(threads_, blocks(panels, kStrip), grain, [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      for (int64_t j = 0; j < grid_.cells; ++j) {
        for (int64_t p = strip * kStrip; p < std::min((strip + 1) * kStrip, panels); ++p) {
          visit(p, j, std::min(panel, elements - p * panel));
        }
      }
    }
  });
}

}  // namespace kw::cpu
