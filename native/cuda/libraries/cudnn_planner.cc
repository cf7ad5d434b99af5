#include "cuda/libraries/cudnn_planner.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "cuda/libraries/cudnn_descriptor.h"

namespace kw::cuda {

namespace {

// The graph's tensors.
enum Identifier : int64_t { kX = 1, kWeight, kY, kScale, kShift, kResidual, kFirstIntermediate };

// More than any list of cuDNN's has had.
constexpr size_t kMostConfigurations = 64;

cudnnDataType_t type_of(DataType type) { return type == DataType::bfloat16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT; }

// cuDNN's order of a tensor's axes is [N,C,spatial...]; strides tell where they lie.
struct Extent {
  std::vector<int64_t> sizes, strides;
};

Extent channels_last(int64_t images, const std::vector<int64_t>& spatial, int64_t channels) {
  Extent extent{{images, channels}, std::vector<int64_t>(spatial.size() + 2)};
  extent.sizes.insert(extent.sizes.end(), spatial.begin(), spatial.end());
  int64_t stride = channels;
  extent.strides[1] = 1;
  for (size_t axis = spatial.size(); axis-- > 0;) {
    extent.strides[axis + 2] = stride;
    stride *= spatial[axis];
  }
  extent.strides[0] = stride;
  return extent;
}

// cuDNN's graph of a request. Forward: convolution, then scale, shift, residual and activation, each where asked for, over tensors that are
// never in memory.
class Graph {
 public:
  Graph(const CudnnFunctions& cudnn, cudnnHandle_t handle, const ConvolutionRequest& request)
      : cudnn_(cudnn), request_(request), graph_(cudnn, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) {
    const ConvolutionGeometry& geometry = request.geometry;
    x_ = channels_last(geometry.batch, geometry.size, geometry.in_channels);
    y_ = channels_last(geometry.batch, geometry.out_size, geometry.out_channels);
    weight_ = channels_last(geometry.out_channels, geometry.kernel, geometry.in_channels / geometry.groups);
    request.pass == ConvolutionPass::forward ? add_forward() : add_backward();
    std::vector<cudnnBackendDescriptor_t> operations;
    for (const size_t operation : operations_) operations.push_back(parts_[operation].get());
    graph_.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle);
    graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operations);
    graph_.finish();
  }

  const CudnnDescriptor& descriptor() const { return graph_; }

 private:
  size_t add(cudnnBackendDescriptorType_t type) {
    parts_.emplace_back(cudnn_, type);
    return parts_.size() - 1;
  }

