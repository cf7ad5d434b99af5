// KW_WIDE compiles a function for wider vectors too and lets the loader choose; for loops that the compiler vectorises by itself.
#pragma once

// Linked as an ifunc, which only ELF has.
#if defined(__x86_64__) && defined(__ELF__)
#define KW_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KW_WIDE
#endif
