// What kernels use beyond plain C++: bfloat16, copies to shared memory, matrix tiles, warps and blocks. The only file with inline PTX and
// with intrinsics. Every name has two bodies: the one here, and one in the tests' emulator (test/native/emulator), where the same kernels
// run as C++ on any machine.
//
// Rules for kernels, which the emulator enforces where it can:
// - shared memory only from dynamic_shared and shared_array;
// - warp functions (load_matrix, multiply_tile, shuffle, ballot, syncwarp, ...) are called by all lanes of the warp that have not returned,
// at the same
//   line; syncthreads by all threads of the block that have not returned;
// - no atomics on floating-point numbers (the same run gives the same bits), no waiting for other blocks.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#ifdef KW_EMULATOR
#include <emulated_primitives.h>
#endif

namespace kw::cuda::device {

constexpr int kWarpSize = 32;

// ---- numbers ----

/** Storage of a bfloat16: the upper half of a float32. */
struct alignas(2) bfloat16 {
  std::uint16_t bits;
};

__host__ __device__ __forceinline__ float bits_to_float(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

__host__ __device__ __forceinline__ std::uint32_t float_to_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

__host__ __device__ __forceinline__ float to_float(float value) { return value; }
__host__ __device__ __forceinline__ float to_float(bfloat16 value) { return bits_to_float(static_cast<std::uint32_t>(value.bits) << 16); }

/** Rounds to nearest, ties to even; every NaN becomes 0x7fff. */
__host__ __device__ __forceinline__ bfloat16 to_bfloat16(float value) {
#ifdef __CUDA_ARCH__
  std::uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bfloat16{bits};
#else
  const std::uint32_t bits = float_to_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bfloat16{0x7fff};
  return bfloat16{static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
#endif
}

/** Two bfloat16 in one word, `low` in the lower half, which is the first in memory. Rounds as to_bfloat16. */
__host__ __device__ __forceinline__ std::uint32_t pack_bfloat16(float low, float high) {
#ifdef __CUDA_ARCH__
  std::uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
#else
  return static_cast<std::uint32_t>(to_bfloat16(high).bits) << 16 | to_bfloat16(low).bits;
#endif
}

/** The two halves of pack_bfloat16. */
__host__ __device__ __forceinline__ float low_bfloat16(std::uint32_t pair) { return bits_to_float(pair << 16); }
__host__ __device__ __forceinline__ float high_bfloat16(std::uint32_t pair) { return bits_to_float(pair & 0xffff0000u); }

/** Writes `value` as T, float or bfloat16, rounded once. */
__host__ __device__ __forceinline__ void store_as(float* address, float value) { *address = value; }
__host__ __device__ __forceinline__ void store_as(bfloat16* address, float value) { *address = to_bfloat16(value); }

/** The value as a T holds it. */
template <class T>
__host__ __device__ __forceinline__ float as_stored(float value) {
  if constexpr (sizeof(T) == sizeof(float)) return value;
  return to_float(to_bfloat16(value));
}

/** The bits of a tf32 operand: 10 bits of mantissa, rounded to nearest, ties away from zero. The tensor cores ignore the lower 13 bits of
 * what they get. */
__host__ __device__ __forceinline__ std::uint32_t to_tf32(float value) {
#ifdef __CUDA_ARCH__
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
#else
  const std::uint32_t bits = float_to_bits(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return bits;
  return (bits + 0x1000u) & 0xffffe000u;
#endif
}

template <class T>
__host__ __device__ __forceinline__ constexpr T min(T a, T b) {
  return b < a ? b : a;
}

template <class T>
__host__ __device__ __forceinline__ constexpr T max(T a, T b) {
  return a < b ? b : a;
}

template <class T>
__host__ __device__ __forceinline__ constexpr T ceil_divide(T count, T size) {
  return (count + size - 1) / size;
}

#ifndef KW_EMULATOR

// ---- memory ----

/** The block's dynamic shared memory, at a multiple of 128 bytes. Its size is the launch's; its contents are undefined at the start. */
__device__ __forceinline__ unsigned char* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char kw_dynamic_shared[];
  return kw_dynamic_shared;
}

/** An array in shared memory beside the dynamic one: one for each Tag, T and kCount, however often this is called. At most 48 KB
 * altogether. */
template <class Tag, class T, int kCount>
__device__ __forceinline__ T* shared_array() {
  __shared__ __align__(16) unsigned char memory[sizeof(T) * kCount];
  return reinterpret_cast<T*>(memory);
}

/** Reads or writes a vector (uint4, float4, uint2, ...) at a multiple of its size. */
template <class Vector>
__device__ __forceinline__ Vector load_vector(const void* address) {
  return *static_cast<const Vector*>(address);
}

template <class Vector>
__device__ __forceinline__ void store_vector(void* address, Vector value) {
  *static_cast<Vector*>(address) = value;
}

/** An address of shared memory as PTX wants it. */
__device__ __forceinline__ std::uint32_t shared_address(const void* address) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(address));
}

/** cp.async: starts to copy 16 bytes from global to shared memory, both at multiples of 16; zeros when not `valid`, and `global` is not
 * read then (but must be a pointer to device memory). They are there after wait_copies, for other threads after a barrier too. */
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool valid = true) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes) : "memory");
}

