// Which of the instruction sets that native/cpu/simd is compiled for this processor runs.
#pragma once

namespace kw::cpu {

// In ascending order; each has what those before it have. `amx` is matrix tiles that multiply bfloat16, and vectors that convert to it.
enum class InstructionSet { baseline, avx2, avx512, amx };

const char* name_of(InstructionSet set);

// The best one here, or the one that the environment variable KW_CPU_ISA names if that is less. The first call asks the operating system
// for the state of matrix tiles on behalf of the process, and holds oneDNN to the same set unless ONEDNN_MAX_CPU_ISA says otherwise. Throws
// kw::Error (invalid_argument) when KW_CPU_ISA names none of them.
InstructionSet instruction_set();

// The best of the tables that one source gives when it is compiled for each set; null where it is not compiled for that set.
template <class Table>
const Table& for_instruction_set(const Table& baseline, const Table* avx2, const Table* avx512, const Table* amx) {
  const InstructionSet set = instruction_set();
  if (set >= InstructionSet::amx && amx) return *amx;
  if (set >= InstructionSet::avx512 && avx512) return *avx512;
  if (set >= InstructionSet::avx2 && avx2) return *avx2;
  return baseline;
}

}  // namespace kw::cpu
