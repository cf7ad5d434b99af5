// What the CUDA backend does around kernels: memory, order, recording, errors. The emulated device's streams work as late as they may.
#include "cuda/cuda_backend.h"

#include <algorithm>
#include <atomic>
#include <future>

#include "cuda/converted_copy.h"
#include "cuda/device_array.h"
#include "op_runner.h"
#include "ops/op_list.h"
#ifdef KW_EMULATOR
#include "emulator/options.h"
#endif

namespace kw::test {

using nlohmann::json;

namespace {

json tensor(int buffer) { return {{"type", "float32"}, {"shape", {4}}, {"buffer", buffer}, {"offset", 0}}; }

json add_step(int a, int b, int y, const char* label = "sum") {
  return {{"op", "add"},    {"label", label},           {"inputs", {a, b}},
          {"outputs", {y}}, {"mutates", json::array()}, {"attributes", json::object()}};
}

// y = x + x, then total = total + y in place; tensors x 0, y 1, total 2.
std::string running_total() {
  const json plan = {{"version", 1},
                     {"name", "running total"},
                     {"buffers",
                      {{{"name", "workspace"}, {"bytes", 0}},
                       {{"name", "x"}, {"bytes", 16}},
                       {{"name", "y"}, {"bytes", 16}},
                       {{"name", "total"}, {"bytes", 16}}}},
                     {"tensors", {tensor(1), tensor(2), tensor(3)}},
                     {"steps", {add_step(0, 0, 1, "double"), add_step(1, 2, 2, "collect")}}};
  return plan.dump();
}

struct Fixture {
  std::shared_ptr<Backend> backend = cuda::open_backend({});
  Device device{"cuda", backend};
  std::shared_ptr<Buffer> y = device.create_buffer(16), total = device.create_buffer(16);