/** As copy_async_16, for 8 bytes at multiples of 8. */
__device__ __forceinline__ void copy_async_8(void* shared, const void* global, bool valid = true) {
  const int bytes = valid ? 8 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes) : "memory");
}

/** As copy_async_16, for 4 bytes at multiples of 4. */
__device__ __forceinline__ void copy_async_4(void* shared, const void* global, bool valid = true) {
  const int bytes = valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes) : "memory");
}

/** Closes a group of this thread's copies: all that it started since the last call (perhaps none). */
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/** Waits until at most the kNewest last groups of this thread are not complete. */
template <int kNewest>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
}

// ---- matrix tiles ----

/**
 * ldmatrix: loads four 8x8 matrices of 16-bit numbers from shared memory. Lane l gives the address (multiple of 16) of row l % 8 of matrix
 * l / 8 and gets from matrix i, in fragment[i], the elements (l / 4, l % 4 * 2) and the one after it. Of a row-major 16x16 tile the
 * fragment of `a` in multiply_tile comes from row = tile + l % 16 * stride + l / 16 * 8.
 */
__device__ __forceinline__ void load_matrix_x4(std::uint32_t (&fragment)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_address(row))
               : "memory");
}

/** As load_matrix_x4, each 8x8 matrix transposed: the elements (l % 4 * 2, l / 4) and the one below it. */
__device__ __forceinline__ void load_matrix_x4_transposed(std::uint32_t (&fragment)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_address(row))
               : "memory");
}

/**
 * mma.m16n8k16: accumulator += a * b on bfloat16, sums in float32, kRowTiles x kColumnTiles tiles of 16x8, 16 deep. With g = lane / 4 and t
 * = lane % 4 * 2, a lane holds of each tile: a[0..3] rows g, g + 8, g, g + 8, columns t, t, t + 8, t + 8 (and the next column, in the upper
 * half); b[0..1] rows t, t + 8 (and the next row), column g; accumulator[0..3] rows g, g, g + 8, g + 8, columns t, t + 1, t, t + 1.
 */
template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void multiply_tile(float (&accumulator)[kRowTiles][kColumnTiles][4], const std::uint32_t (&a)[kRowTiles][4],
                                              const std::uint32_t (&b)[kColumnTiles][2]) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
      float (&d)[4] = accumulator[i][j];
      asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                   : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                   : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j][0]), "r"(b[j][1]));
    }
  }
}

/**
 * mma.m16n8k8: accumulator += a * b on tf32 (operands from to_tf32), sums in float32, tiles of 16x8, 8 deep. With g = lane / 4 and t = lane
 * % 4, a lane holds of each tile: a[0..3] rows g, g + 8, g, g + 8, columns t, t, t + 4, t + 4; b[0..1] rows t, t + 4, column g; the
 * accumulator as in multiply_tile.
 */