  size_t add_tensor(int64_t identifier, DataType type, const Extent& extent, bool is_virtual = false) {
    const size_t tensor = add(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    CudnnDescriptor& descriptor = parts_[tensor];
    descriptor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type_of(type));
    descriptor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, extent.sizes);
    descriptor.set(CUDNN_ATTR_TENSOR_STRIDES, extent.strides);
    descriptor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, identifier);
    descriptor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, static_cast<int64_t>(kLibraryAlignment));
    if (is_virtual) descriptor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
    descriptor.finish();
    return tensor;
  }

  size_t add_convolution() {
    const ConvolutionGeometry& geometry = request_.geometry;
    const size_t convolution = add(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    CudnnDescriptor& descriptor = parts_[convolution];
    descriptor.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, static_cast<int64_t>(geometry.kernel.size()));
    descriptor.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    descriptor.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
    descriptor.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, geometry.padding);
    descriptor.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, geometry.padding);
    descriptor.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, geometry.stride);
    descriptor.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, geometry.dilation);
    descriptor.finish();
    return convolution;
  }

  void add_forward() {
    const size_t x = add_tensor(kX, request_.activations, x_), weight = add_tensor(kWeight, request_.weights, weight_);
    remaining_ = int{request_.scales} + int{request_.shifts} + int{request_.adds_residual} + int{request_.activation != Activation::none};
    size_t result = add_result();
    const size_t convolution = add_convolution(), operation = add(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    CudnnDescriptor& descriptor = parts_[operation];
    descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f);
    descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f);
    descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, parts_[convolution]);
    descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, parts_[x]);
    descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, parts_[weight]);
    descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, parts_[result]);
    descriptor.finish();
    operations_.push_back(operation);

    const Extent channel = channels_last(1, std::vector<int64_t>(request_.geometry.kernel.size(), 1), request_.geometry.out_channels);
    if (request_.scales) result = combine(CUDNN_POINTWISE_MUL, result, add_tensor(kScale, DataType::float32, channel));
    if (request_.shifts) result = combine(CUDNN_POINTWISE_ADD, result, add_tensor(kShift, DataType::float32, channel));
    if (request_.adds_residual) result = combine(CUDNN_POINTWISE_ADD, result, add_tensor(kResidual, request_.activations, y_));
    if (request_.activation != Activation::none) activate(result);
  }

  // Where the next operation writes: y after the last one.
  size_t add_result() {
    if (remaining_-- == 0) return add_tensor(kY, request_.activations, y_);
    return add_tensor(kFirstIntermediate + remaining_, DataType::float32, y_, true);
  }

  size_t combine(cudnnPointwiseMode_t mode, size_t value, size_t with) {
    const size_t pointwise = add(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    parts_[pointwise].set(CUDNN_ATTR_POINTWISE_MODE, mode);
    parts_[pointwise].set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    parts_[pointwise].finish();
    return add_pointwise(pointwise, value, &with);
  }

  void activate(size_t value) {
    const Bounds bounds = bounds_of(request_.activation);
    const size_t pointwise = add(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    CudnnDescriptor& descriptor = parts_[pointwise];
    descriptor.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_RELU_FWD);
    descriptor.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    descriptor.set(CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, CUDNN_PROPAGATE_NAN);
    descriptor.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, double{bounds.least});
    if (request_.activation == Activation::relu6) descriptor.set(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, double{bounds.most});
    descriptor.finish();
    add_pointwise(pointwise, value, nullptr);
  }

  size_t add_pointwise(size_t pointwise, size_t value, const size_t* with) {
    const size_t result = add_result(), operation = add(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    CudnnDescriptor& descriptor = parts_[operation];
    descriptor.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, parts_[pointwise]);
    descriptor.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, parts_[value]);
    if (with) descriptor.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, parts_[*with]);
    descriptor.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, parts_[result]);
    descriptor.finish();
    operations_.push_back(operation);
    return result;
  }

  void add_backward() {
    const bool for_input = request_.pass == ConvolutionPass::backward_input;
    const size_t x = add_tensor(kX, request_.activations, x_), weight = add_tensor(kWeight, request_.weights, weight_);
    const size_t y = add_tensor(kY, request_.activations, y_), convolution = add_convolution();
    const size_t operation = add(for_input ? CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR
                                           : CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
    CudnnDescriptor& descriptor = parts_[operation];
    if (for_input) {
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1.0f);
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0.0f);
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, parts_[convolution]);
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, parts_[x]);
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, parts_[weight]);
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, parts_[y]);
    } else {
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 1.0f);
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 0.0f);
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, parts_[convolution]);
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, parts_[x]);
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, parts_[weight]);
      descriptor.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, parts_[y]);
    }
    descriptor.finish();
    operations_.push_back(operation);
  }

  const CudnnFunctions& cudnn_;
  const ConvolutionRequest request_;
  Extent x_, y_, weight_;
  std::vector<CudnnDescriptor> parts_;
  std::vector<size_t> operations_;  // among the parts
  int remaining_ = 0;               // operations after the one that is added
  CudnnDescriptor graph_;
};

