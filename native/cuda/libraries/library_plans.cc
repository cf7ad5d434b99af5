#include "cuda/libraries/library_plans.h"

#include <nlohmann/json.hpp>
#ifdef KW_WITH_CUDNN
#include "cuda/libraries/cudnn_planner.h"
#endif
#ifdef KW_WITH_CUBLAS
#include "cuda/libraries/cublas_lt_planner.h"
#endif

namespace kw::cuda {

namespace {

std::unique_ptr<ConvolutionPlanner> open_cudnn([[maybe_unused]] void* stream, [[maybe_unused]] bool tf32) {
#ifdef KW_WITH_CUDNN
  if (const CudnnFunctions* functions = cudnn_functions()) return make_cudnn_planner(*functions, stream, tf32);
#endif
  return nullptr;
}

std::unique_ptr<ProductPlanner> open_cublas_lt([[maybe_unused]] void* stream, [[maybe_unused]] bool tf32) {
#ifdef KW_WITH_CUBLAS
  if (const CublasLtFunctions* functions = cublas_lt_functions()) return make_cublas_lt_planner(*functions, stream, tf32);
#endif
  return nullptr;
}

}  // namespace

std::string ConvolutionRequest::key() const {
  return nlohmann::json({pass, activations, weights, scales, shifts, adds_residual, activation, geometry.batch, geometry.in_channels,
                         geometry.out_channels, geometry.groups, geometry.size, geometry.kernel, geometry.stride, geometry.padding,
                         geometry.dilation})
      .dump();
}

std::string ProductRequest::key() const {
  return nlohmann::json({rows, columns, inner, transpose_a, transpose_b, operands, result, adds_bias, batches}).dump();
}

std::shared_ptr<const ConvolutionPlan> LibraryPlans::find(const ConvolutionRequest& request) {
  if (!has_looked_for_cudnn_) convolutions_ = open_cudnn(stream_, tf32_);
  has_looked_for_cudnn_ = true;
  if (!convolutions_) return nullptr;
  const auto [entry, is_new] = convolution_plans_.try_emplace(request.key());
  if (is_new) entry->second = convolutions_->plan(request);
  return entry->second;
}

std::shared_ptr<const ProductPlan> LibraryPlans::find(const ProductRequest& request) {
  if (!has_looked_for_cublas_lt_) products_ = open_cublas_lt(stream_, tf32_);
  has_looked_for_cublas_lt_ = true;
  if (!products_) return nullptr;
  const auto [entry, is_new] = product_plans_.try_emplace(request.key());
  if (is_new) entry->second = products_->plan(request);
  return entry->second;
}

}  // namespace kw::cuda
