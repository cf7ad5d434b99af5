// The executor and its stream, with ops of the test's own: order, versions, errors, lifetimes.
#include "runtime/device.h"
#include "cpu/cpu_backend.h"

#include <doctest/doctest.h>
#include <omp.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <future>
#include <mutex>
#include <thread>

#include "cpu/thread_count.h"

namespace kw {
namespace {

using nlohmann::json;

// Lets a test hold a device's thread inside a step.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    entered_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void wait_until_entered() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return entered_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  bool entered_ = false;
};

Gate* gate = nullptr;
std::vector<uint64_t> seen_versions;
int seen_threads = 0;

class Function : public Kernel {
 public:
  explicit Function(std::function<void(const Memory&)> body) : body_(std::move(body)) {}
  void run(const Memory& memory) override { body_(memory); }

 private:
  std::function<void(const Memory&)> body_;
};

std::unique_ptr<Kernel> make(std::function<void(const Memory&)> body) { return std::make_unique<Function>(std::move(body)); }

const KernelRegistry& test_ops() {
  static const KernelRegistry registry = [] {
    KernelRegistry ops;
    ops.add("increment", [](const StepContext& context) {  // adds 1 to every element of input 0, in place
      const Tensor& x = context.input(0);
      return make([&x](const Memory& memory) {
        for (int64_t i = 0; i < x.elements(); ++i) memory.data<float>(x)[i] += 1;
      });
    });
    ops.add("double", [](const StepContext& context) {
      const Tensor &x = context.input(0), &y = context.output(0);
      context.reserve_scratch(1000);
      context.resources.prepared_bytes += 10;
      seen_threads = omp_get_max_threads();
      return make([&x, &y](const Memory& memory) {
        CHECK(reinterpret_cast<uintptr_t>(memory.scratch()) % 64 == 0);
        std::memset(memory.scratch(), 1, 1000);
        for (int64_t i = 0; i < x.elements(); ++i) memory.data<float>(y)[i] = 2 * memory.data<float>(x)[i];
      });
    });
    ops.add("see_version", [](const StepContext& context) {
      const Tensor& x = context.input(0);
      return make([&x](const Memory& memory) { seen_versions.push_back(memory.version(x)); });
    });
    ops.add("wait", [](const StepContext&) { return make([](const Memory&) { gate->pass(); }); });
    ops.add("throw", [](const StepContext&) { return make([](const Memory&) { throw std::runtime_error("the kernel's own words"); }); });
    ops.add("throw_at_once", [](const StepContext&) -> std::unique_ptr<Kernel> { throw std::runtime_error("not today"); });
    return ops;
  }();
  return registry;
}

json step(const char* op, std::vector<int> inputs, std::vector<int> outputs, std::vector<int> mutates = {}) {
  return {{"op", op},           {"label", std::string("the ") + op}, {"inputs", inputs}, {"outputs", outputs},
          {"mutates", mutates}, {"attributes", json::object()}};
}

// Buffers "x" and "y" of 4 floats each (tensors 0 and 1), and tensor 2 in the workspace.
std::string plan_of(std::vector<json> steps) {
  const json plan = {{"version", 1},
                     {"name", "test"},
                     {"buffers", {{{"name", "workspace"}, {"bytes", 64}}, {{"name", "x"}, {"bytes", 16}}, {{"name", "y"}, {"bytes", 16}}}},
                     {"tensors",
                      {{{"type", "float32"}, {"shape", {2, 2}}, {"buffer", 1}, {"offset", 0}},
                       {{"type", "float32"}, {"shape", {4}}, {"buffer", 2}, {"offset", 0}},
                       {{"type", "float32"}, {"shape", {4}}, {"buffer", 0}, {"offset", 0}}}},
                     {"steps", steps}};
  return plan.dump();
}

struct Fixture {
  Device device{"test", cpu::open_backend(2, test_ops())};
  std::shared_ptr<Buffer> x = device.create_buffer(16), y = device.create_buffer(16);

