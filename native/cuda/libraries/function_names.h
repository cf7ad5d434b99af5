// The functions that the backend calls of each library. A library without one of them is refused when it is opened. The names stand here,
// apart from the tables of cudnn.h and cublas_lt.h, so that this is known also where the plug-in is built without the libraries' headers.
#pragma once

// clang-format off: one function a line
#define KW_CUDNN_FUNCTIONS(use) \
  use(cudnnCreate) \
  use(cudnnDestroy) \
  use(cudnnSetStream) \
  use(cudnnGetErrorString) \
  use(cudnnGetLastErrorString) \
  use(cudnnBackendCreateDescriptor) \
  use(cudnnBackendDestroyDescriptor) \
  use(cudnnBackendSetAttribute) \
  use(cudnnBackendGetAttribute) \
  use(cudnnBackendFinalize) \
  use(cudnnBackendExecute)

#define KW_CUBLAS_LT_FUNCTIONS(use) \
  use(cublasLtCreate) \
  use(cublasLtDestroy) \
  use(cublasLtGetStatusString) \
  use(cublasLtMatmul) \
  use(cublasLtMatmulAlgoGetHeuristic) \
  use(cublasLtMatmulDescCreate) \
  use(cublasLtMatmulDescDestroy) \
  use(cublasLtMatmulDescSetAttribute) \
  use(cublasLtMatmulPreferenceCreate) \
  use(cublasLtMatmulPreferenceDestroy) \
  use(cublasLtMatmulPreferenceSetAttribute) \
  use(cublasLtMatrixLayoutCreate) \
  use(cublasLtMatrixLayoutDestroy) \
  use(cublasLtMatrixLayoutSetAttribute)
// clang-format on
