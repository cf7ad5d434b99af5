// A kernel that needs many more registers than it may have.
__global__ void __launch_bounds__(1024) spilling(float* values) {
  float sums[96];
  for (int i = 0; i < 96; ++i) sums[i] = values[i * 1024 + threadIdx.x];
#pragma unroll 1
  for (int round = 0; round < 10; ++round) {
#pragma unroll
    for (int i = 0; i < 96; ++i) sums[i] = sums[i] * sums[(i + 1) % 96] + values[round];
  }
  for (int i = 0; i < 96; ++i) values[i * 1024 + threadIdx.x] = sums[i];
}
