// The C interface over the real CPU backend: what another program sees.
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "kernel_warehouse.h"

extern "C" uint32_t kw_test_abi_version_from_c(void);

namespace {

const std::string kAddPlan = R"({"version": 1, "name": "sum",
  "buffers": [{"name": "workspace", "bytes": 64}, {"name": "x", "bytes": 12}, {"name": "y", "bytes": 12}],
  "tensors": [{"type": "float32", "shape": [3], "buffer": 0, "offset": 0}, {"type": "float32", "shape": [3], "buffer": 1, "offset": 0},
              {"type": "float32", "shape": [3], "buffer": 2, "offset": 0}],
  "steps": [{"op": "fill", "label": "ones", "inputs": [], "outputs": [0], "mutates": [], "attributes": {"shape": [3], "value": 1}},
            {"op": "add", "label": "sum", "inputs": [0, 1], "outputs": [2], "mutates": [], "attributes": {}}]})";

struct Result {
  kw_status status;
  std::string message;
};

void settle(void* promise, kw_status status, const char* message) {
  static_cast<std::promise<Result>*>(promise)->set_value({status, message == nullptr ? "" : message});
}

kw_device* open_cpu(int32_t threads = 1) {
  const kw_device_options options{sizeof(kw_device_options), threads, 0, 0};
  kw_device* device = nullptr;
  REQUIRE(kw_device_open("cpu", &options, &device) == KW_OK);
  return device;
}

TEST_CASE("c api: from opening to the result") {
  CHECK(kw_abi_version() == KW_ABI_VERSION);
  CHECK(kw_available_cores() >= 1);
  CHECK(kw_test_abi_version_from_c() == KW_ABI_VERSION);
  kw_device* device = open_cpu();
  CHECK(std::string(kw_device_name(device)) == "cpu");
  CHECK(kw_device_threads(device) == 1);
  kw_buffer *x = nullptr, *y = nullptr;
  REQUIRE(kw_buffer_create(device, 12, &x) == KW_OK);
  REQUIRE(kw_buffer_create(device, 12, &y) == KW_OK);
  CHECK(reinterpret_cast<uintptr_t>(kw_buffer_address(x)) % 64 == 0);
  CHECK(kw_buffer_bytes(x) == 12);
  kw_program* program = nullptr;
  REQUIRE_MESSAGE(kw_program_create(device, kAddPlan.data(), kAddPlan.size(), &program) == KW_OK, kw_last_error());
  CHECK(kw_program_run(program, nullptr, nullptr) == KW_NOT_BOUND);
  CHECK(std::string(kw_last_error()) == "Program 'sum' cannot run: not bound: 'x', 'y'");
  REQUIRE(kw_program_bind(program, "x", x) == KW_OK);
  REQUIRE(kw_program_bind(program, "y", y) == KW_OK);
  const float values[3] = {1, 2, 3};
  float sums[3] = {};
  std::promise<Result> ran, read;
  REQUIRE(kw_buffer_write(x, 0, values, sizeof(values), nullptr, nullptr) == KW_OK);
  REQUIRE(kw_program_run(program, settle, &ran) == KW_OK);
  REQUIRE(kw_buffer_read(y, 0, sums, sizeof(sums), settle, &read) == KW_OK);
  CHECK(ran.get_future().get().status == KW_OK);
  CHECK(read.get_future().get().status == KW_OK);
  CHECK(std::vector<float>(sums, sums + 3) == std::vector<float>{2, 3, 4});
  REQUIRE(kw_buffer_fill_zero(y, nullptr, nullptr) == KW_OK);
  REQUIRE(kw_device_synchronize(device) == KW_OK);
  CHECK(static_cast<const float*>(kw_buffer_address(y))[2] == 0);

  kw_program_memory_info memory{};
  REQUIRE(kw_program_memory(program, &memory) == KW_OK);
  CHECK(memory.workspace == 64);
  REQUIRE(kw_program_step_count(program) == 2);
  kw_step_info step{};
  REQUIRE(kw_program_step(program, 1, &step) == KW_OK);
  CHECK(std::string(step.op) == "add");
  CHECK(std::string(step.label) == "sum");
  CHECK(step.nanoseconds > 0);
  CHECK(kw_program_step(program, 2, &step) == KW_INVALID_ARGUMENT);
  kw_device_memory_info info{};
  REQUIRE(kw_device_memory(device, &info) == KW_OK);
  CHECK(info.buffers == 2);
  CHECK(info.programs == 1);
  CHECK(info.bytes >= 88);

  kw_device_release(device);  // before what was made on it
  kw_buffer_release(x);
  REQUIRE(kw_program_run(program, nullptr, nullptr) == KW_OK);
  kw_program_release(program);
  kw_buffer_release(y);
}

