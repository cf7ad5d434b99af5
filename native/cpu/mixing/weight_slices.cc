#include "cpu/mixing/weight_slices.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "cpu/parallel.h"

namespace kw::cpu {

namespace {

// Weights that do not stay in the cores' own caches are cut into slices of this many channels (or half, to give every thread one).
constexpr int64_t kSliceChannels = 64;

// Of one of the cores' own caches.
int64_t core_cache_bytes() {
#ifdef _SC_LEVEL2_CACHE_SIZE
  static const int64_t bytes = std::clamp<int64_t>(sysconf(_SC_LEVEL2_CACHE_SIZE), int64_t{256} << 10, int64_t{4} << 20);
  return bytes;
#else
  return int64_t{1} << 20;
#endif
}

}  // namespace

int64_t samples_of_chunk(int64_t samples, int64_t weight_bytes, int64_t threads, int64_t bytes) {
  const int64_t most = std::clamp(bytes / weight_bytes, std::min(threads, samples), samples);
  const int64_t rounded = std::max(most / threads * threads, std::min(threads, samples));
  if (most == samples) return samples;
  const int64_t chunks = (samples + rounded - 1) / rounded;
  const int64_t even = (samples + chunks - 1) / chunks;
  return std::min(rounded, (even + threads - 1) / threads * threads);
}

WeightSlicing weight_slicing(const ConvolutionGeometry& geometry, const CellGrid& grid, ConvolutionPass pass, DataType weights,
                             int threads) {
  if (geometry.groups != 1) return {};
  const auto axis = pass == ConvolutionPass::backward_input ? CellSlices::Axis::in : CellSlices::Axis::out;
  const int64_t channels = axis == CellSlices::Axis::in ? grid.cell_in : grid.cell_out;
  const int64_t bytes = geometry.batch * geometry.weight_elements() * element_bytes(weights);
  if (pass != ConvolutionPass::backward_weight && bytes > threads * core_cache_bytes()) {
    int64_t width = channels % kSliceChannels == 0 ? kSliceChannels : channels;
    if (channels / width % threads != 0 && width % kSliceChannels == 0) width /= 2;
    if (channels / width >= threads) return {{axis, channels / width}, true};
  }
  if (bytes <= kChunkBytes || channels % kSliceChannels != 0) return {};
  // One after the other, so that no cell is read twice.
  WeightSlicing slicing{{axis}};
  int64_t& parts = slicing.slices.parts;
  while (bytes / parts > kChunkBytes / 2 && channels % (2 * parts * kSliceChannels) == 0) parts *= 2;
  return slicing;
}

// At least what stays in the core's own cache; and enough samples for as many mixtures as there are cells, because reading all cells once
// more costs about as much as writing and reading as many elements of weights.
int64_t slice_bytes(const CellGrid& grid, int64_t weight_bytes, int threads) {
  const int64_t samples = (grid.cells + grid.mixtures() - 1) / grid.mixtures();
  return std::min(std::max(core_cache_bytes() / 2, samples * weight_bytes), kChunkBytes / threads);
}

ConvolutionGeometry band_geometry(ConvolutionGeometry geometry, const CellGrid& band) {
  geometry.in_channels = band.in_channels * geometry.groups;
  geometry.out_channels = band.out_channels;
  return geometry;
}

WeightOffsets slice_offsets(WeightOffsets band, CellSlices::Axis axis, int64_t bands, int64_t distance) {
  auto& channels = axis == CellSlices::Axis::out ? band.out : band.in;
  const std::vector<int64_t> first = channels;
  for (int64_t index = 1; index < bands; ++index) {
    for (const int64_t offset : first) channels.push_back(index * distance + offset);
  }
  return band;
}

size_t ActivationBand::bytes(int64_t samples) const {
  return activation_ ? static_cast<size_t>(samples * rows_of_sample() * row_bytes() + 63) / 64 * 64 : 0;
}

// Calls visit(row of the band, its place in `whole`) for all rows of these samples.
template <class Visit>
void ActivationBand::for_each_row(const Memory& memory, const Tensor& whole, int64_t first, int64_t samples, int64_t channel,
                                  const Visit& visit) const {
  const int64_t begin_row = first * rows_of_sample(), stride = whole.shape.back(), size = element_bytes(whole.type);
  auto* data = memory.data<std::byte>(whole) + (begin_row * stride + channel) * size;
  parallel_for(threads_, samples * rows_of_sample(), rows_per_thread(channels_), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) visit(row, data + row * stride * size);
  });
}

void ActivationBand::gather(const Memory& memory, const Tensor& whole, int64_t first, int64_t samples, int64_t channel,
                            std::byte* band) const {
  for_each_row(memory, whole, first, samples, channel,
               [&](int64_t row, const std::byte* from) { std::memcpy(band + row * row_bytes(), from, static_cast<size_t>(row_bytes())); });
}

void ActivationBand::spread(const Memory& memory, int64_t first, int64_t samples, int64_t channel, const std::byte* band) const {
  for_each_row(memory, *activation_, first, samples, channel,
               [&](int64_t row, std::byte* to) { std::memcpy(to, band + row * row_bytes(), static_cast<size_t>(row_bytes())); });
}

}  // namespace kw::cpu
