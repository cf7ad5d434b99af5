// Stands in for libcudnn.so.9: the functions that native/cuda/libraries/cudnn_planner.cc calls. Its engines but one are traps: they are
// offered first, and none of them may be run.
#include <cudnn.h>

#include <cmath>
#include <cstring>
#include <map>
#include <memory>

#include "state.h"

namespace {

using namespace kw::stand_ins;

State* state = nullptr;
void* stream = nullptr;

cudnnStatus_t complain(const std::string& what) {
  state->complaints.push_back("cuDNN: " + what);
  return CUDNN_STATUS_BAD_PARAM;
}

struct Attribute {
  cudnnBackendAttributeType_t type;
  int64_t count;
  std::vector<char> bytes;
};

// One descriptor of any type, with what was set.
struct Descriptor {
  cudnnBackendDescriptorType_t type;
  std::map<int, Attribute> attributes = {};
  bool is_finished = false;
  int engine = 0;                     // of configurations, engines and plans
  const Descriptor* graph = nullptr;  // of configurations and plans

  bool has(int name) const { return attributes.count(name) > 0; }
  template <class T>
  std::vector<T> list(int name) const {
    const auto found = attributes.find(name);
    if (found == attributes.end()) return {};
    const auto* first = reinterpret_cast<const T*>(found->second.bytes.data());
    return std::vector<T>(first, first + found->second.bytes.size() / sizeof(T));
  }
  template <class T>
  T one(int name) const {
    const std::vector<T> values = list<T>(name);
    return values.size() == 1 ? values[0] : T{};
  }
  const Descriptor* child(int name) const { return one<const Descriptor*>(name); }
};

Descriptor* behind(cudnnBackendDescriptor_t handle) { return static_cast<Descriptor*>(handle); }

size_t bytes_of(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_BOOLEAN:
      return sizeof(bool);
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
      return 8;
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
      return sizeof(void*);
    default:  // enumerations, float
      return 4;
  }
}

// The engines on offer, in their order.
enum Engine { kChanging = 1, kWithoutTensorCores, kTooLarge, kUnable, kGood };
constexpr int64_t kWorkspace = 192;

// ---- what a graph computes ----

struct View {
  std::vector<int64_t> sizes, strides;
  int64_t identifier;
  bool is_virtual;
  cudnnDataType_t type;
};

View view(const Descriptor& tensor) {
  return {tensor.list<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS), tensor.list<int64_t>(CUDNN_ATTR_TENSOR_STRIDES),
          tensor.one<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID), tensor.one<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL),
          tensor.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE)};
}

bool is_channels_last(const View& tensor) {
  if (tensor.sizes.size() < 4 || tensor.sizes.size() != tensor.strides.size() || tensor.strides[1] != 1) return false;
  int64_t stride = tensor.sizes[1];
  for (size_t axis = tensor.sizes.size(); axis-- > 2;) {
    if (tensor.strides[axis] != stride) return false;
    stride *= tensor.sizes[axis];
  }
  return tensor.strides[0] == stride;
}

// Values of a graph's tensors: those of the caller in his memory, the others here.
struct Memory {
  std::map<int64_t, void*> addresses;
  std::map<int64_t, std::vector<float>> intermediates;

  float* intermediate(const View& tensor) {
    std::vector<float>& values = intermediates[tensor.identifier];
    values.resize(static_cast<size_t>(tensor.sizes[0] * tensor.strides[0]));
    return values.data();
  }
  Elements elements(const View& tensor) {
    if (tensor.is_virtual) return {intermediate(tensor), false};
    return {addresses.at(tensor.identifier), tensor.type == CUDNN_DATA_BFLOAT16};
  }
};

int64_t offset(const View& tensor, int64_t first, int64_t second, const std::vector<int64_t>& at) {
  int64_t offset = first * tensor.strides[0] + second * tensor.strides[1];
  for (size_t axis = 0; axis < at.size(); ++axis) offset += at[axis] * tensor.strides[axis + 2];
  return offset;
}

// Calls body(position) for every position of the spatial axes of `tensor`.
template <class Body>
void for_positions(const View& tensor, const Body& body) {
  std::vector<int64_t> at(tensor.sizes.size() - 2, 0);
  for (bool goes_on = true; goes_on;) {
    body(at);
    goes_on = false;
    for (size_t axis = at.size(); axis-- > 0 && !goes_on;) {
      goes_on = ++at[axis] < tensor.sizes[axis + 2];
      if (!goes_on) at[axis] = 0;
    }
  }
}

struct Convolution {
  View x, weight, y;
  std::vector<int64_t> stride, padding, dilation;