TEST_CASE("c api: wrong arguments are statuses") {
  kw_device* device = nullptr;
  CHECK(kw_device_open(nullptr, nullptr, &device) == KW_INVALID_ARGUMENT);
  CHECK(kw_device_open("cpu", nullptr, nullptr) == KW_INVALID_ARGUMENT);
  CHECK(kw_device_open("tpu", nullptr, &device) == KW_UNSUPPORTED);
  const kw_device_options too_many{sizeof(kw_device_options), 5000, 0, 0}, too_small{1, 1, 0, 0};
  CHECK(kw_device_open("cpu", &too_many, &device) == KW_INVALID_ARGUMENT);
  CHECK(kw_device_open("cpu", &too_small, &device) == KW_INVALID_ARGUMENT);
  CHECK(device == nullptr);
  CHECK(kw_device_synchronize(nullptr) == KW_INVALID_ARGUMENT);
  CHECK(kw_device_close(nullptr) == KW_INVALID_ARGUMENT);
  CHECK(kw_buffer_bytes(nullptr) == 0);
  CHECK(kw_buffer_address(nullptr) == nullptr);
  kw_device_release(nullptr);
  kw_buffer_release(nullptr);
  kw_program_release(nullptr);
  kw_buffer_changed(nullptr);

  device = open_cpu();
  kw_buffer* buffer = nullptr;
  CHECK(kw_buffer_create(device, SIZE_MAX, &buffer) == KW_OUT_OF_MEMORY);
  CHECK(buffer == nullptr);
  REQUIRE(kw_buffer_create(device, 8, &buffer) == KW_OK);
  char bytes[16] = {};
  CHECK(kw_buffer_write(buffer, 0, bytes, 9, nullptr, nullptr) == KW_INVALID_ARGUMENT);
  CHECK(kw_buffer_write(buffer, 0, nullptr, 8, nullptr, nullptr) == KW_INVALID_ARGUMENT);
  CHECK(kw_buffer_read(buffer, 8, bytes, SIZE_MAX, nullptr, nullptr) == KW_INVALID_ARGUMENT);
  kw_program* program = nullptr;
  CHECK(kw_program_create(device, "{}", 2, &program) == KW_INVALID_PLAN);
  CHECK(std::string(kw_last_error()) == "Invalid plan: plan has no 'version'");
  const std::string unknown = R"({"version":1,"name":"n","buffers":[{"name":"workspace","bytes":0}],"tensors":[],
    "steps":[{"op":"teleport","label":"l","inputs":[],"outputs":[],"mutates":[],"attributes":{}}]})";
  CHECK(kw_program_create(device, unknown.data(), unknown.size(), &program) == KW_UNSUPPORTED);
  CHECK(program == nullptr);
  CHECK(kw_device_notify(device, nullptr, nullptr) == KW_INVALID_ARGUMENT);
  CHECK(kw_device_close(device) == KW_OK);
  CHECK(kw_buffer_fill_zero(buffer, nullptr, nullptr) == KW_DISPOSED);
  kw_buffer_release(buffer);
  kw_device_release(device);
  CHECK(std::string(kw_status_name(KW_NOT_BOUND)) == "KW_NOT_BOUND");
  CHECK(std::string(kw_status_name(static_cast<kw_status>(99))) == "unknown status");
}