  std::shared_ptr<Program> program(std::vector<json> steps) {
    auto made = device.create_program(plan_of(std::move(steps)));
    made->bind("x", x);
    made->bind("y", y);
    return made;
  }
  void write(const std::vector<float>& values) { device.write(x, 0, values.data(), values.size() * 4, {}); }
  std::vector<float> read(const std::shared_ptr<Buffer>& buffer) {
    std::vector<float> values(4);
    device.read(buffer, 0, values.data(), 16, {});
    device.synchronize();
    return values;
  }
};

ErrorCode code_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.code();
  }
  FAIL("nothing was thrown");
  return ErrorCode::internal;
}

TEST_CASE_FIXTURE(Fixture, "device: writes, runs and reads happen in the order of the calls") {
  const auto twice = program({step("double", {0}, {2}), step("increment", {2}, {}, {0}), step("double", {2}, {1})});
  write({1, 2, 3, 4});
  device.run(twice, false, {});
  std::vector<float> early(4);
  device.read(y, 0, early.data(), 16, {});
  write({0, 0, 0, 0});
  device.run(twice, false, {});
  CHECK(read(y) == std::vector<float>{2, 2, 2, 2});
  CHECK(early == std::vector<float>{6, 10, 14, 18});
  CHECK(twice->scratch_bytes() == 1000);
  CHECK(twice->prepared_bytes() == 20);
  CHECK(twice->workspace_bytes() == 64);
  for (size_t index = 0; index < 3; ++index) CHECK(twice->step_nanoseconds(index) > 0);
  CHECK(seen_threads == 2);
}

TEST_CASE_FIXTURE(Fixture, "device: a write takes the bytes during the call") {
  std::vector<float> values = {1, 2, 3, 4};
  write(values);
  values.assign(4, 9);
  CHECK(read(x) == std::vector<float>{1, 2, 3, 4});
  device.fill_zero(x, {});
  CHECK(read(x) == std::vector<float>{0, 0, 0, 0});
}

TEST_CASE_FIXTURE(Fixture, "device: a run uses the buffers that were bound when it was queued") {
  const auto doubled = program({step("double", {0}, {1})});
  const auto other = device.create_buffer(64);
  write({1, 1, 1, 1});
  device.run(doubled, false, {});
  doubled->bind("y", other);
  CHECK(read(y) == std::vector<float>{2, 2, 2, 2});
  CHECK(read(other) == std::vector<float>{0, 0, 0, 0});
  device.run(doubled, false, {});
  CHECK(read(other) == std::vector<float>{2, 2, 2, 2});
}

TEST_CASE_FIXTURE(Fixture, "device: versions grow with writes, with mutating steps and with outputs, and not otherwise") {
  seen_versions.clear();
  const auto watch = program({step("see_version", {0}, {}), step("see_version", {0}, {})});
  const auto change = program({step("increment", {0}, {}, {0}), step("see_version", {0}, {})});
  const auto output = program({step("double", {1}, {0})});
  device.run(watch, false, {});
  device.run(change, false, {});
  device.run(watch, false, {});
  write({1, 2, 3, 4});
  device.run(watch, false, {});
  device.run(output, false, {});
  device.run(watch, false, {});
  device.synchronize();
  REQUIRE(seen_versions.size() == 9);
  CHECK(seen_versions[0] > 0);
  CHECK(seen_versions[0] == seen_versions[1]);
  CHECK(seen_versions[2] > seen_versions[1]);
  CHECK(seen_versions[3] == seen_versions[2]);
  CHECK(seen_versions[5] > seen_versions[4]);
  CHECK(seen_versions[7] > seen_versions[6]);
  CHECK(x->version() != y->version());

  seen_versions.clear();
  change->bind("y", x);  // one buffer under two names: a write through one is seen through the other
  const auto alias = program({step("see_version", {1}, {}), step("increment", {0}, {}, {0}), step("see_version", {1}, {})});
  alias->bind("y", x);
  device.run(alias, false, {});
  device.synchronize();
  CHECK(seen_versions[1] > seen_versions[0]);
}

