#include "emulator/options.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace kw::emulator {
namespace {

const char* variable(const char* name) { return std::getenv((std::string("KW_EMULATOR_") + name).c_str()); }

[[noreturn]] void reject(const char* name, const std::string& value, const char* expected) {
  throw std::runtime_error(std::string("KW_EMULATOR_") + name + " is \"" + value + "\"; expected " + expected);
}

std::size_t read_number(const char* name, std::size_t otherwise) {
  const char* text = variable(name);
  if (!text) return otherwise;
  char* end = nullptr;
  const unsigned long long number = std::strtoull(text, &end, 10);
  if (end == text || *end != '\0') reject(name, text, "a whole number");
  return number;
}

Moment read_moment(const char* name, Moment otherwise) {
  const char* text = variable(name);
  if (!text) return otherwise;
  const std::string value = text;
  if (value == "late") return Moment::late;
  if (value == "early") return Moment::early;
  reject(name, value, "late or early");
}

Schedule read_schedule() {
  const char* text = variable("SCHEDULE");
  const std::string value = text ? text : "forward";
  if (value == "forward") return Schedule::forward;
  if (value == "reverse") return Schedule::reverse;
  if (value == "random") return Schedule::random;
  reject("SCHEDULE", value, "forward, reverse or random");
}

}  // namespace

Options read_options() {
  Options read;
  read.schedule = read_schedule();
  read.seed = static_cast<std::uint32_t>(read_number("SEED", read.seed));
  read.copies = read_moment("COPIES", read.copies);
  read.streams = read_moment("STREAMS", read.streams);
  read.transfers = read_moment("TRANSFERS", read.transfers);
  read.target = static_cast<int>(read_number("TARGET", static_cast<std::size_t>(read.target)));
  if (read.target != 80 && read.target != 90) reject("TARGET", std::to_string(read.target), "80 or 90");
  read.devices = static_cast<int>(read_number("DEVICES", 1));
  if (read.devices > 1) reject("DEVICES", std::to_string(read.devices), "0 or 1");
  read.memory = read_number("MEMORY", read.memory >> 20) << 20;
  read.threads = static_cast<int>(read_number("THREADS", 0));
  return read;
}

Options& options() {
  static Options instance = read_options();
  return instance;
}

std::size_t shared_limit() { return (options().target == 80 ? std::size_t{163} : std::size_t{227}) * 1024; }

}  // namespace kw::emulator