  std::shared_ptr<Buffer> buffer_of(float value) {
    const auto buffer = device.create_buffer(16);
    write(buffer, value);
    return buffer;
  }
  void write(const std::shared_ptr<Buffer>& buffer, float value) {
    const Floats values(4, value);
    device.write(buffer, 0, values.data(), 16, {});
  }
  Floats read(const std::shared_ptr<Buffer>& buffer) {
    Floats values(4);
    device.read(buffer, 0, values.data(), 16, {});
    device.synchronize();
    return values;
  }
};

#ifdef KW_EMULATOR
// Restores the emulator's options.
struct KeptOptions {
  emulator::Options before = emulator::options();
  ~KeptOptions() { emulator::options() = before; }
};
#endif

}  // namespace

TEST_CASE_FIXTURE(Fixture, "CUDA: runs queued one after another see each other's results, recorded or not, for whatever is bound") {
  const auto program = device.create_program(running_total());
  program->bind("y", y);
  program->bind("total", total);
  std::vector<std::shared_ptr<Buffer>> inputs;
  for (int i = 0; i < 6; ++i) inputs.push_back(device.create_buffer(16));  // more than recordings are kept for
  float expected = 0;
  for (int run = 0; run < 20; ++run) {
    const auto& input = inputs[static_cast<size_t>(run * run % 6)];
    write(input, static_cast<float>(run));  // while earlier runs that read it may still wait
    program->bind("x", input);
    device.run(program, false, {});
    expected += 2.0f * static_cast<float>(run);
  }
  CHECK(read(total) == Floats(4, expected));
}

#ifdef KW_EMULATOR
TEST_CASE_FIXTURE(Fixture, "CUDA: a copy that could run ahead of the runs before it waits for those that read its destination") {
  const KeptOptions kept;
  emulator::options().transfers = emulator::Moment::early;
  const auto program = device.create_program(running_total());
  program->bind("y", y);
  program->bind("total", total);
  const auto input = device.create_buffer(16);
  program->bind("x", input);
  float expected = 0;
  for (int run = 0; run < 5; ++run) {
    write(input, static_cast<float>(run));
    device.run(program, false, {});
    expected += 2.0f * static_cast<float>(run);
  }
  CHECK(read(total) == Floats(4, expected));
}
#endif

TEST_CASE_FIXTURE(Fixture, "CUDA: completions come in order, after the work, and large results arrive too") {
  const auto program = device.create_program(running_total());
  program->bind("y", y);
  program->bind("total", total);
  program->bind("x", buffer_of(1));
  std::vector<int> order;
  std::promise<void> last;
  for (int run = 0; run < 3; ++run) {
    device.run(program, false, [&, run](const Error* error) {
      CHECK(error == nullptr);
      order.push_back(run);
    });
  }
  device.notify([&](const Error*) { last.set_value(); });
  last.get_future().wait();
  CHECK(order == std::vector<int>{0, 1, 2});

  const Floats values = random_floats(1 << 20, 3);
  const auto large = device.create_buffer(values.size() * 4);
  device.write(large, 0, values.data(), values.size() * 4, {});
  Floats back(values.size());
  device.read(large, 0, back.data(), values.size() * 4, {});
  device.synchronize();
  CHECK(back == values);
  device.fill_zero(large, {});
  device.read(large, 0, back.data(), values.size() * 4, {});
  device.synchronize();
  CHECK(back == Floats(values.size(), 0.0f));
}

TEST_CASE_FIXTURE(Fixture, "CUDA: a timed run tells each step's time, a recorded one leaves it as it was") {
  const auto program = device.create_program(running_total());
  program->bind("y", y);
  program->bind("total", total);
  program->bind("x", buffer_of(1));
  CHECK(program->step_nanoseconds(0) == 0);
  device.run(program, true, {});
  device.synchronize();
  CHECK(program->step_nanoseconds(0) > 0);
  CHECK(program->step_nanoseconds(1) > 0);
}

TEST_CASE_FIXTURE(Fixture, "CUDA: memory of the caller's is computed with, and is not freed") {
  cuda::DeviceArray own(16);
  int released = 0;
  {
    const auto wrapped = device.wrap_buffer(own.data<void>(), 16, [&] { ++released; });
    const auto program = device.create_program(running_total());
    program->bind("y", y);
    program->bind("total", total);
    program->bind("x", wrapped);
    write(wrapped, 3);
    device.run(program, false, {});
    CHECK(read(total) == Floats(4, 6.0f));
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

#ifdef KW_EMULATOR
TEST_CASE("CUDA: out of memory says what was asked and what is free, and leaves the device usable") {
  const KeptOptions kept;
  emulator::options().memory = size_t{8} << 20;
  Fixture fixture;
  try {
    fixture.device.create_buffer(size_t{64} << 20);
    FAIL("64 MiB were allocated on a device of 8 MiB");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::out_of_memory);
    CHECK(std::string(error.what()).find("Cannot allocate 64 MiB on Emulated device") == 0);
    CHECK(std::string(error.what()).find("of its 8 MiB are free") != std::string::npos);
  }
  json large = json::parse(running_total());
  large["buffers"][0]["bytes"] = 64 << 20;
  try {
    fixture.device.create_program(large.dump());
    FAIL("a workspace of 64 MiB was allocated on a device of 8 MiB");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::out_of_memory);
    CHECK(std::string(error.what()).find("'running total' asks for a workspace of 64 MiB, beside 0 MiB in the buffers") !=
          std::string::npos);
  }
  CHECK(fixture.read(fixture.buffer_of(2)) == Floats(4, 2.0f));
}

TEST_CASE("CUDA: without a GPU, or with another index, opening says what is there") {
  const KeptOptions kept;
  CHECK_THROWS_WITH_AS(cuda::open_backend({7, false}), "There is no GPU 7; this machine shows 1, counted from 0", Error);
  emulator::options().devices = 0;
  try {
    cuda::open_backend({});
    FAIL("a device opened where there is none");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::unsupported);
    CHECK(std::string(error.what()).find("There is no usable GPU") == 0);
  }
}
#endif

TEST_CASE_FIXTURE(Fixture, "CUDA: the backend has each op of the list and no other") {
  std::vector<std::string> registered = backend->registry().names();
  for (const std::string& name : op_names()) {
    const auto found = std::find(registered.begin(), registered.end(), name);
    CHECK_MESSAGE(found != registered.end(), "the CUDA backend has no kernel for the op '", name,
                  "': add it in native/cuda, where its family registers kernels");
    if (found != registered.end()) registered.erase(found);
  }
  for (const std::string& name : registered) {
    CHECK_MESSAGE(name.empty(), "the CUDA backend registers '", name, "', which native/ops does not name");
  }
}

TEST_CASE_FIXTURE(Fixture, "CUDA: an op that this backend lacks is refused when the program is prepared") {
  json plan = json::parse(running_total());
  plan["steps"][0]["op"] = "no such op";
  try {
    device.create_program(plan.dump());
    FAIL("a program with an unknown op was prepared");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::unsupported);
  }
}

TEST_CASE("CUDA: closing cancels what waits") {
  auto fixture = std::make_unique<Fixture>();
  const auto program = fixture->device.create_program(running_total());
  program->bind("y", fixture->y);
  program->bind("total", fixture->total);
  program->bind("x", fixture->buffer_of(1));
  std::atomic<int> ended = 0;
  for (int run = 0; run < 50; ++run) fixture->device.run(program, false, [&](const Error*) { ++ended; });
  fixture->device.close();
  CHECK(ended == 50);
  CHECK_THROWS_AS(fixture->device.run(program, false, {}), Error);
}

}  // namespace kw::test