  // Calls body(x's offset, weight's offset, y's offset) for every product that the convolution is a sum of.
  template <class Body>
  void for_products(const Body& body) const {
    for (int64_t image = 0; image < y.sizes[0]; ++image) {
      for_positions(y, [&](const std::vector<int64_t>& to) {
        for_positions(weight, [&](const std::vector<int64_t>& tap) {
          std::vector<int64_t> from(to.size());
          for (size_t axis = 0; axis < to.size(); ++axis) {
            from[axis] = to[axis] * stride[axis] + tap[axis] * dilation[axis] - padding[axis];
            if (from[axis] < 0 || from[axis] >= x.sizes[axis + 2]) return;
          }
          for (int64_t out = 0; out < y.sizes[1]; ++out) {
            for (int64_t in = 0; in < x.sizes[1]; ++in)
              body(offset(x, image, in, from), offset(weight, out, in, tap), offset(y, image, out, to));
          }
        });
      });
    }
  }
};

struct ConvolutionNames {
  cudnnBackendDescriptorType_t type;
  int description, x, weight, y, alpha, beta;
};
constexpr ConvolutionNames kConvolutions[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};

const ConvolutionNames* names_of(const Descriptor& operation) {
  for (const ConvolutionNames& names : kConvolutions) {
    if (names.type == operation.type) return &names;
  }
  return nullptr;
}

Convolution convolution(const Descriptor& operation, const ConvolutionNames& names) {
  const Descriptor& description = *operation.child(names.description);
  return {view(*operation.child(names.x)),
          view(*operation.child(names.weight)),
          view(*operation.child(names.y)),
          description.list<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES),
          description.list<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS),
          description.list<int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS)};
}

void convolve(const Descriptor& operation, const ConvolutionNames& names, Memory& memory) {
  const Convolution all = convolution(operation, names);
  const Elements x = memory.elements(all.x), weight = memory.elements(all.weight), y = memory.elements(all.y);
  const bool forward = names.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
  const bool for_input = names.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
  const View& to = forward ? all.y : for_input ? all.x : all.weight;
  std::vector<double> sums(static_cast<size_t>(to.sizes[0] * to.strides[0]), 0.0);
  all.for_products([&](int64_t at_x, int64_t at_weight, int64_t at_y) {
    const double one = forward || !for_input ? x.read(at_x) : y.read(at_y);
    const double other = forward || for_input ? weight.read(at_weight) : y.read(at_y);
    sums[static_cast<size_t>(forward ? at_y : for_input ? at_x : at_weight)] += one * other;
  });
  const Elements result = forward ? y : for_input ? x : weight;
  for (size_t i = 0; i < sums.size(); ++i) result.write(static_cast<int64_t>(i), static_cast<float>(sums[i]));
}

void apply_pointwise(const Descriptor& operation, Memory& memory) {
  const Descriptor& description = *operation.child(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
  const auto mode = description.one<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE);
  const View x = view(*operation.child(CUDNN_ATTR_OPERATION_POINTWISE_XDESC)),
             y = view(*operation.child(CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
  const Elements from = memory.elements(x), to = memory.elements(y);
  const Descriptor* second = operation.child(CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
  const double lower = description.one<double>(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP);
  const double upper =
      description.has(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP) ? description.one<double>(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP) : HUGE_VAL;
  for (int64_t image = 0; image < y.sizes[0]; ++image) {
    for_positions(y, [&](const std::vector<int64_t>& at) {
      for (int64_t channel = 0; channel < y.sizes[1]; ++channel) {
        float value = from.read(offset(x, image, channel, at));
        if (second) {
          const View operand = view(*second);
          const bool is_whole = operand.sizes == y.sizes;
          const float with = memory.elements(operand).read(is_whole ? offset(operand, image, channel, at) : channel);
          value = mode == CUDNN_POINTWISE_MUL ? value * with : value + with;
        } else {
          if (value < lower) value = static_cast<float>(lower);
          if (value > upper) value = static_cast<float>(upper);
        }
        to.write(offset(y, image, channel, at), value);
      }
    });
  }
}

// ---- what must be right before a descriptor is finished ----

bool is_finished(const Descriptor& descriptor, std::initializer_list<int> children) {
  for (const int name : children) {
    if (!descriptor.child(name) || !descriptor.child(name)->is_finished) return false;
  }
  return true;
}

cudnnStatus_t check_tensor(const Descriptor& tensor) {
  const View all = view(tensor);
  if (!is_channels_last(all)) return complain("a tensor that is not channels-last");
  if (all.type != CUDNN_DATA_FLOAT && all.type != CUDNN_DATA_BFLOAT16) return complain("a tensor's type");
  if (all.is_virtual && all.type != CUDNN_DATA_FLOAT) return complain("an intermediate that is not float32");
  if (tensor.one<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT) != 16) return complain("a tensor's alignment");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_description(const Descriptor& description) {
  const auto dimensions = static_cast<size_t>(description.one<int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS));
  const auto padding = description.list<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS);
  if (dimensions < 2 || dimensions > 3 || padding.size() != dimensions ||
      padding != description.list<int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS) ||
      description.list<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES).size() != dimensions ||
      description.list<int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS).size() != dimensions)
    return complain("a convolution's axes");
  if (!description.has(CUDNN_ATTR_CONVOLUTION_COMP_TYPE) ||
      description.one<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE) != CUDNN_DATA_FLOAT)
    return complain("sums that are not float32");
  if (description.one<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE) != CUDNN_CROSS_CORRELATION)
    return complain("a flipped kernel");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_convolution(const Descriptor& operation, const ConvolutionNames& names) {
  if (!is_finished(operation, {names.description, names.x, names.weight, names.y})) return complain("a convolution with missing parts");
  if (operation.one<float>(names.alpha) != 1 || operation.one<float>(names.beta) != 0) return complain("alpha or beta");
  const Convolution all = convolution(operation, names);
  bool fits = all.x.sizes[0] == all.y.sizes[0] && all.weight.sizes[0] == all.y.sizes[1] && all.weight.sizes[1] == all.x.sizes[1];
  for (size_t axis = 0; axis < all.stride.size(); ++axis) {
    const int64_t span = all.x.sizes[axis + 2] + 2 * all.padding[axis] - (all.weight.sizes[axis + 2] - 1) * all.dilation[axis] - 1;
    fits = fits && all.y.sizes[axis + 2] == span / all.stride[axis] + 1;
  }
  return fits ? CUDNN_STATUS_SUCCESS : complain("a convolution's sizes");
}

