#include "emulator/options.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

namespace kw::emulator {
namespace {

/** Sets an environment variable for a while. */
class Variable {
 public:
  Variable(const std::string& name, const char* value) : name_("KW_EMULATOR_" + name) {
    const char* before = std::getenv(name_.c_str());
    had_value_ = before != nullptr;
    if (before) before_ = before;
    setenv(name_.c_str(), value, 1);
  }
  ~Variable() {
    if (had_value_) {
      setenv(name_.c_str(), before_.c_str(), 1);
    } else {
      unsetenv(name_.c_str());
    }
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  std::string name_;
  std::string before_;
  bool had_value_;
};

TEST_CASE("Each option is read from its variable") {
  const Variable schedule("SCHEDULE", "reverse");
  const Variable seed("SEED", "7");
  const Variable copies("COPIES", "early");
  const Variable streams("STREAMS", "early");
  const Variable transfers("TRANSFERS", "early");
  const Variable target("TARGET", "80");
  const Variable devices("DEVICES", "0");
  const Variable memory("MEMORY", "64");
  const Variable threads("THREADS", "3");
  const Options read = read_options();
  CHECK(read.schedule == Schedule::reverse);
  CHECK(read.seed == 7);
  CHECK(read.copies == Moment::early);
  CHECK(read.streams == Moment::early);
  CHECK(read.transfers == Moment::early);
  CHECK(read.target == 80);
  CHECK(read.devices == 0);
  CHECK(read.memory == std::size_t{64} << 20);
  CHECK(read.threads == 3);
}

TEST_CASE("What an option cannot be is an error that says what it can") {
  const auto check = [](const char* name, const char* value, const char* message) {
    const Variable variable(name, value);
    CHECK_THROWS_WITH(read_options(), message);
  };
  check("SCHEDULE", "backward", "KW_EMULATOR_SCHEDULE is \"backward\"; expected forward, reverse or random");
  check("COPIES", "soon", "KW_EMULATOR_COPIES is \"soon\"; expected late or early");
  check("STREAMS", "", "KW_EMULATOR_STREAMS is \"\"; expected late or early");
  check("TARGET", "70", "KW_EMULATOR_TARGET is \"70\"; expected 80 or 90");
  check("DEVICES", "2", "KW_EMULATOR_DEVICES is \"2\"; expected 0 or 1");
  check("MEMORY", "4g", "KW_EMULATOR_MEMORY is \"4g\"; expected a whole number");
}

}  // namespace
}  // namespace kw::emulator