TEST_CASE_FIXTURE(Fixture, "device: binding is checked") {
  const auto unbound = device.create_program(plan_of({step("double", {0}, {1})}));
  unbound->bind("x", x);
  CHECK(code_of([&] { device.run(unbound, false, {}); }) == ErrorCode::not_bound);
  CHECK_THROWS_WITH(device.run(unbound, false, {}), "Program 'test' cannot run: not bound: 'y'");
  CHECK_THROWS_WITH(unbound->bind("z", x), "Program 'test' has no buffer 'z' to bind; it has 'x', 'y'");
  CHECK_THROWS_WITH(unbound->bind("workspace", x), "Program 'test' has no buffer 'workspace' to bind; it has 'x', 'y'");
  CHECK_THROWS_WITH(unbound->bind("y", device.create_buffer(15)), "The buffer for 'y' of program 'test' needs 16 bytes, but has 15");
  Device other("test", cpu::open_backend(1, test_ops()));
  CHECK(code_of([&] { unbound->bind("y", other.create_buffer(16)); }) == ErrorCode::invalid_argument);
}

TEST_CASE_FIXTURE(Fixture, "device: a kernel that throws ends that run only, with op, label and shapes") {
  const auto failing = program({step("increment", {0}, {}, {0}), step("throw", {0, -1}, {1}), step("increment", {0}, {}, {0})});
  std::promise<std::string> message;
  device.run(failing, false, [&](const Error* error) { message.set_value(error == nullptr ? "" : error->what()); });
  CHECK(message.get_future().get() == "[throw] the throw (inputs [2,2] absent; outputs [4]) failed: the kernel's own words");
  CHECK(read(x) == std::vector<float>{1, 1, 1, 1});
  device.run(failing, false, {});
  CHECK(code_of([&] { device.synchronize(); }) == ErrorCode::internal);
  device.synchronize();  // reported once
  CHECK_THROWS_WITH(program({step("throw_at_once", {}, {1})}),
                    "Cannot prepare [throw_at_once] the throw_at_once (inputs none; outputs [4]): not today");
}

