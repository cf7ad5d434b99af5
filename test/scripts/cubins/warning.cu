__global__ void unused_variable(float* values) {
  int unused;
  values[threadIdx.x] = 1;
}
