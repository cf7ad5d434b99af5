#include "cuda/convolution/library_convolution.h"

#include <algorithm>

#include "cuda/grid.h"
#include "cuda/kernels/convolution_problem.cuh"
#include "cuda/kernels/folded_normalization.cuh"
#include "cuda/launch.h"
#include "ops/checks.h"

namespace kw::cuda {

namespace {

// Products of fewer rows than this for each sample are left to our kernels: the library's tiles would be mostly empty.
constexpr int64_t kLeastPositions = 196;

// Whether an output's position sees one position of the input, the same one.
bool is_pointwise(const ConvolutionGeometry& geometry) {
  const auto all = [](const std::vector<int64_t>& values, int64_t value) {
    return std::all_of(values.begin(), values.end(), [value](int64_t other) { return other == value; });
  };
  return all(geometry.kernel, 1) && all(geometry.stride, 1) && all(geometry.padding, 0);
}

bool is_aligned(int64_t elements, DataType type) { return elements * element_bytes(type) % static_cast<int64_t>(kLibraryAlignment) == 0; }

}  // namespace

std::unique_ptr<LibraryConvolution> LibraryConvolution::find(const Device& gpu, const ConvolutionGeometry& geometry, ConvolutionPass pass,
                                                             const ConvolutionOptions& options) {
  if (!gpu.libraries || geometry.groups != 1 || options.gives_means || geometry.sample_elements() == 0 || geometry.batch == 0)
    return nullptr;
  std::unique_ptr<LibraryConvolution> found(new LibraryConvolution(gpu, geometry, pass, options));
  const bool ends_plainly = !options.normalizes && !options.adds_residual && options.activation == Activation::none;
  const bool is_aligned_row =
      is_aligned(geometry.in_channels, options.activations) && is_aligned(geometry.out_channels, options.activations);
  if (is_pointwise(geometry) && ends_plainly && is_aligned_row &&
      (options.shares_weight || product(geometry.out_size) >= kLeastPositions)) {
    found->product_ = gpu.libraries->find(found->product_request());
  }
  if (!found->product_ && options.shares_weight) found->convolution_ = gpu.libraries->find(found->convolution_request());
  return found->product_ || found->convolution_ ? std::move(found) : nullptr;
}

// Forward y = x transposed(weight), for its input dx = dy weight, for its weight dweight = transposed(dy) x.
ProductRequest LibraryConvolution::product_request() const {
  const int64_t rows = product(geometry_.out_size) * (options_.shares_weight ? geometry_.batch : 1);
  ProductRequest request;
  request.operands = request.result = options_.activations;
  request.batches = options_.shares_weight ? 1 : geometry_.batch;
  switch (pass_) {
    case ConvolutionPass::forward:
      request.rows = rows, request.columns = geometry_.out_channels, request.inner = geometry_.in_channels;
      request.transpose_b = true;
      request.adds_bias = options_.adds_bias;
      break;
    case ConvolutionPass::backward_input:
      request.rows = rows, request.columns = geometry_.in_channels, request.inner = geometry_.out_channels;
      break;
    case ConvolutionPass::backward_weight:
      request.rows = geometry_.out_channels, request.columns = geometry_.in_channels, request.inner = rows;
      request.transpose_a = true;
      request.result = options_.weights;
      break;
  }
  return request;
}

ConvolutionRequest LibraryConvolution::convolution_request() const {
  return {.pass = pass_,
          .geometry = geometry_,
          .activations = options_.activations,
          .weights = pass_ == ConvolutionPass::backward_weight ? options_.weights : options_.activations,
          .scales = options_.normalizes,
          .shifts = options_.normalizes || options_.adds_bias,
          .adds_residual = options_.adds_residual,
          .activation = options_.activation};
}

size_t LibraryConvolution::factor_bytes() const { return options_.normalizes ? 2 * row_bytes() : 0; }

size_t LibraryConvolution::row_bytes() const { return (static_cast<size_t>(geometry_.out_channels) * sizeof(float) + 63) / 64 * 64; }

size_t LibraryConvolution::scratch_bytes() const {
  return product_ ? product_->workspace_bytes() : factor_bytes() + convolution_->workspace_bytes();
}

bool LibraryConvolution::run(const ConvolutionRun& run, const void* weight, int64_t weight_stride, std::byte* scratch) const {
  if (!takes(run, weight, weight_stride)) return false;
  return product_ ? multiply(run, weight, weight_stride, scratch) : convolve(run, weight, scratch);
}

bool LibraryConvolution::takes(const ConvolutionRun& run, const void* weight, int64_t weight_stride) const {
  const bool ends_as_planned = (run.bias != nullptr) == options_.adds_bias && (run.normalization.scale != nullptr) == options_.normalizes &&
                               (run.residual != nullptr) == options_.adds_residual && !run.means;
  if (!ends_as_planned || (options_.shares_weight && run.samples != geometry_.batch)) return false;
  // A library may write y before it has read all of the residual.
  if (run.residual == run.y) return false;
  if (!is_library_aligned({run.x, weight, run.y, run.bias, run.residual})) return false;
  const DataType weights = pass_ == ConvolutionPass::backward_weight ? options_.weights : options_.activations;
  return options_.shares_weight || is_aligned(weight_stride, weights);
}

bool LibraryConvolution::multiply(const ConvolutionRun& run, const void* weight, int64_t weight_stride, std::byte* scratch) const {
  const int64_t x_stride = geometry_.sample_elements(), y_stride = geometry_.out_sample_elements();
  const int64_t batches = options_.shares_weight ? 1 : run.samples;
  switch (pass_) {
    case ConvolutionPass::forward:
      return product_->run({run.x, weight, run.y, run.bias, batches, x_stride, weight_stride, y_stride}, scratch);
    case ConvolutionPass::backward_input:
      return product_->run({run.y, weight, run.x, nullptr, batches, y_stride, weight_stride, x_stride}, scratch);
    case ConvolutionPass::backward_weight:
      return product_->run({run.y, run.x, weight, nullptr, batches, y_stride, x_stride, weight_stride}, scratch);
  }
  return false;
}

bool LibraryConvolution::convolve(const ConvolutionRun& run, const void* weight, std::byte* scratch) const {
  ConvolutionOperands operands = {run.x, weight, run.y, nullptr, run.bias, run.residual};
  if (options_.normalizes) {
    const ConvolutionNormalization& normalization = run.normalization;
    device::ConvolutionEpilogue epilogue{};
    epilogue.bias = run.bias, epilogue.scale = normalization.scale, epilogue.shift = normalization.shift;
    epilogue.mean = normalization.mean, epilogue.variance = normalization.variance, epilogue.epsilon = normalization.epsilon;
    float *scale = reinterpret_cast<float*>(scratch), *shift = reinterpret_cast<float*>(scratch + row_bytes());
    launch(device::fold_normalization, pass_grid(gpu_, geometry_.out_channels), kPassThreads, 0, gpu_.stream, epilogue,
           static_cast<int>(geometry_.out_channels), scale, shift);
    operands.scale = scale, operands.shift = shift;
  }
  return convolution_->run(operands, scratch + factor_bytes());
}

}  // namespace kw::cuda
