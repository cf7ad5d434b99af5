#include "cuda/libraries/cublas_lt_planner.h"

#include <atomic>
#include <optional>
#include <utility>

namespace kw::cuda {

namespace {

cudaDataType_t type_of(DataType type) { return type == DataType::bfloat16 ? CUDA_R_16BF : CUDA_R_32F; }

// A handle of cuBLASLt's, destroyed by `destroy`; null where it could not be made.
template <class Handle>
class Owned {
 public:
  using Destroy = cublasStatus_t (*)(Handle);
  Owned(Destroy destroy, Handle handle) : destroy_(destroy), handle_(handle) {}
  ~Owned() {
    if (handle_) destroy_(handle_);
  }
  Owned(Owned&& other) noexcept : destroy_(other.destroy_), handle_(std::exchange(other.handle_, nullptr)) {}
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Handle get() const { return handle_; }

 private:
  Destroy destroy_;
  Handle handle_;
};

// cuBLASLt's matrices are column-major, ours row-major: to cuBLASLt each of ours is its transpose, and c = op(a) op(b) is computed as
// transposed(c) = transposed(op(b)) transposed(op(a)), so that b is the first operand, and the bias lies along c's columns as it must.
class Descriptors {
 public:
  Descriptors(const CublasLtFunctions& cublas_lt, const ProductRequest& request, bool tf32)
      : cublas_lt_(cublas_lt),
        product_(cublas_lt.cublasLtMatmulDescDestroy, make_product(request, tf32)),
        a_(layout(request.operands, request.transpose_a ? request.rows : request.inner,
                  request.transpose_a ? request.inner : request.rows)),
        b_(layout(request.operands, request.transpose_b ? request.inner : request.columns,
                  request.transpose_b ? request.columns : request.inner)),
        c_(layout(request.result, request.columns, request.rows)) {
    if (!product_.get() || !a_.get() || !b_.get() || !c_.get()) return;
    const cublasOperation_t first = request.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                            second = request.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    is_complete_ = set(CUBLASLT_MATMUL_DESC_TRANSA, first) && set(CUBLASLT_MATMUL_DESC_TRANSB, second);
    if (request.adds_bias) {
      is_complete_ = is_complete_ && set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS) &&
                     set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
    }
    // Matrices that lie one behind the other; a run may have them further apart.
    if (request.batches > 1) {
      is_complete_ = is_complete_ && set_batches(request.batches, request.rows * request.inner, request.inner * request.columns,
                                                 request.rows * request.columns);
    }
  }

  bool is_complete() const { return is_complete_; }
  cublasLtMatmulDesc_t product() const { return product_.get(); }
  cublasLtMatrixLayout_t a() const { return a_.get(); }
  cublasLtMatrixLayout_t b() const { return b_.get(); }
  cublasLtMatrixLayout_t c() const { return c_.get(); }

  bool set_batches(int64_t batches, int64_t stride_a, int64_t stride_b, int64_t stride_c) const {
    const int32_t count = static_cast<int32_t>(batches);
    return set(a_, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count) && set(b_, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count) &&
           set(c_, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count) && set(a_, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride_a) &&
           set(b_, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride_b) && set(c_, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride_c);
  }
  bool set_bias(const float* bias) const { return set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias); }

 private:
  cublasLtMatmulDesc_t make_product(const ProductRequest& request, bool tf32) const {
    const bool rounds = tf32 && request.operands == DataType::float32;
    cublasLtMatmulDesc_t product = nullptr;
    const cublasStatus_t status =
        cublas_lt_.cublasLtMatmulDescCreate(&product, rounds ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F);
    return status == CUBLAS_STATUS_SUCCESS ? product : nullptr;
  }
  // Of a matrix whose rows, in our order, have `length` elements.
  Owned<cublasLtMatrixLayout_t> layout(DataType type, int64_t length, int64_t count) const {
    cublasLtMatrixLayout_t layout = nullptr;
    const cublasStatus_t status =
        cublas_lt_.cublasLtMatrixLayoutCreate(&layout, type_of(type), static_cast<uint64_t>(length), static_cast<uint64_t>(count), length);
    return {cublas_lt_.cublasLtMatrixLayoutDestroy, status == CUBLAS_STATUS_SUCCESS ? layout : nullptr};
  }
  template <class T>
  bool set(cublasLtMatmulDescAttributes_t name, const T& value) const {
    return cublas_lt_.cublasLtMatmulDescSetAttribute(product_.get(), name, &value, sizeof value) == CUBLAS_STATUS_SUCCESS;
  }
  template <class T>
  bool set(const Owned<cublasLtMatrixLayout_t>& matrix, cublasLtMatrixLayoutAttribute_t name, const T& value) const {
    return cublas_lt_.cublasLtMatrixLayoutSetAttribute(matrix.get(), name, &value, sizeof value) == CUBLAS_STATUS_SUCCESS;
  }

  const CublasLtFunctions& cublas_lt_;
  const Owned<cublasLtMatmulDesc_t> product_;
  const Owned<cublasLtMatrixLayout_t> a_, b_, c_;
  bool is_complete_ = false;
};

