#include "cpu/thread_count.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <system_error>
#include <thread>

#include "runtime/error.h"

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace kw::cpu {

namespace {

#if defined(__linux__)

int cores_in_affinity_mask() {
  // A mask of the default size fails with EINVAL on machines with more than 1024 processors.
  constexpr size_t kProcessors = 16384;
  cpu_set_t* mask = CPU_ALLOC(kProcessors);
  if (mask == nullptr) return 0;
  const size_t bytes = CPU_ALLOC_SIZE(kProcessors);
  std::set<std::string> cores;  // siblings share one list, which names their core
  if (sched_getaffinity(0, bytes, mask) == 0) {
    for (size_t processor = 0; processor < kProcessors; ++processor) {
      if (!CPU_ISSET_S(processor, bytes, mask)) continue;
      std::string siblings;
      std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(processor) + "/topology/thread_siblings_list");
      if (!std::getline(file, siblings)) siblings = "processor " + std::to_string(processor);
      cores.insert(siblings);
    }
  }
  CPU_FREE(mask);
  return static_cast<int>(cores.size());
}

// The smallest quota of this process's control group and those above it, in processors; 0 when there is none.
double cgroup_quota() {
  double smallest = 0;
  const auto limit = [&smallest](double quota, double period) {
    if (quota > 0 && period > 0 && (smallest == 0 || quota / period < smallest)) smallest = quota / period;
  };
  std::string group;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.rfind("0::", 0) == 0) group = line.substr(3);
  }
  // Inside a container the path may be the host's; the walk then finds only the mount's root, which is the container's group.
  for (;;) {
    std::string quota;
    double period = 0;
    if (std::ifstream("/sys/fs/cgroup" + group + "/cpu.max") >> quota >> period && quota != "max") limit(std::atof(quota.c_str()), period);
    const size_t slash = group.rfind('/');
    if (group.empty() || slash == std::string::npos) break;
    group.erase(slash);
  }
  double quota = 0, period = 0;
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  limit(quota, period);
  return smallest;
}

#endif

// 0 when it is not set.
int threads_of_kw_num_threads() {
  const char* text = std::getenv("KW_NUM_THREADS");
  if (text == nullptr || *text == 0) return 0;
  int threads = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, threads);
  if (error != std::errc() || rest != end || threads < 1 || threads > kMaximumThreads) {
    throw Error(ErrorCode::invalid_argument, "KW_NUM_THREADS must be a whole number from 1 to " + std::to_string(kMaximumThreads) +
                                                 ", not '" + text + "'; unset it to use the physical cores");
  }
  return threads;
}

// 0 when it is not set. The variable belongs to OpenMP, which ignores what it does not understand; so do we.
int threads_of_omp_num_threads() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr) return 0;
  const long threads = std::strtol(text, nullptr, 10);  // may be a list; the first entry is ours
  return threads >= 1 && threads <= kMaximumThreads ? static_cast<int>(threads) : 0;
}

}  // namespace

int available_cores() {
  int cores = 0;
#if defined(__linux__)
  cores = cores_in_affinity_mask();
#elif defined(__APPLE__)
  size_t size = sizeof(cores);
  if (sysctlbyname("hw.physicalcpu", &cores, &size, nullptr, 0) != 0) cores = 0;
#endif
  if (cores < 1) cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  const double quota = cgroup_quota();
  if (quota > 0 && quota < cores) cores = static_cast<int>(std::ceil(quota));
#endif
  return std::clamp(cores, 1, kMaximumThreads);
}

int default_threads() {
  if (const int threads = threads_of_kw_num_threads(); threads > 0) return threads;
  if (const int threads = threads_of_omp_num_threads(); threads > 0) return threads;
  return available_cores();
}

}  // namespace kw::cpu
