// The list of ops: what is in it, and what a backend makes of it.
#include <algorithm>
#include <iterator>
#include <set>

#include "op_runner.h"
#include "ops/op_list.h"

namespace kw {
namespace {

TEST_CASE("ops: the list is in the order of the alphabet, without repetition") {
  const std::vector<std::string> names = op_names();
  CHECK(names.size() > 60);
  for (size_t i = 1; i < names.size(); ++i) CHECK_MESSAGE(names[i - 1] < names[i], names[i - 1], " stands before ", names[i]);
}

TEST_CASE("ops: the CPU has each op of the list and no other") {
  const std::vector<std::string> listed = op_names(), registered = cpu::registry().names();
  for (const std::string& name : listed) {
    CHECK_MESSAGE(std::count(registered.begin(), registered.end(), name) == 1, "the CPU backend has no kernel for the op '", name,
                  "': add it in native/cpu, where its family registers kernels");
  }
  for (const std::string& name : registered) {
    CHECK_MESSAGE(std::count(listed.begin(), listed.end(), name) == 1, "the CPU backend registers '", name,
                  "', which native/ops/op_list.h does not name");
  }
}

}  // namespace
}  // namespace kw
