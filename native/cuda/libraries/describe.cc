#include "cuda/libraries/describe.h"

#include <nlohmann/json.hpp>

namespace kw::cuda {
namespace {

using nlohmann::json;

#ifdef KW_WITH_CUDNN
constexpr bool kUsesCudnn = true;
#else
constexpr bool kUsesCudnn = false;
#endif
#ifdef KW_WITH_CUBLAS
constexpr bool kUsesCublas = true;
#else
constexpr bool kUsesCublas = false;
#endif

json describe(const Library& library, bool is_used) {
  json attempts = json::array();
  for (const Attempt& attempt : library.attempts()) {
    attempts.push_back({{"origin", attempt.origin}, {"path", attempt.path}, {"problem", attempt.problem}});
  }
  return {{"name", library.name()},       {"soname", library.soname()}, {"path", library.path()}, {"version", library.version()},
          {"problem", library.problem()}, {"isUsed", is_used},          {"attempts", attempts}};
}

}  // namespace

std::string describe_libraries(const GpuLibraries& libraries, const DriverFacts& driver) {
  json devices = json::array();
  for (const GpuFacts& facts : driver.devices) {
    const std::string capability = std::to_string(facts.major) + "." + std::to_string(facts.minor);
    devices.push_back({{"name", facts.name}, {"memory", facts.memory}, {"computeCapability", capability}});
  }
  json report = {
      {"driver", describe(driver.library, true)},
      {"devices", devices},
      {"problem", driver.problem},
      {"libraries",
       {describe(libraries.cudnn, kUsesCudnn), describe(libraries.cublas_lt, kUsesCublas), describe(libraries.nvrtc, kUsesCudnn)}}};
  report["driver"]["release"] = driver.release;
  // Paths may hold any bytes.
  return report.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string describe_libraries() { return describe_libraries(gpu_libraries(), examine_driver(this_process())); }

}  // namespace kw::cuda