cudnnStatus_t check_pointwise(const Descriptor& operation) {
  if (!is_finished(operation, {CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
                               CUDNN_ATTR_OPERATION_POINTWISE_YDESC}))
    return complain("a pointwise operation with missing parts");
  const Descriptor& description = *operation.child(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
  const auto mode = description.one<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE);
  const bool is_binary = mode == CUDNN_POINTWISE_MUL || mode == CUDNN_POINTWISE_ADD;
  if (!is_binary && mode != CUDNN_POINTWISE_RELU_FWD) return complain("a pointwise operation");
  if (is_binary != operation.has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC)) return complain("a second operand, wrongly");
  return CUDNN_STATUS_SUCCESS;
}

// Every tensor of a graph that is not virtual.
std::map<int64_t, View> bound_tensors(const Descriptor& graph) {
  std::map<int64_t, View> tensors;
  for (const Descriptor* operation : graph.list<const Descriptor*>(CUDNN_ATTR_OPERATIONGRAPH_OPS)) {
    for (const auto& [name, attribute] : operation->attributes) {
      if (attribute.type != CUDNN_TYPE_BACKEND_DESCRIPTOR || operation->child(name)->type != CUDNN_BACKEND_TENSOR_DESCRIPTOR) continue;
      const View tensor = view(*operation->child(name));
      if (!tensor.is_virtual) tensors[tensor.identifier] = tensor;
    }
  }
  return tensors;
}