template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void multiply_tile_tf32(float (&accumulator)[kRowTiles][kColumnTiles][4], const std::uint32_t (&a)[kRowTiles][4],
                                                   const std::uint32_t (&b)[kColumnTiles][2]) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
      float (&d)[4] = accumulator[i][j];
      asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                   : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                   : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j][0]), "r"(b[j][1]));
    }
  }
}

// ---- warps and blocks ----

/** All threads of the block that have not returned wait for each other, and see each other's writes. */
__device__ __forceinline__ void syncthreads() { __syncthreads(); }

/** All lanes of the warp that have not returned wait for each other, and see each other's writes. */
__device__ __forceinline__ void syncwarp() { __syncwarp(); }

/** Waits until `threads` threads, a multiple of 32, are at barrier `id` (1..15). For warps of a block with different tasks. */
__device__ __forceinline__ void named_barrier(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

/** What this thread wrote to global memory before is visible to threads of other blocks before what it writes after. */
__device__ __forceinline__ void thread_fence() { __threadfence(); }

/** The value of lane `source` (0..31). */
template <class T>
__device__ __forceinline__ T shuffle(T value, int source) {
  return __shfl_sync(0xffffffffu, value, source);
}

/** The value of lane `lane ^ distance`. */
template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int distance) {
  return __shfl_xor_sync(0xffffffffu, value, distance);
}

/** The value of lane `lane + distance`, or the own one past the last lane. */
template <class T>
__device__ __forceinline__ T shuffle_down(T value, int distance) {
  return __shfl_down_sync(0xffffffffu, value, distance);
}

/** The value of lane `lane - distance`, or the own one before the first lane. */
template <class T>
__device__ __forceinline__ T shuffle_up(T value, int distance) {
  return __shfl_up_sync(0xffffffffu, value, distance);
}

/** Bit l is set where lane l's predicate is true. */
__device__ __forceinline__ unsigned ballot(bool predicate) { return __ballot_sync(0xffffffffu, predicate); }
__device__ __forceinline__ bool any(bool predicate) { return __any_sync(0xffffffffu, predicate) != 0; }
__device__ __forceinline__ bool all(bool predicate) { return __all_sync(0xffffffffu, predicate) != 0; }

/** Adds to an integer in global or shared memory, and gives what was there before. */
__device__ __forceinline__ int atomic_add(int* address, int value) { return atomicAdd(address, value); }
__device__ __forceinline__ unsigned atomic_add(unsigned* address, unsigned value) { return atomicAdd(address, value); }

#endif  // KW_EMULATOR

/** The sum over the warp, in every lane; every lane adds in the same order. All 32 lanes take part. */
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) value += shuffle_xor(value, distance);
  return value;
}

/** The largest value of the warp, in every lane. All 32 lanes take part. */
template <class T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) value = max(value, shuffle_xor(value, distance));
  return value;
}

/** This thread's number in its block, 0 to threads - 1, x fastest. */
__device__ __forceinline__ int thread_number() {
  return static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
}

/** The sum over the block, in every thread, in a fixed order. All threads take part, a multiple of 32. Has barriers at its start and in the
 * middle, so it may be called again at once. */
template <class T>
__device__ __forceinline__ T block_sum(T value) {
  T* partial = shared_array<struct BlockSum, T, kWarpSize>();
  const int number = thread_number();
  const int warps = static_cast<int>(blockDim.x * blockDim.y * blockDim.z) / kWarpSize;
  value = warp_sum(value);
  syncthreads();
  if (number % kWarpSize == 0) partial[number / kWarpSize] = value;
  syncthreads();
  T sum = partial[0];
  for (int warp = 1; warp < warps; ++warp) sum += partial[warp];
  return sum;
}

}  // namespace kw::cuda::device