TEST_CASE_FIXTURE(Fixture, "device: ranges and sizes are checked") {
  std::byte bytes[16];
  CHECK(code_of([&] { device.write(x, 1, bytes, 16, {}); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { device.read(x, 17, bytes, 0, {}); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { device.read(x, SIZE_MAX, bytes, 2, {}); }) == ErrorCode::invalid_argument);
  for (const size_t absurd : {SIZE_MAX, SIZE_MAX / 2, size_t{1} << 50}) {
    CHECK(code_of([&] { device.create_buffer(absurd); }) == ErrorCode::out_of_memory);
  }
  for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, size_t{3} << 20}) {
    const auto buffer = device.create_buffer(size);
    CHECK(reinterpret_cast<uintptr_t>(buffer->data()) % 64 == 0);
    for (size_t i = 0; i < size; i += 1000) REQUIRE(buffer->data()[i] == std::byte{0});
  }
  json huge = json::parse(plan_of({}));
  huge["buffers"][0]["bytes"] = int64_t{1} << 47;
  CHECK(code_of([&] { device.create_program(huge.dump()); }) == ErrorCode::out_of_memory);
  CHECK(code_of([&] { cpu::open_backend(-1, test_ops()); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { cpu::open_backend(cpu::kMaximumThreads + 1, test_ops()); }) == ErrorCode::invalid_argument);
}

TEST_CASE_FIXTURE(Fixture, "device: wrapped memory") {
  alignas(4) float memory[4] = {1, 2, 3, 4};
  int released = 0;
  const auto doubled = program({step("double", {0}, {1})});
  {
    const auto wrapped = device.wrap_buffer(memory, sizeof(memory), [&] { ++released; });
    doubled->bind("x", wrapped);
    device.run(doubled, false, {});
    CHECK(read(y) == std::vector<float>{2, 4, 6, 8});
    CHECK(device.counters().bytes == 32 + 64 + 1000);
    CHECK(device.counters().buffers == 3);
  }
  CHECK(released == 0);  // still bound
  doubled->bind("x", x);
  device.synchronize();
  CHECK(released == 1);
  CHECK(code_of([&] { device.wrap_buffer(reinterpret_cast<std::byte*>(memory) + 1, 4, {}); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { device.wrap_buffer(nullptr, 4, {}); }) == ErrorCode::invalid_argument);
}

TEST_CASE("device: releasing everything while work is queued") {
  Gate held;
  gate = &held;
  std::atomic<int> done = 0;
  std::vector<float> result(4);
  auto fixture = std::make_unique<Fixture>();
  auto waiting = fixture->program({step("wait", {}, {2}), step("increment", {0}, {}, {0})});
  for (int run = 0; run < 3; ++run) fixture->device.run(waiting, false, [&](const Error* error) { done += error == nullptr ? 1 : 100; });
  fixture->device.read(fixture->x, 0, result.data(), 16, [&](const Error*) { ++done; });
  waiting.reset();
  fixture->x.reset();
  held.wait_until_entered();
  std::thread opener([&] { held.open(); });
  fixture.reset();  // waits
  opener.join();
  CHECK(done == 4);
  CHECK(result == std::vector<float>{3, 3, 3, 3});
}

TEST_CASE("device: closing cancels what waits and stops the running program after its step") {
  Gate held;
  gate = &held;
  Fixture fixture;
  std::atomic<int> disposed = 0;
  const auto count = [&](const Error* error) { disposed += error != nullptr && error->code() == ErrorCode::disposed ? 1 : 100; };
  const auto waiting = fixture.program({step("wait", {}, {2}), step("increment", {0}, {}, {0})});
  for (int run = 0; run < 3; ++run) fixture.device.run(waiting, false, count);
  held.wait_until_entered();
  std::thread opener([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    held.open();
  });
  fixture.device.close();
  opener.join();
  CHECK(disposed == 3);
  CHECK(fixture.x->data()[3] == std::byte{0});  // the step after the running one did not happen
  CHECK(code_of([&] { fixture.device.run(waiting, false, count); }) == ErrorCode::disposed);
  fixture.device.close();
}

TEST_CASE("device: a callback may release the device, but not wait for it") {
  auto device = std::make_unique<Device>("test", cpu::open_backend(1, test_ops()));
  std::promise<ErrorCode> code;
  std::promise<void> released;
  device->notify([&](const Error*) { code.set_value(code_of([&] { device->synchronize(); })); });
  CHECK(code.get_future().get() == ErrorCode::invalid_argument);
  device->notify([&](const Error*) {
    device.reset();
    released.set_value();
  });
  released.get_future().get();
}

TEST_CASE("device: several at once, used from several threads") {
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&right] {
      for (int round = 0; round < 20; ++round) {
        Fixture fixture;
        const auto increment = fixture.program({step("increment", {0}, {}, {0})});
        std::vector<std::thread> users;
        for (int user = 0; user < 2; ++user) {
          users.emplace_back([&] {
            for (int run = 0; run < 50; ++run) fixture.device.run(increment, false, {});
          });
        }
        for (std::thread& user : users) user.join();
        right += fixture.read(fixture.x) == std::vector<float>(4, 100) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(right == 80);
}

TEST_CASE("processors: the default number of threads") {
  CHECK(cpu::available_cores() >= 1);
  CHECK(cpu::available_cores() <= static_cast<int>(std::thread::hardware_concurrency()));
  const char* saved[] = {std::getenv("KW_NUM_THREADS"), std::getenv("OMP_NUM_THREADS")};
  const std::string before[] = {saved[0] == nullptr ? "" : saved[0], saved[1] == nullptr ? "" : saved[1]};
  setenv("OMP_NUM_THREADS", "5,2", 1);
  setenv("KW_NUM_THREADS", "3", 1);
  CHECK(cpu::default_threads() == 3);
  setenv("KW_NUM_THREADS", "1024", 1);
  CHECK(cpu::default_threads() == 1024);
  for (const char* wrong : {"many", "0", "-1", "1025", "3.5", "3,2", " 3", "99999999999999999999"}) {
    setenv("KW_NUM_THREADS", wrong, 1);
    const std::string message = "KW_NUM_THREADS must be a whole number from 1 to 1024, not '" + std::string(wrong) + "'";
    CHECK_THROWS_WITH_AS(cpu::default_threads(), doctest::Contains(message.c_str()), Error);
  }
  setenv("KW_NUM_THREADS", "", 1);
  CHECK(cpu::default_threads() == 5);
  setenv("OMP_NUM_THREADS", "0", 1);
  CHECK(cpu::default_threads() == cpu::available_cores());
  setenv("KW_NUM_THREADS", before[0].c_str(), 1);
  setenv("OMP_NUM_THREADS", before[1].c_str(), 1);
}

}  // namespace
}  // namespace kw
