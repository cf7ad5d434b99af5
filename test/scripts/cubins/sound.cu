// needs sm_90a
__global__ void sound(float* values) {
  __shared__ float shared[32];
  shared[threadIdx.x] = values[threadIdx.x];
  __syncthreads();
  values[threadIdx.x] = shared[31 - threadIdx.x];
}
