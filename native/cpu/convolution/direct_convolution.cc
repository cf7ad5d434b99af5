#include "cpu/convolution/direct_convolution.h"

#include <algorithm>
#include <utility>

#include "cpu/parallel.h"
#include "cpu/processor.h"
#include "cpu/simd/direct_convolution_kernels.h"

namespace kw::cpu {

namespace {

constexpr int64_t kPanel = 16;
constexpr int64_t kMostRows = 12;
constexpr int64_t kMostTaps = 64;
// With fewer channels the inner loop is too short to be fast.
constexpr int64_t kFewestChannels = 16;
// oneDNN is faster at 1x1 convolutions. Up to this many positions, sharing one weight layout among the layers of a warehouse gains more
// than that.
constexpr int64_t kFewPositions = 256;
// Input bytes that stay in a core's own cache while every panel of output channels reads them.
constexpr int64_t kBlockBytes = 192 << 10;

// Of the only instruction set that it serves.
const DirectConvolutionKernels& kernels() {
#ifdef KW_SIMD_X86
  return avx2::direct_convolution_kernels();
#else
  return baseline::direct_convolution_kernels();
#endif
}

std::array<int64_t, 2> pair(const std::vector<int64_t>& values) { return {values[0], values[1]}; }

}  // namespace

bool onednn_is_slow() { return instruction_set() >= InstructionSet::avx2 && onednn_instruction_set() < InstructionSet::avx512; }

bool DirectConvolution::serves(const ConvolutionGeometry& g, ConvolutionPass pass, const ConvolutionOptions& options) {
  const ConvolutionTypes& types = options.types;
  if (types.x != DataType::float32 || types.weight != DataType::float32 || types.y != DataType::float32) return false;
  if (!onednn_is_slow() || g.size.size() != 2 || g.groups != 1 || pass == ConvolutionPass::backward_weight) return false;
  const bool forward = pass == ConvolutionPass::forward;
  const int64_t channels = forward ? g.in_channels : g.out_channels;
  const int64_t out_channels = forward ? g.out_channels : g.in_channels;
  const int64_t taps = g.kernel[0] * g.kernel[1];
  if (channels < kFewestChannels || out_channels % kPanel != 0 || taps > kMostTaps) return false;
  if (taps == 1 && !(options.mixed && g.out_size[0] * g.out_size[1] <= kFewPositions)) return false;
  return !options.weight || *options.weight == weight_desc(g, pass);
}

DirectConvolution::DirectConvolution(const ConvolutionGeometry& g, ConvolutionPass pass, int threads, const ConvolutionOptions& options)
    : threads_(threads),
      forward_(pass == ConvolutionPass::forward),
      adds_(options.adds_to_y),
      least_(bounds_of(options.activation).least),
      most_(bounds_of(options.activation).most),
      batch_(g.batch),
      kernel_positions_(g.kernel[0] * g.kernel[1]),
      channels_(forward_ ? g.in_channels : g.out_channels),
      out_channels_(forward_ ? g.out_channels : g.in_channels),
      size_(pair(forward_ ? g.size : g.out_size)),
      out_size_(pair(forward_ ? g.out_size : g.size)),
      read_step_(forward_ ? pair(g.stride) : Pair{1, 1}),
      written_step_(forward_ ? Pair{1, 1} : pair(g.stride)),
      zeros_(static_cast<size_t>(channels_), 0.0f) {
  for (int64_t row = 0; row < std::min(written_step_[0], out_size_[0]); ++row) {
    for (int64_t column = 0; column < std::min(written_step_[1], out_size_[1]); ++column) {
      Positions positions{row,
                          column,
                          (out_size_[0] - row + written_step_[0] - 1) / written_step_[0],
                          (out_size_[1] - column + written_step_[1] - 1) / written_step_[1],
                          {}};
      for (int64_t tap = 0; tap < kernel_positions_; ++tap) {
        const int64_t down = tap / g.kernel[1] * g.dilation[0] - g.padding[0];
        const int64_t right = tap % g.kernel[1] * g.dilation[1] - g.padding[1];
        if (forward_) {
          positions.taps.push_back({tap, down, right});
        } else if ((row - down) % g.stride[0] == 0 && (column - right) % g.stride[1] == 0) {
          positions.taps.push_back({tap, (row - down) / g.stride[0], (column - right) / g.stride[1]});
        }
      }
      positions_.push_back(std::move(positions));
    }
  }
  const int64_t panels = out_channels_ / kPanel, outputs = out_size_[0] * out_size_[1];
  const int64_t input_bytes = size_[0] * size_[1] * channels_ * static_cast<int64_t>(sizeof(float));
  // Where samples and panels are too few for the threads, the positions are divided for them.
  const int64_t fewest = std::max(4 * threads_ / (batch_ * panels), panels > 1 ? (input_bytes + kBlockBytes - 1) / kBlockBytes : 1);
  blocks_ = std::clamp<int64_t>(fewest, 1, std::max<int64_t>(1, outputs / 48));
}

// Positions first..last of one panel of output channels.
void DirectConvolution::run_tiles(const Positions& positions, int64_t first, int64_t last, const float* input, const float* panel,
                                  const ConvolutionVectors& vectors, float* output) const {
  const float* inputs[kMostTaps * kMostRows];
  const float* weights[kMostTaps];
  float* outputs[kMostRows];
  const auto taps = static_cast<int64_t>(positions.taps.size());
  for (int64_t t = 0; t < taps; ++t) weights[t] = panel + positions.taps[static_cast<size_t>(t)].index * channels_ * kPanel;
  int64_t row = first / positions.columns, column = first % positions.columns;
  const int64_t tiles = (last - first + kernels().rows - 1) / kernels().rows;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    // Of nearly equal size: a tile of one row takes the time of one of four.
    const int64_t rows = range_begin(last - first, tiles, tile + 1) - range_begin(last - first, tiles, tile);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t out_row = positions.first_row + row * written_step_[0], out_column = positions.first_column + column * written_step_[1];
      outputs[r] = output + (out_row * out_size_[1] + out_column) * out_channels_;
      for (int64_t t = 0; t < taps; ++t) {
        const Tap& tap = positions.taps[static_cast<size_t>(t)];
        const int64_t in_row = row * read_step_[0] + tap.row, in_column = column * read_step_[1] + tap.column;
        const bool padding = in_row < 0 || in_row >= size_[0] || in_column < 0 || in_column >= size_[1];
        inputs[t * rows + r] = padding ? zeros_.data() : input + (in_row * size_[1] + in_column) * channels_;
      }
      if (++column == positions.columns) {
        column = 0;
        ++row;
      }
    }
    kernels().run({rows, taps, channels_, inputs, weights, vectors.bias, vectors.factor, vectors.shift, adds_, least_, most_, outputs});
  }
}

