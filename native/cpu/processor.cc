#include "cpu/processor.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>

#include "cpu/onednn.h"
#include "runtime/error.h"

#if defined(KW_SIMD_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace kw::cpu {

namespace {

constexpr const char* kNames[] = {"baseline", "avx2", "avx512", "amx"};  // in the order of InstructionSet

#if defined(KW_SIMD_AMX)

// Linux: ARCH_REQ_XCOMP_PERM of asm/prctl.h for the state component XFEATURE_XTILEDATA.
constexpr long kRequestPermission = 0x1023, kTileData = 18;

bool has_bfloat16_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned kAmxBfloat16 = 1u << 22, kAmxTile = 1u << 24;
  if ((d & kAmxBfloat16) == 0 || (d & kAmxTile) == 0) return false;
  constexpr unsigned kAvx512Bfloat16 = 1u << 5;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a & kAvx512Bfloat16) == 0) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

#endif

InstructionSet best_here() {
#if defined(KW_SIMD_X86)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return InstructionSet::baseline;
  if (!__builtin_cpu_supports("avx512f")) return InstructionSet::avx2;
#if defined(KW_SIMD_AMX)
  if (has_bfloat16_tiles()) return InstructionSet::amx;
#endif
  return InstructionSet::avx512;
#else
  return InstructionSet::baseline;
#endif
}

InstructionSet choose() {
  const InstructionSet best = best_here();
  const char* wanted = std::getenv("KW_CPU_ISA");
  if (wanted == nullptr || *wanted == '\0') return best;
  const auto* named = std::find(std::begin(kNames), std::end(kNames), std::string_view(wanted));
  if (named != std::end(kNames)) {
    const InstructionSet chosen = std::min(best, static_cast<InstructionSet>(named - kNames));
    limit_onednn(chosen);
    return chosen;
  }
  throw Error(ErrorCode::invalid_argument,
              "KW_CPU_ISA must be baseline, avx2, avx512 or amx (the most that this package's own kernels use), not '" +
                  std::string(wanted) + "'; unset it to let the processor decide");
}

}  // namespace

const char* name_of(InstructionSet set) { return kNames[static_cast<int>(set)]; }

InstructionSet instruction_set() {
  static const InstructionSet set = choose();
  return set;
}

}  // namespace kw::cpu
