// The vector types of the instruction set that a file of this folder is being compiled for. No standard header here nor in the files that
// include this: an inline function compiled for a newer instruction set could be the one that the linker keeps for everybody.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace kw::cpu::KW_SIMD_NAMESPACE {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef float UnalignedVector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
typedef uint32_t Words __attribute__((vector_size(kLanes * sizeof(uint32_t))));
typedef uint32_t UnalignedWords __attribute__((vector_size(kLanes * sizeof(uint32_t)), aligned(4), may_alias));
typedef uint16_t Halves __attribute__((vector_size(kLanes * sizeof(uint16_t))));
typedef uint16_t UnalignedHalves __attribute__((vector_size(kLanes * sizeof(uint16_t)), aligned(2), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<UnalignedVector*>(to) = value; }

// The bits of bfloat16: to nearest, ties to even; the NaNs that arithmetic makes stay NaNs.
inline Halves rounded(Vector value) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<Halves>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(value)));
#else
  const auto words = reinterpret_cast<Words>(value);
  return __builtin_convertvector((words + 0x7fff + (words >> 16 & 1)) >> 16, Halves);
#endif
}
// What bfloat16 keeps of the numbers.
inline Vector kept(Vector value) { return reinterpret_cast<Vector>(__builtin_convertvector(rounded(value), Words) << 16); }
inline void store(uint16_t* to, Vector value) { *reinterpret_cast<UnalignedHalves*>(to) = rounded(value); }

}  // namespace kw::cpu::KW_SIMD_NAMESPACE
