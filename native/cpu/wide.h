// KW_WIDE compiles a function for wider vectors too and lets the loader choose; for loops that the compiler vectorises by itself.
#pragma once

// Linked as an ifunc, which only ELF has. The levels x86-64-v3 and v4 bring fused multiply-adds; older compilers know only single
// instruction sets here.
#if !defined(__x86_64__) || !defined(__ELF__)
#define KW_WIDE
#elif (defined(__clang__) && __clang_major__ >= 18) || (!defined(__clang__) && __GNUC__ >= 12)
#define KW_WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define KW_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