TEST_CASE("c api: wrapped memory is given back once") {
  kw_device* device = open_cpu();
  alignas(64) float memory[4] = {5, 6, 7, 8};
  int released = 0;
  const auto release = [](void* count) { ++*static_cast<int*>(count); };
  kw_buffer* buffer = nullptr;
  CHECK(kw_buffer_wrap(device, reinterpret_cast<char*>(memory) + 1, 8, release, &released, &buffer) == KW_INVALID_ARGUMENT);
  CHECK(released == 0);
  REQUIRE(kw_buffer_wrap(device, memory, sizeof(memory), release, &released, &buffer) == KW_OK);
  CHECK(kw_buffer_address(buffer) == memory);
  kw_buffer_changed(buffer);
  std::promise<Result> notified;
  REQUIRE(kw_buffer_fill_zero(buffer, nullptr, nullptr) == KW_OK);
  REQUIRE(kw_device_notify(device, settle, &notified) == KW_OK);
  kw_buffer_release(buffer);
  CHECK(notified.get_future().get().status == KW_OK);
  CHECK(memory[0] == 0);
  kw_device_release(device);
  CHECK(released == 1);
}

TEST_CASE("c api: the last error belongs to its thread") {
  CHECK(kw_device_close(nullptr) == KW_INVALID_ARGUMENT);
  std::string other = "untouched";
  std::thread([&] { other = kw_last_error(); }).join();
  CHECK(other.empty());
  CHECK(std::string(kw_last_error()) == "device is NULL");
}

#if defined(KW_TEST_PLUGIN)
TEST_CASE("c api: the plug-in of a third backend, found by its name") {
  setenv("KW_TEST_PLUGIN", KW_TEST_PLUGIN, 1);
  kw_device* device = nullptr;
  REQUIRE_MESSAGE(kw_device_open("test", nullptr, &device) == KW_OK, kw_last_error());
  CHECK(std::string(kw_device_name(device)) == "test");
  CHECK(std::string(kw_device_description(device)) == "a backend for tests");
  CHECK(kw_device_is_asynchronous(device) == 0);
  kw_buffer *x = nullptr, *y = nullptr;
  REQUIRE(kw_buffer_create(device, 12, &x) == KW_OK);
  REQUIRE(kw_buffer_create(device, 12, &y) == KW_OK);
  kw_program* program = nullptr;
  REQUIRE_MESSAGE(kw_program_create(device, kAddPlan.data(), kAddPlan.size(), &program) == KW_OK, kw_last_error());
  REQUIRE(kw_program_bind(program, "x", x) == KW_OK);
  REQUIRE(kw_program_bind(program, "y", y) == KW_OK);
  const float values[3] = {1, 2, 3};
  float sums[3] = {};
  REQUIRE(kw_buffer_write(x, 0, values, sizeof(values), nullptr, nullptr) == KW_OK);
  REQUIRE(kw_program_run(program, nullptr, nullptr) == KW_OK);
  REQUIRE(kw_buffer_read(y, 0, sums, sizeof(sums), nullptr, nullptr) == KW_OK);
  REQUIRE(kw_device_synchronize(device) == KW_OK);
  CHECK(sums[0] == 2);
  CHECK(sums[2] == 4);
  kw_program_release(program);

  std::string other = kAddPlan;
  other.replace(other.find("\"op\": \"add\""), 11, "\"op\": \"relu\"");
  CHECK(kw_program_create(device, other.data(), other.size(), &program) == KW_UNSUPPORTED);
  CHECK(std::string(kw_last_error()) == "[relu] sum: this backend has no such op");
  kw_buffer_release(x);
  kw_buffer_release(y);
  kw_device_release(device);
  unsetenv("KW_TEST_PLUGIN");

  CHECK(kw_device_open("nothing", nullptr, &device) == KW_UNSUPPORTED);
  CHECK(std::string(kw_last_error()).find("libkw_nothing.so") != std::string::npos);
  CHECK(kw_device_open("../cuda", nullptr, &device) == KW_INVALID_ARGUMENT);
  CHECK(kw_device_open("", nullptr, &device) == KW_INVALID_ARGUMENT);
}
#endif

TEST_CASE("c api: the names of ops") {
  REQUIRE(kw_op_count() > 0);
  CHECK(std::string(kw_op_name(0)) == "adamw");
  CHECK(kw_op_name(kw_op_count()) == nullptr);
}

}  // namespace