class CublasLtPlan final : public ProductPlan {
 public:
  CublasLtPlan(const CublasLtFunctions& cublas_lt, cublasLtHandle_t handle, cudaStream_t stream, std::unique_ptr<Descriptors> descriptors,
               const cublasLtMatmulHeuristicResult_t& chosen, bool is_batched)
      : cublas_lt_(cublas_lt),
        handle_(handle),
        stream_(stream),
        descriptors_(std::move(descriptors)),
        algorithm_(chosen.algo),
        workspace_bytes_(chosen.workspaceSize),
        is_batched_(is_batched) {}

  size_t workspace_bytes() const override { return workspace_bytes_; }

  bool run(const ProductOperands& operands, void* workspace) const override {
    if (!refused_) refused_ = !multiply(operands, workspace);
    return !refused_;
  }

 private:
  bool multiply(const ProductOperands& operands, void* workspace) const {
    if (operands.bias && !descriptors_->set_bias(operands.bias)) return false;
    if (is_batched_ && !descriptors_->set_batches(operands.batches, operands.stride_a, operands.stride_b, operands.stride_c)) return false;
    const float one = 1, zero = 0;
    void* c = const_cast<void*>(operands.c);
    return cublas_lt_.cublasLtMatmul(handle_, descriptors_->product(), &one, operands.b, descriptors_->b(), operands.a, descriptors_->a(),
                                     &zero, c, descriptors_->c(), c, descriptors_->c(), &algorithm_,
                                     workspace_bytes_ > 0 ? workspace : nullptr, workspace_bytes_, stream_) == CUBLAS_STATUS_SUCCESS;
  }

  const CublasLtFunctions& cublas_lt_;
  const cublasLtHandle_t handle_;
  const cudaStream_t stream_;
  const std::unique_ptr<Descriptors> descriptors_;
  const cublasLtMatmulAlgo_t algorithm_;
  const size_t workspace_bytes_;
  const bool is_batched_;
  mutable std::atomic<bool> refused_ = false;
};

class CublasLtPlanner final : public ProductPlanner {
 public:
  CublasLtPlanner(const CublasLtFunctions& cublas_lt, Owned<cublasLtHandle_t> handle, void* stream, bool tf32)
      : cublas_lt_(cublas_lt), handle_(std::move(handle)), stream_(static_cast<cudaStream_t>(stream)), tf32_(tf32) {}

  std::unique_ptr<ProductPlan> plan(const ProductRequest& request) override {
    auto descriptors = std::make_unique<Descriptors>(cublas_lt_, request, tf32_);
    if (!descriptors->is_complete()) return nullptr;
    const std::optional<cublasLtMatmulHeuristicResult_t> chosen = choose(*descriptors, request);
    if (!chosen) return nullptr;
    return std::make_unique<CublasLtPlan>(cublas_lt_, handle_.get(), stream_, std::move(descriptors), *chosen, request.batches > 1);
  }

 private:
  std::optional<cublasLtMatmulHeuristicResult_t> choose(const Descriptors& descriptors, const ProductRequest& request) const {
    cublasLtMatmulPreference_t made = nullptr;
    if (cublas_lt_.cublasLtMatmulPreferenceCreate(&made) != CUBLAS_STATUS_SUCCESS) return std::nullopt;
    const Owned<cublasLtMatmulPreference_t> preference(cublas_lt_.cublasLtMatmulPreferenceDestroy, made);
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t name, const auto& value) {
      return cublas_lt_.cublasLtMatmulPreferenceSetAttribute(made, name, &value, sizeof value) == CUBLAS_STATUS_SUCCESS;
    };
    // Parts of a long sum are added in float32, in an order that is always the same.
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const bool rounds = tf32_ || request.operands == DataType::bfloat16;
    const uint64_t implementations = rounds ? ~uint64_t{0} : ~uint64_t{CUBLASLT_NUMERICAL_IMPL_FLAGS_TENSOR_OP_MASK};
    const uint32_t alignment = kLibraryAlignment;
    const bool is_set =
        set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kMostLibraryWorkspace}) &&
        set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions) && set(CUBLASLT_MATMUL_PREF_IMPL_MASK, implementations) &&
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment) && set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment) &&
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment) && set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment);
    if (!is_set) return std::nullopt;
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    const cublasStatus_t status =
        cublas_lt_.cublasLtMatmulAlgoGetHeuristic(handle_.get(), descriptors.product(), descriptors.b(), descriptors.a(), descriptors.c(),
                                                  descriptors.c(), preference.get(), 1, &result, &count);
    if (status != CUBLAS_STATUS_SUCCESS || count < 1 || result.state != CUBLAS_STATUS_SUCCESS) return std::nullopt;
    return result;
  }

  const CublasLtFunctions& cublas_lt_;
  const Owned<cublasLtHandle_t> handle_;
  const cudaStream_t stream_;
  const bool tf32_;
};

}  // namespace

std::unique_ptr<ProductPlanner> make_cublas_lt_planner(const CublasLtFunctions& functions, void* stream, bool tf32) {
  cublasLtHandle_t made = nullptr;
  if (functions.cublasLtCreate(&made) != CUBLAS_STATUS_SUCCESS) return nullptr;
  return std::make_unique<CublasLtPlanner>(functions, Owned<cublasLtHandle_t>(functions.cublasLtDestroy, made), stream, tf32);
}

}  // namespace kw::cuda