class CudnnPlan final : public ConvolutionPlan {
 public:
  // Throws CudnnRefusal where the configuration does not serve.
  CudnnPlan(const CudnnFunctions& cudnn, cudnnHandle_t handle, const ConvolutionRequest& request, std::shared_ptr<const Graph> graph,
            CudnnDescriptor configuration)
      : cudnn_(cudnn),
        handle_(handle),
        request_(request),
        graph_(std::move(graph)),
        configuration_(std::move(configuration)),
        plan_(cudnn, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
    plan_.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle);
    plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration_);
    plan_.finish();
    workspace_bytes_ = static_cast<size_t>(plan_.integer(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
    if (workspace_bytes_ > kMostLibraryWorkspace) throw CudnnRefusal("it needs too much memory");
  }

  size_t workspace_bytes() const override { return workspace_bytes_; }

  bool run(const ConvolutionOperands& operands, void* workspace) const override {
    if (refused_) return false;
    std::vector<int64_t> identifiers = {kX, kWeight, kY};
    std::vector<const void*> addresses = {operands.x, operands.weight, operands.y};
    const auto bind = [&](bool is_bound, Identifier identifier, const void* address) {
      if (!is_bound) return;
      identifiers.push_back(identifier);
      addresses.push_back(address);
    };
    bind(request_.scales, kScale, operands.scale);
    bind(request_.shifts, kShift, operands.shift);
    bind(request_.adds_residual, kResidual, operands.residual);
    try {
      CudnnDescriptor pack(cudnn_, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
      pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, identifiers);
      pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, addresses);
      pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace_bytes_ > 0 ? workspace : nullptr);
      pack.finish();
      check(cudnn_, cudnn_.cudnnBackendExecute(handle_, plan_.get(), pack.get()));
    } catch (const CudnnRefusal&) {
      refused_ = true;
    }
    return !refused_;
  }

 private:
  const CudnnFunctions& cudnn_;
  const cudnnHandle_t handle_;
  const ConvolutionRequest request_;
  const std::shared_ptr<const Graph> graph_;
  const CudnnDescriptor configuration_;
  CudnnDescriptor plan_;
  size_t workspace_bytes_ = 0;
  mutable std::atomic<bool> refused_ = false;
};

class CudnnPlanner final : public ConvolutionPlanner {
 public:
  CudnnPlanner(const CudnnFunctions& cudnn, void* stream, bool tf32) : cudnn_(cudnn), tf32_(tf32) {
    check(cudnn, cudnn.cudnnCreate(&handle_));
    if (cudnn.cudnnSetStream(handle_, static_cast<cudaStream_t>(stream)) == CUDNN_STATUS_SUCCESS) return;
    cudnn.cudnnDestroy(handle_);
    throw CudnnRefusal("it does not take the stream");
  }
  ~CudnnPlanner() override { cudnn_.cudnnDestroy(handle_); }
  CudnnPlanner(const CudnnPlanner&) = delete;
  CudnnPlanner& operator=(const CudnnPlanner&) = delete;

  // Only engines on tensor cores. For float32 in this layout cuDNN 9 is expected to reorder all tensors first, or to fall back on engines
  // of last resort; nobody has timed them against our kernels yet.
  std::unique_ptr<ConvolutionPlan> plan(const ConvolutionRequest& request) override {
    if (request.activations == DataType::float32 && !tf32_) return nullptr;
    try {
      const auto graph = std::make_shared<const Graph>(cudnn_, handle_, request);
      for (CudnnDescriptor& configuration : configurations(*graph)) {
        if (!may_be_used(configuration)) continue;
        try {
          return std::make_unique<CudnnPlan>(cudnn_, handle_, request, graph, std::move(configuration));
        } catch (const CudnnRefusal&) {
          continue;
        }
      }
    } catch (const CudnnRefusal&) {
    }
    return nullptr;
  }

 private:
  // The fastest first, as cuDNN guesses.
  std::vector<CudnnDescriptor> configurations(const Graph& graph) const {
    CudnnDescriptor heuristics(cudnn_, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.descriptor());
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_HEUR_MODE_A);
    heuristics.finish();
    return heuristics.descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, kMostConfigurations);
  }

  bool may_be_used(const CudnnDescriptor& configuration) const {
    const auto engines = configuration.descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
    if (engines.empty()) return false;
    const auto notes = engines[0].values<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                                                      CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
    const auto has = [&](cudnnBackendNumericalNote_t note) { return std::find(notes.begin(), notes.end(), note) != notes.end(); };
    // Sums whose order changes, or that lose more than a sum in order does, are not for us.
    return has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE) && !has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) &&
           !has(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) && !has(CUDNN_NUMERICAL_NOTE_FFT) && !has(CUDNN_NUMERICAL_NOTE_WINOGRAD);
  }

  const CudnnFunctions& cudnn_;
  const bool tf32_;
  cudnnHandle_t handle_ = nullptr;
};

}  // namespace

std::unique_ptr<ConvolutionPlanner> make_cudnn_planner(const CudnnFunctions& functions, void* stream, bool tf32) {
  try {
    return std::make_unique<CudnnPlanner>(functions, stream, tf32);
  } catch (const CudnnRefusal&) {
    return nullptr;
  }
}

}  // namespace kw::cuda