void DirectConvolution::run(const float* x, const float* weight, const float* y, const ConvolutionVectors& vectors) const noexcept {
  const float* input = forward_ ? x : y;
  auto* output = const_cast<float*>(forward_ ? y : x);
  const int64_t panels = out_channels_ / kPanel;
  const int64_t panel_elements = kernel_positions_ * channels_ * kPanel;
  const int64_t input_elements = size_[0] * size_[1] * channels_;
  const int64_t output_elements = out_size_[0] * out_size_[1] * out_channels_;
  parallel_for(threads_, batch_ * blocks_ * panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t sample = task / (blocks_ * panels), block = task / panels % blocks_, panel = task % panels;
      const auto from = [panel](const float* vector) { return vector ? vector + panel * kPanel : nullptr; };
      const ConvolutionVectors of_panel = {from(vectors.bias), from(vectors.factor), from(vectors.shift)};
      for (const Positions& positions : positions_) {
        const int64_t count = positions.rows * positions.columns;
        run_tiles(positions, range_begin(count, blocks_, block), range_begin(count, blocks_, block + 1), input + sample * input_elements,
                  weight + panel * panel_elements, of_panel, output + sample * output_elements + panel * kPanel);
      }
    }
  });
}

dnnl::memory::desc DirectConvolution::weight_desc(const ConvolutionGeometry& g, ConvolutionPass pass) {
  using Desc = dnnl::memory::desc;
  constexpr auto kTag = dnnl::memory::format_tag::Acdb16a;
  constexpr auto kType = dnnl::memory::data_type::f32;
  if (pass == ConvolutionPass::forward) return Desc({g.out_channels, g.in_channels, g.kernel[0], g.kernel[1]}, kType, kTag);
  return Desc({g.in_channels, g.out_channels, g.kernel[0], g.kernel[1]}, kType, kTag).permute_axes({1, 0, 2, 3});
}

}  // namespace kw::cpu
