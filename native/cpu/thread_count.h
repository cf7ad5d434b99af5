// How many threads a device uses unless told.
#pragma once

namespace kw::cpu {

constexpr int kMaximumThreads = 1024;

// Physical cores that this process may use: its affinity mask, one per core, and no more than the container's CPU quota (rounded
// up). At least 1.
int available_cores();

// KW_NUM_THREADS where it is set and not empty (throws invalid_argument unless it is a whole number from 1 to kMaximumThreads); else
// OMP_NUM_THREADS where it starts with such a number; else available_cores().
int default_threads();

}  // namespace kw::cpu
