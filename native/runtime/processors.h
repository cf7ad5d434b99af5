// How many threads a device uses unless told.
#pragma once

namespace kw {

constexpr int kMaximumThreads = 1024;

// Physical cores that this process may use: its affinity mask, one per core, and no more than the container's CPU quota (rounded
// up). At least 1.
int available_cores();

// KW_NUM_THREADS, else OMP_NUM_THREADS, where they start with a number from 1 to kMaximumThreads; else available_cores().
int default_threads();

}  // namespace kw
