#include "cuda/convolution/convolution.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "cuda/convolution/convolution_methods.h"
#include "cuda/convolution/library_convolution.h"
#include "cuda/element.h"
#include "cuda/kernel.h"
#include "ops/checks.h"

namespace kw::cuda {

namespace {

constexpr int64_t kMostElements = int64_t{1} << 31;
// Groups with fewer channels leave tiles of 64 so empty that they are slower than a thread for each element.
constexpr int64_t kLeastGroupWidth = 8;

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

template <class Pointer>
Pointer advanced(Pointer base, int64_t elements, DataType type) {
  return static_cast<const std::byte*>(base) + elements * element_bytes(type);
}

void* writable(const void* address) { return const_cast<void*>(address); }

// The convolution's axes as the last of three.
void fill_in_axes(const ConvolutionGeometry& geometry, device::ConvolutionAxis (&axes)[3]) {
  std::fill(std::begin(axes), std::end(axes), device::ConvolutionAxis{1, 1, 1, 1, 0, 1, 1});
  const size_t missing = 3 - geometry.kernel.size();
  for (size_t axis = 0; axis < geometry.kernel.size(); ++axis) {
    const auto number = [axis](const std::vector<int64_t>& values) { return static_cast<int>(values[axis]); };
    axes[missing + axis] = {number(geometry.size),
                            number(geometry.out_size),
                            number(geometry.kernel),
                            number(geometry.stride),
                            number(geometry.padding),
                            number(geometry.dilation),
                            std::gcd(number(geometry.stride), number(geometry.dilation))};
  }
}

int64_t positions_of(const ConvolutionGeometry& geometry) { return product(geometry.out_size); }

}  // namespace

Convolution::Convolution(const Device& gpu, const ConvolutionGeometry& geometry, ConvolutionPass pass, const ConvolutionOptions& options)
    : gpu_(gpu),
      geometry_(geometry),
      pass_(pass),
      options_(options),
      rounds_weights_(pass != ConvolutionPass::backward_weight && options.weights != options.activations) {
  for (const int64_t elements : {geometry.sample_elements(), geometry.out_sample_elements(), geometry.weight_elements()}) {
    if (elements >= kMostElements) {
      throw Error(ErrorCode::unsupported, "A convolution on a GPU takes samples and weights of less than 2^31 elements, and here are " +
                                              std::to_string(elements) + ": use smaller images");
    }
  }
  const int64_t in_width = geometry.in_channels / geometry.groups, out_width = geometry.out_channels / geometry.groups;
  by_tiles_ =
      (geometry.groups == 1 || std::min(in_width, out_width) >= kLeastGroupWidth) && has_room_for_taps(gpu, product(geometry.kernel));
  // Positions of the samples that share a weight are counted in 31 bits there.
  const int64_t images = options.shares_weight ? geometry.batch : 1;
  if (pass == ConvolutionPass::backward_weight && images * positions_of(geometry) >= kMostElements / 2) by_tiles_ = false;
  if (pass == ConvolutionPass::backward_weight) {
    // The positions can be divided, so that even one tile fills the GPU.
    tiles_.large = takes_large_tiles(gpu, options.activations, out_width, product(geometry.kernel) * in_width, kMostElements);
    tiles_.parts = choose_parts();
  } else {
    const bool backward = pass == ConvolutionPass::backward_input;
    tiles_ = plan_tiles(gpu, gather_problem(geometry.batch, backward), options.activations, backward);
  }
  library_ = LibraryConvolution::find(gpu, geometry, pass, options);
}

device::GatherProblem Convolution::gather_problem(int64_t samples, bool backward) const {
  device::GatherProblem problem{};
  fill_in_axes(geometry_, problem.axes);
  problem.groups = static_cast<int>(geometry_.groups);
  problem.depth = static_cast<int>((backward ? geometry_.out_channels : geometry_.in_channels) / geometry_.groups);
  problem.width = static_cast<int>((backward ? geometry_.in_channels : geometry_.out_channels) / geometry_.groups);
  problem.taps = static_cast<int>(product(geometry_.kernel));
  problem.weights = weights_in(samples);
  problem.images = samples / problem.weights;
  return problem;
}

device::WeightGradientProblem Convolution::gradient_problem(int64_t samples) const {
  device::WeightGradientProblem problem{};
  fill_in_axes(geometry_, problem.axes);
  problem.groups = static_cast<int>(geometry_.groups);
  problem.in_width = static_cast<int>(geometry_.in_channels / geometry_.groups);
  problem.out_width = static_cast<int>(geometry_.out_channels / geometry_.groups);
  problem.taps = static_cast<int>(product(geometry_.kernel));
  problem.weights = weights_in(samples);
  problem.images = samples / problem.weights;
  return problem;
}

// How many parts the positions are divided into, so that their sums keep the GPU busy and yet are few beside what they are sums of.
// Depends on the batch, not on a run's samples.
int64_t Convolution::choose_parts() const {
  const device::WeightGradientProblem problem = gradient_problem(geometry_.batch);
  const int64_t positions = problem.images * positions_of(geometry_);
  const auto parts = [](int64_t wanted, int64_t there, int64_t most) {
    return std::clamp<int64_t>(whole_parts(wanted, there), 1, std::max<int64_t>(most, 1));
  };
  if (has_depthwise_gradient(problem, options_.activations)) {
    return parts(int64_t{8} * gpu_.multiprocessors, depthwise_gradient_blocks(problem, options_.activations),
                 depthwise_gradient_strips(problem) / 128);
  }
  if (!by_tiles_) return parts(int64_t{1024} * gpu_.multiprocessors, problem.weights * geometry_.weight_elements(), positions / 64);
  const int64_t tile = tiles_.large ? 128 : 64, blocks_at_once = tiles_.large ? 2 : 5;
  const int64_t tiles = whole_parts(problem.out_width, tile) * whole_parts(int64_t{problem.taps} * problem.in_width, tile);
  return parts(blocks_at_once * gpu_.multiprocessors, tiles * geometry_.groups * problem.weights, positions / 256);
}

int64_t Convolution::portion() const {
  const int64_t bytes = geometry_.weight_elements() * element_bytes(DataType::bfloat16);
  return std::max<int64_t>(1, static_cast<int64_t>(gpu_.l2_bytes) / 2 / bytes);
}

size_t Convolution::gradient_bytes(int64_t samples) const {
  return tiles_.parts > 1 ? static_cast<size_t>(tiles_.parts * weights_in(samples) * geometry_.weight_elements()) * sizeof(float) : 0;
}

size_t Convolution::scratch_bytes(int64_t samples) const {
  const size_t library_bytes = library_ ? library_->scratch_bytes() : 0;
  if (pass_ == ConvolutionPass::backward_weight) return std::max(gradient_bytes(samples), library_bytes);
  const bool backward = pass_ == ConvolutionPass::backward_input;
  const device::GatherProblem problem = gather_problem(samples, backward);
  size_t bytes = by_tiles_ ? aligned(tiled_scratch_bytes(tiles_, problem, backward, options_.gives_means)) : 0;
  // Which of the methods is taken depends on the addresses, too.
  if (options_.gives_means && is_depthwise(problem, gpu_, options_.activations)) {
    bytes = std::max(bytes, aligned(depthwise_scratch_bytes(problem, options_.activations)));
  }
  bytes = std::max(bytes, aligned(library_bytes));
  if (rounds_weights_) {
    const int64_t weights = std::min(weights_in(samples), portion());
    bytes += aligned(static_cast<size_t>(weights * geometry_.weight_elements() * element_bytes(DataType::bfloat16)));
  }
  return bytes;
}

void Convolution::run(const ConvolutionRun& run, std::byte* scratch) const {
  if (pass_ == ConvolutionPass::backward_weight) return sum_gradient(run, scratch);
  if (!rounds_weights_) return gather(run, run.weight, run.weight_stride, scratch);
  const int64_t elements = geometry_.weight_elements();
  const int64_t portion = options_.shares_weight ? run.samples : std::min(run.samples, this->portion());
  std::byte* rounded = scratch;
  scratch += aligned(static_cast<size_t>(weights_in(portion) * elements * element_bytes(DataType::bfloat16)));
  for (int64_t first = 0; first < run.samples; first += portion) {
    ConvolutionRun some = run;
    some.samples = std::min(portion, run.samples - first);
    some.x = advanced(run.x, first * geometry_.sample_elements(), options_.activations);
    some.y = advanced(run.y, first * geometry_.out_sample_elements(), options_.activations);
    if (run.residual) some.residual = advanced(run.residual, first * geometry_.out_sample_elements(), options_.activations);
    if (run.means) some.means = run.means + first * geometry_.out_channels;
    const auto* weights = static_cast<const float*>(run.weight) + first * run.weight_stride;
    round_weights(gpu_, weights, weights_in(some.samples), elements, run.weight_stride, rounded);
    gather(some, rounded, elements, scratch);
  }
}

void Convolution::gather(const ConvolutionRun& run, const void* weight, int64_t weight_stride, std::byte* scratch) const {
  if (library_ && library_->run(run, weight, weight_stride, scratch)) return;
  const bool backward = pass_ == ConvolutionPass::backward_input;
  const DataType type = options_.activations;
  device::GatherProblem problem = gather_problem(run.samples, backward);
  problem.source = backward ? run.y : run.x;
  problem.weight = weight;
  problem.result = writable(backward ? run.x : run.y);
  problem.weight_stride = options_.shares_weight ? 0 : weight_stride;
  const ConvolutionNormalization& normalization = run.normalization;
  const Bounds bounds = bounds_of(options_.activation);
  problem.epilogue = {run.bias,           normalization.scale,    normalization.shift,
                      normalization.mean, normalization.variance, normalization.epsilon,
                      run.residual,       bounds.least,           bounds.most};
  if (is_depthwise(problem, gpu_, type)) {
    gather_depthwise(gpu_, problem, type, backward, run.means, scratch);
  } else if (by_tiles_) {
    gather_by_tiles(gpu_, tiles_, problem, type, backward, run.means, scratch);
  } else {
    gather_directly(gpu_, problem, type, backward);
    if (run.means) average_positions(gpu_, type, run.y, run.samples, positions_of(geometry_), geometry_.out_channels, run.means);
  }
}

void Convolution::sum_gradient(const ConvolutionRun& run, std::byte* scratch) const {
  if (library_ && library_->run(run, run.weight, run.weight_stride, scratch)) return;
  const DataType type = options_.activations;
  device::WeightGradientProblem problem = gradient_problem(run.samples);
  problem.x = run.x;
  problem.dy = run.y;
  problem.result = tiles_.parts > 1 ? static_cast<void*>(scratch) : writable(run.weight);
  problem.rounds = options_.weights == DataType::bfloat16;
  problem.weight_stride = run.weight_stride;
  problem.splits = static_cast<int>(tiles_.parts);
  const bool depthwise = has_depthwise_gradient(problem, type) && is_aligned(run.x) && is_aligned(run.y);
  const int64_t items = depthwise ? depthwise_gradient_strips(problem) : problem.images * positions_of(geometry_);
  problem.split_positions = whole_parts(items, tiles_.parts);
  if (depthwise) {
    weight_gradient_depthwise(gpu_, problem, type);
  } else if (by_tiles_) {
    weight_gradient_by_tiles(gpu_, problem, type, tiles_.large);
  } else {
    weight_gradient_directly(gpu_, problem, type);
  }
  if (tiles_.parts > 1) sum_parts(gpu_, problem, reinterpret_cast<const float*>(scratch), writable(run.weight));
}

void refuse_large(const KernelContext& context, const ConvolutionGeometry& geometry) {
  as_int(context, "samples", geometry.batch);
  as_int(context, "elements of a sample of x", geometry.sample_elements());
  as_int(context, "elements of a sample of y", geometry.out_sample_elements());
  as_int(context, "weights", geometry.weight_elements());
  for (size_t axis = 0; axis < geometry.kernel.size(); ++axis) {
    as_int(context, "pixels that a kernel with its dilation and padding spans",
           2 * (geometry.kernel[axis] * geometry.dilation[axis] + geometry.padding[axis] + geometry.size[axis]));
  }
}

void NormalizedEpilogue::fill_in(ConvolutionOptions& options) const {
  options.activation = of_.activation;
  options.gives_means = gives_means();
  options.adds_bias = of_.bias != nullptr;
  options.normalizes = true;
  options.adds_residual = of_.residual != nullptr;
}

void NormalizedEpilogue::fill_in(const Memory& memory, int64_t first_sample, ConvolutionRun& run) const {
  if (of_.bias) run.bias = memory.data<float>(*of_.bias);
  run.normalization = {memory.data<float>(of_.scale), memory.data<float>(of_.shift), memory.data<float>(of_.mean),
                       memory.data<float>(of_.variance), of_.epsilon};
  const Tensor& y = of_.y;
  if (of_.residual)
    run.residual = memory.data<std::byte>(*of_.residual) + first_sample * (y.elements() / y.shape.front()) * element_bytes(y.type);
  if (of_.means) run.means = memory.data<float>(*of_.means) + first_sample * of_.channels();
}

}  // namespace kw::cuda
