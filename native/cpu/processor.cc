#include "cpu/processor.h"

#if defined(KW_SIMD_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace kw::cpu {

#if defined(KW_SIMD_AMX)

namespace {

// Linux: ARCH_REQ_XCOMP_PERM of asm/prctl.h for the state component XFEATURE_XTILEDATA.
constexpr long kRequestPermission = 0x1023, kTileData = 18;

bool ask_for_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned kAmxBfloat16 = 1u << 22, kAmxTile = 1u << 24;
  if ((d & kAmxBfloat16) == 0 || (d & kAmxTile) == 0) return false;
  constexpr unsigned kAvx512Bfloat16 = 1u << 5;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a & kAvx512Bfloat16) == 0) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool has_bfloat16_tiles() {
  static const bool has = ask_for_tiles();
  return has;
}

#else

bool has_bfloat16_tiles() { return false; }

#endif

}  // namespace kw::cpu