cudnnStatus_t check_to_finish(Descriptor& descriptor) {
  if (const ConvolutionNames* names = names_of(descriptor)) return check_convolution(descriptor, *names);
  switch (descriptor.type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
      return check_tensor(descriptor);
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR:
      return check_description(descriptor);
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
      return check_pointwise(descriptor);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
      return descriptor.has(CUDNN_ATTR_OPERATIONGRAPH_HANDLE) && descriptor.has(CUDNN_ATTR_OPERATIONGRAPH_OPS)
                 ? CUDNN_STATUS_SUCCESS
                 : complain("a graph with missing parts");
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR: {
      if (!is_finished(descriptor, {CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG}) || !descriptor.has(CUDNN_ATTR_EXECUTION_PLAN_HANDLE))
        return complain("a plan with missing parts");
      const Descriptor& configuration = *descriptor.child(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
      descriptor.engine = configuration.engine;
      descriptor.graph = configuration.graph;
      return configuration.engine == kUnable ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
    }
    default:
      return CUDNN_STATUS_SUCCESS;
  }
}

cudnnStatus_t give_integer(int64_t value, int64_t* count, void* to) {
  *count = 1;
  std::memcpy(to, &value, sizeof value);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t give_configurations(const Descriptor& heuristics, int64_t requested, int64_t* count, void* to) {
  if (heuristics.one<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE) != CUDNN_HEUR_MODE_A) return complain("a mode of heuristics");
  if (requested < kGood) return complain("too few configurations");
  auto** descriptors = static_cast<Descriptor**>(to);
  for (*count = 0; *count < kGood; ++*count) {
    Descriptor& configuration = *descriptors[*count];
    if (configuration.type != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR) return complain("a list of other descriptors");
    configuration.engine = static_cast<int>(*count) + 1;
    configuration.graph = heuristics.child(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    configuration.is_finished = true;
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t give_notes(const Descriptor& engine, int64_t* count, void* to) {
  std::vector<cudnnBackendNumericalNote_t> notes;
  if (engine.engine != kWithoutTensorCores) notes.push_back(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
  if (engine.engine == kChanging) notes.push_back(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
  *count = static_cast<int64_t>(notes.size());
  std::memcpy(to, notes.data(), notes.size() * sizeof notes[0]);
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) void kw_stand_in_connect(State* shared) { state = shared; }

size_t cudnnGetVersion() { return 92400; }
size_t cudnnGetCudartVersion() { return 13000; }
cudnnStatus_t cudnnGraphVersionCheck() { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnOpsVersionCheck() { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnCnnVersionCheck() { return CUDNN_STATUS_SUCCESS; }
const char* cudnnGetErrorString(cudnnStatus_t) { return "a status of the stand-in"; }
void cudnnGetLastErrorString(char* message, size_t size) { std::strncpy(message, "", size); }

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  if (!state || !state->serves) return CUDNN_STATUS_NOT_INITIALIZED;
  *handle = reinterpret_cast<cudnnHandle_t>(&state);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t chosen) {
  stream = chosen;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* made) {
  *made = new Descriptor{.type = type};
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  delete behind(descriptor);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t handle, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                       int64_t count, const void* values) {
  Descriptor& descriptor = *behind(handle);
  if (descriptor.is_finished) return complain("an attribute of a finished descriptor");
  const auto* bytes = static_cast<const char*>(values);
  descriptor.attributes[name] = {type, count, {bytes, bytes + static_cast<size_t>(count) * bytes_of(type)}};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t handle) {
  Descriptor& descriptor = *behind(handle);
  const cudnnStatus_t status = check_to_finish(descriptor);
  descriptor.is_finished = status == CUDNN_STATUS_SUCCESS;
  return status;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t handle, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t,
                                       int64_t requested, int64_t* count, void* to) {
  const Descriptor& descriptor = *behind(handle);
  if (!descriptor.is_finished && descriptor.type != CUDNN_BACKEND_ENGINE_DESCRIPTOR)
    return complain("a question to an unfinished descriptor");
  switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
      return give_configurations(descriptor, requested, count, to);
    case CUDNN_ATTR_ENGINECFG_ENGINE:
      (*static_cast<Descriptor**>(to))->engine = descriptor.engine;
      *count = 1;
      return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
      return give_notes(descriptor, count, to);
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
      return give_integer(descriptor.engine == kTooLarge ? int64_t{1} << 40 : kWorkspace, count, to);
    default:
      return complain("a question");
  }
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan_handle, cudnnBackendDescriptor_t pack_handle) {
  if (state->refuses_to_run) return CUDNN_STATUS_NOT_SUPPORTED;
  const Descriptor &plan = *behind(plan_handle), &pack = *behind(pack_handle);
  if (handle != reinterpret_cast<cudnnHandle_t>(&state) || !plan.is_finished || !pack.is_finished) return complain("what is to be run");
  if (plan.engine != kGood) return complain("an engine that must not be used");
  const auto memory = std::make_shared<Memory>();
  const auto identifiers = pack.list<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto addresses = pack.list<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  const auto tensors = bound_tensors(*plan.graph);
  if (identifiers.size() != addresses.size() || identifiers.size() != tensors.size()) return complain("the number of tensors");
  for (size_t i = 0; i < identifiers.size(); ++i) {
    if (tensors.count(identifiers[i]) == 0) return complain("a tensor that the graph does not know");
    if (!addresses[i] || !is_aligned(addresses[i], 16)) return complain("a tensor that is not aligned");
    memory->addresses[identifiers[i]] = addresses[i];
  }
  void* workspace = pack.one<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
  if (!workspace || !is_aligned(workspace, 16)) return complain("the workspace");
  ++state->convolutions;
  const auto operations =
      std::make_shared<std::vector<const Descriptor*>>(plan.graph->list<const Descriptor*>(CUDNN_ATTR_OPERATIONGRAPH_OPS));
  const auto compute = [memory, operations, workspace] {
    std::memset(workspace, 0xff, kWorkspace);
    for (const Descriptor* operation : *operations) {
      const ConvolutionNames* names = names_of(*operation);
      names ? convolve(*operation, *names, *memory) : apply_pointwise(*operation, *memory);
    }
  };
  return state->queue(stream, compute) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
