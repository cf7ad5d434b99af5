// Splitting work over OpenMP threads. Nothing here lets a result depend on timing; where the parts decide the result (reductions) their
// number comes from the shape alone, so results do not depend on the number of threads either.
#pragma once

#include <algorithm>
#include <cstdint>

namespace kw::cpu {

// Elements that are worth a thread: below it the fork costs more than it saves.
inline constexpr int64_t kElementsPerThread = 16384;

// First element of the `part`th of `parts` nearly equal ranges of 0..count; the end of a range is the begin of the next.
inline int64_t range_begin(int64_t count, int64_t parts, int64_t part) { return count / parts * part + std::min(part, count % parts); }

// Never inlined: the compiler may order a vectorised sum differently in each copy that it makes of a body, and the serial path would then
// differ from the parallel one in the last bit.
template <class Body>
[[gnu::noinline]] void call_range(const Body& body, int64_t begin, int64_t end) {
  body(begin, end);
}

// Calls body(begin, end) on ranges that cover 0..count, at most `threads` of them and none (but the only one) shorter than about `grain`.
// The body must not throw.
template <class Body>
void parallel_for(int threads, int64_t count, int64_t grain, const Body& body) {
  const int parts = static_cast<int>(std::min<int64_t>(threads, count / std::max<int64_t>(grain, 1)));
  if (parts <= 1) {
    if (count > 0) call_range(body, 0, count);
    return;
  }
#pragma omp parallel for num_threads(parts) schedule(static)
  for (int part = 0; part < parts; ++part) call_range(body, range_begin(count, parts, part), range_begin(count, parts, part + 1));
}

// The grain of a loop over rows of `channels` elements each.
inline int64_t rows_per_thread(int64_t channels) { return std::max<int64_t>(1, kElementsPerThread / std::max<int64_t>(channels, 1)); }

// Into how many parts a sum over [rows, channels] is cut.
inline int64_t reduction_parts(int64_t rows, int64_t channels) {
  return std::clamp<int64_t>(rows * channels / kElementsPerThread, 1, std::clamp<int64_t>(rows, 1, 64));
}

}  // namespace kw::cpu
