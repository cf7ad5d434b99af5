// Stands in for libcublasLt.so.13: the functions that native/cuda/libraries/cublas_lt_planner.cc calls.
#include <cublasLt.h>

#include <cstring>

#include "state.h"

namespace {

using namespace kw::stand_ins;

State* state = nullptr;

cublasStatus_t complain(const char* what) {
  state->complaints.push_back(std::string("cuBLASLt: ") + what);
  return CUBLAS_STATUS_INVALID_VALUE;
}

// What stands behind the opaque descriptors' first bytes.
struct Product {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t operation_a = CUBLAS_OP_N, operation_b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const float* bias = nullptr;
  cudaDataType_t bias_type = CUDA_R_8I;  // not set
};
struct Layout {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t leading;
  int32_t batches = 1;
  int64_t stride = 0;
};
struct Preference {
  uint64_t workspace = 0, implementations = ~uint64_t{0};
  uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t alignments[4] = {256, 256, 256, 256};
};

template <class T, class Handle>
T& behind(Handle handle) {
  return *reinterpret_cast<T*>(handle);
}

template <class T>
bool assign(T& member, const void* value, size_t bytes) {
  if (bytes != sizeof member) return false;
  std::memcpy(&member, value, bytes);
  return true;
}

constexpr size_t kWorkspace = 128;
constexpr uint64_t kMark = 0x6b776c74;  // of the algorithm that was handed out

Elements elements(const Layout& layout, const void* address, int64_t batch) {
  const bool is_bfloat16 = layout.type == CUDA_R_16BF;
  const int64_t offset = batch * layout.stride * (is_bfloat16 ? 2 : 4);
  return {const_cast<char*>(static_cast<const char*>(address)) + offset, is_bfloat16};
}

bool fits(const Product& product, const Layout& a, const Layout& b, const Layout& c) {
  const bool transposes_a = product.operation_a == CUBLAS_OP_T, transposes_b = product.operation_b == CUBLAS_OP_T;
  const uint64_t rows = transposes_a ? a.columns : a.rows, inner = transposes_a ? a.rows : a.columns;
  const uint64_t inner_b = transposes_b ? b.columns : b.rows, columns = transposes_b ? b.rows : b.columns;
  for (const Layout* layout : {&a, &b, &c}) {
    if (layout->leading < static_cast<int64_t>(layout->rows) || layout->batches != c.batches) return false;
    if (layout->batches > 1 && layout->stride < static_cast<int64_t>(layout->columns) * layout->leading) return false;
  }
  return rows == c.rows && columns == c.columns && inner == inner_b && a.type == b.type;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) void kw_stand_in_connect(State* shared) { state = shared; }

size_t cublasLtGetVersion() { return 130103; }
size_t cublasLtGetCudartVersion() { return 13000; }
const char* cublasLtGetStatusString(cublasStatus_t) { return "a status of the stand-in"; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (!state || !state->serves) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = reinterpret_cast<cublasLtHandle_t>(&state);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* made, cublasComputeType_t compute, cudaDataType_t scale) {
  *made = reinterpret_cast<cublasLtMatmulDesc_t>(new Product{.compute = compute, .scale = scale});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
  delete &behind<Product>(product);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t name, const void* value,
                                              size_t bytes) {
  Product& product = behind<Product>(handle);
  bool is_set = false;
  if (name == CUBLASLT_MATMUL_DESC_TRANSA) is_set = assign(product.operation_a, value, bytes);
  if (name == CUBLASLT_MATMUL_DESC_TRANSB) is_set = assign(product.operation_b, value, bytes);
  if (name == CUBLASLT_MATMUL_DESC_EPILOGUE) is_set = assign(product.epilogue, value, bytes);
  if (name == CUBLASLT_MATMUL_DESC_BIAS_POINTER) is_set = assign(product.bias, value, bytes);
  if (name == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE) is_set = assign(product.bias_type, value, bytes);
  return is_set ? CUBLAS_STATUS_SUCCESS : complain("an attribute of a product");
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* made, cudaDataType_t type, uint64_t rows, uint64_t columns,
                                          int64_t leading) {
  *made = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{.type = type, .rows = rows, .columns = columns, .leading = leading});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete &behind<Layout>(layout);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle, cublasLtMatrixLayoutAttribute_t name, const void* value,
                                                size_t bytes) {
  Layout& layout = behind<Layout>(handle);
  bool is_set = false;
  if (name == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) is_set = assign(layout.batches, value, bytes);
  if (name == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET) is_set = assign(layout.stride, value, bytes);
  return is_set ? CUBLAS_STATUS_SUCCESS : complain("an attribute of a layout");
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) {
  *made = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete &behind<Preference>(preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle, cublasLtMatmulPreferenceAttributes_t name,
                                                    const void* value, size_t bytes) {
  Preference& preference = behind<Preference>(handle);
  bool is_set = false;
  if (name == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) is_set = assign(preference.workspace, value, bytes);
  if (name == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) is_set = assign(preference.reductions, value, bytes);
  if (name == CUBLASLT_MATMUL_PREF_IMPL_MASK) is_set = assign(preference.implementations, value, bytes);
  if (name == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES) is_set = assign(preference.alignments[0], value, bytes);
  if (name == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES) is_set = assign(preference.alignments[1], value, bytes);
  if (name == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES) is_set = assign(preference.alignments[2], value, bytes);
  if (name == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES) is_set = assign(preference.alignments[3], value, bytes);
  return is_set ? CUBLAS_STATUS_SUCCESS : complain("an attribute of a preference");
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product_handle, cublasLtMatrixLayout_t a_handle,
                                              cublasLtMatrixLayout_t b_handle, cublasLtMatrixLayout_t c_handle,
                                              cublasLtMatrixLayout_t d_handle, cublasLtMatmulPreference_t preference_handle, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* count) {
  const Product& product = behind<Product>(product_handle);
  const Layout &a = behind<Layout>(a_handle), &b = behind<Layout>(b_handle), &c = behind<Layout>(c_handle);
  const Preference& preference = behind<Preference>(preference_handle);
  *count = 0;
  if (requested < 1 || c_handle != d_handle || !fits(product, a, b, c)) return complain("matrices that do not fit");
  if (product.scale != CUDA_R_32F) return complain("a scale that is not float32");
  if (preference.reductions & (CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE))
    return complain("reductions that may change their order or lose bits");
  const bool is_exact = a.type == CUDA_R_32F && product.compute == CUBLAS_COMPUTE_32F;
  if (is_exact == ((preference.implementations & CUBLASLT_NUMERICAL_IMPL_FLAGS_HMMA) != 0)) return complain("tensor cores, asked wrongly");
  for (const uint32_t alignment : preference.alignments) {
    if (alignment != 16) return complain("an alignment that is not 16");
  }
  const bool adds_bias = product.epilogue == CUBLASLT_EPILOGUE_BIAS;
  if (adds_bias && product.bias_type != CUDA_R_32F) return complain("a bias that is not float32");
  // As the real one: a float32 bias only with a float32 result.
  if (adds_bias && c.type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (preference.workspace < kWorkspace) return complain("too little workspace");
  results[0] = {};
  std::memcpy(results[0].algo.data, &kMark, sizeof kMark);
  results[0].workspaceSize = kWorkspace;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product_handle, const void* alpha, const void* a_address,
                              cublasLtMatrixLayout_t a_handle, const void* b_address, cublasLtMatrixLayout_t b_handle, const void* beta,
                              const void* c_address, cublasLtMatrixLayout_t c_handle, void* d_address, cublasLtMatrixLayout_t d_handle,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspace_bytes, cudaStream_t stream) {
  if (state->refuses_to_run) return CUBLAS_STATUS_NOT_SUPPORTED;
  const Product product = behind<Product>(product_handle);
  const Layout a = behind<Layout>(a_handle), b = behind<Layout>(b_handle), c = behind<Layout>(c_handle);
  if (handle != reinterpret_cast<cublasLtHandle_t>(&state)) return complain("another handle");
  if (!algorithm || std::memcmp(algorithm->data, &kMark, sizeof kMark) != 0) return complain("another algorithm");
  if (!workspace || workspace_bytes != kWorkspace || !is_aligned(workspace, 16)) return complain("the workspace");
  if (c_address != d_address || c_handle != d_handle || !fits(product, a, b, c)) return complain("matrices that do not fit");
  for (const auto& [layout, address] : {std::pair{&a, a_address}, {&b, b_address}, {&c, static_cast<const void*>(d_address)}}) {
    for (int64_t batch = 0; batch < layout->batches; ++batch) {
      if (!is_aligned(elements(*layout, address, batch).address, 16)) return complain("a matrix that is not aligned");
    }
  }
  if ((product.epilogue == CUBLASLT_EPILOGUE_BIAS) != (product.bias != nullptr)) return complain("a bias, wrongly");
  if (*static_cast<const float*>(alpha) != 1 || *static_cast<const float*>(beta) != 0) return complain("alpha or beta");
  ++state->products;
  const uint64_t inner = product.operation_a == CUBLAS_OP_T ? a.rows : a.columns;
  const auto multiply = [=] {
    std::memset(workspace, 0xff, kWorkspace);
    for (int32_t batch = 0; batch < c.batches; ++batch) {
      const Elements first = elements(a, a_address, batch), second = elements(b, b_address, batch), to = elements(c, d_address, batch);
      for (uint64_t column = 0; column < c.columns; ++column) {
        for (uint64_t row = 0; row < c.rows; ++row) {
          double sum = product.bias ? product.bias[row] : 0;
          for (uint64_t k = 0; k < inner; ++k) {
            const uint64_t at_a = product.operation_a == CUBLAS_OP_T ? k + row * a.leading : row + k * a.leading;
            const uint64_t at_b = product.operation_b == CUBLAS_OP_T ? column + k * b.leading : k + column * b.leading;
            sum += static_cast<double>(first.read(static_cast<int64_t>(at_a))) * second.read(static_cast<int64_t>(at_b));
          }
          to.write(static_cast<int64_t>(row + column * c.leading), static_cast<float>(sum));
        }
      }
    }
  };
  return state->queue(stream, multiply) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
