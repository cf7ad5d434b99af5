// The search for NVIDIA's libraries: each case asks a new process (libraries_report.cc), whose machine is a folder with stand-ins in it.
#include <doctest/doctest.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#if defined(__aarch64__)
#define KW_TARGET "sbsa-linux"
#else
#define KW_TARGET "x86_64-linux"
#endif

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kWheel = "lib/python3.11/site-packages/nvidia";
const std::vector<std::string> kCudnnFiles = {"libcudnn.so.9",
                                              "libcudnn_graph.so.9",
                                              "libcudnn_ops.so.9",
                                              "libcudnn_cnn.so.9",
                                              "libcudnn_adv.so.9",
                                              "libcudnn_heuristic.so.9",
                                              "libcudnn_engines_precompiled.so.9",
                                              "libcudnn_engines_runtime_compiled.so.9"};

// A machine of which everything is in one folder.
class Machine {
 public:
  Machine() {
    std::string name = (fs::temp_directory_path() / "kernel-warehouse-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    root_ = name;
    // Files that are no libraries, first in the dynamic linker's search: they hide the libraries of the machine that runs the tests.
    for (const char* file : {"libcudnn.so.9", "libcublasLt.so.13", "libnvrtc.so.13", "libcuda.so.1"})
      write(std::string("hidden/") + file, "");
    variables["LD_LIBRARY_PATH"] = path("hidden");
  }
  ~Machine() { fs::remove_all(root_); }

  std::string path(const std::string& name) const { return (root_ / name).string(); }

  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }

  void install(const std::string& folder, const std::vector<std::string>& files, const std::string& kind = "complete") const {
    fs::create_directories(root_ / folder);
    for (const std::string& file : files) {
      fs::copy_file(fs::path(KW_FAKE_NVIDIA) / kind / file, root_ / folder / file, fs::copy_options::overwrite_existing);
    }
  }

  json report(const std::vector<std::string>& preloaded = {}) const { return json::parse(ask(root_.string(), preloaded)); }

  // What a new process prints in these surroundings.
  std::string ask(const std::string& what, const std::vector<std::string>& preloaded = {}) const {
    std::string command = "env -i";
    for (const auto& [name, value] : variables) command += " " + name + "='" + value + "'";
    command += std::string(" '") + KW_LIBRARIES_REPORT + "' '" + what + "'";
    for (const std::string& library : preloaded) command += " '" + library + "'";
    FILE* pipe = popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::string text;
    char part[4096];
    while (const size_t bytes = fread(part, 1, sizeof(part), pipe)) text.append(part, bytes);
    REQUIRE_MESSAGE(pclose(pipe) == 0, command);
    return text;
  }

  std::map<std::string, std::string> variables;

 private:
  fs::path root_;
};

json cudnn(const json& report) { return report["libraries"][0]; }
json cublas_lt(const json& report) { return report["libraries"][1]; }
json nvrtc(const json& report) { return report["libraries"][2]; }

std::string text_of(const json& value) { return value.get<std::string>(); }

bool contains(const json& text, const std::string& part) { return text_of(text).find(part) != std::string::npos; }

// The origins of all attempts, in order; without the dynamic linker's two, which come in every search.
std::vector<std::string> origins(const json& library) {
  std::vector<std::string> names;
  for (const json& attempt : library["attempts"]) {
    const std::string origin = text_of(attempt["origin"]);
    if (origin != "loaded already" && origin != "dynamic linker") names.push_back(origin);
  }
  return names;
}

TEST_CASE("libraries: where there are none, every place tried is named") {
  Machine machine;
  machine.variables["VIRTUAL_ENV"] = machine.path("venv");
  machine.variables["HOME"] = machine.path("home");
  const json report = machine.report();
  CHECK(cudnn(report)["path"] == "");
  CHECK(cudnn(report)["version"] == "");
  CHECK(text_of(cudnn(report)["problem"]) ==
        "cuDNN was not found (libcudnn.so.9). Install it with `pip install nvidia-cudnn-cu13` or NVIDIA's package cudnn9-cuda-13, or name "
        "its "
        "folder in KW_CUDNN_PATH.");
  CHECK(contains(cublas_lt(report)["problem"], "cuBLASLt was not found (libcublasLt.so.13)."));
  CHECK(contains(nvrtc(report)["problem"], "NVRTC was not found (libnvrtc.so.13)."));
  CHECK(origins(cudnn(report)) ==
        std::vector<std::string>{"toolkit", "toolkit", "VIRTUAL_ENV", "pip install --user", "the system's Python", "the system's Python"});
  const json attempt = cudnn(report)["attempts"][4];
  CHECK(text_of(attempt["path"]) == machine.path("venv/{lib,lib64}/python3*/{site,dist}-packages/nvidia/*/lib/libcudnn.so.9"));
  CHECK(attempt["problem"] == "not there");
  CHECK(contains(cudnn(report)["attempts"][1]["problem"], "file too short"));
  CHECK(report["devices"].empty());
  CHECK(contains(report["problem"], "The NVIDIA driver was not found (libcuda.so.1). Install driver 580 or newer"));
}

TEST_CASE("libraries: every place, in order") {
  Machine machine;
  machine.variables = {
      {"KW_CUDNN_PATH", machine.path("own")},    {"KW_CUDA_PATH", machine.path("chosen")}, {"LD_LIBRARY_PATH", machine.path("linker")},
      {"CUDA_HOME", machine.path("cuda_home")},  {"CUDA_PATH", machine.path("cuda_path")}, {"CONDA_PREFIX", machine.path("conda")},
      {"VIRTUAL_ENV", machine.path("venv [1]")}, {"PATH", machine.path("uv/bin")},         {"HOME", machine.path("home")}};
  machine.write("uv/bin/python3", "");
  fs::permissions(machine.path("uv/bin/python3"), fs::perms::owner_all);
  const std::vector<std::string> folders = {"own",
                                            "chosen",
                                            "chosen/lib64",
                                            "preloaded",
                                            "linker",
                                            "cuda_home/lib64",
                                            "cuda_path/targets/" KW_TARGET "/lib",
                                            "usr/local/cuda-13.10/lib64",
                                            "usr/local/cuda-13.9/lib64",
                                            "usr/local/cuda/lib64",
                                            "conda/lib",
                                            "venv [1]/" + kWheel + "/cudnn/lib",
                                            "conda/" + kWheel + "/cudnn/lib",
                                            "uv/" + kWheel + "/cudnn/lib",
                                            "home/.local/" + kWheel + "/cudnn/lib",
                                            "usr/local/lib/python3.11/dist-packages/nvidia/cudnn/lib",
                                            "usr/lib/python3/dist-packages/nvidia/cudnn/lib"};
  for (const std::string& folder : folders) machine.install(folder, kCudnnFiles);
  for (const std::string& folder : folders) {
    CAPTURE(folder);
    const bool is_preloaded = fs::exists(machine.path("preloaded/libcudnn.so.9"));
    const json library =
        cudnn(machine.report(is_preloaded ? std::vector{machine.path("preloaded/libcudnn.so.9")} : std::vector<std::string>{}));
    CHECK(text_of(library["path"]) == machine.path(folder + "/libcudnn.so.9"));
    CHECK(library["version"] == "9.24.5");
    CHECK(library["problem"] == "");
    for (const std::string& file : kCudnnFiles) fs::remove(machine.path(folder + "/" + file));
    if (folder == "own") machine.variables.erase("KW_CUDNN_PATH");
    if (folder == "linker") machine.variables["LD_LIBRARY_PATH"] = machine.path("hidden");
  }
}

TEST_CASE("libraries: NVIDIA's wheels in an environment") {
  Machine machine;
  machine.variables["VIRTUAL_ENV"] = machine.path("venv");
  machine.install("venv/" + kWheel + "/cudnn/lib", kCudnnFiles);
  machine.install("venv/" + kWheel + "/cu13/lib", {"libcublasLt.so.13", "libnvrtc.so.13"});
  const json report = machine.report();
  CHECK(cudnn(report)["version"] == "9.24.5");
  CHECK(text_of(cublas_lt(report)["path"]) == machine.path("venv/" + kWheel + "/cu13/lib/libcublasLt.so.13"));
  CHECK(cublas_lt(report)["version"] == "13.1.3");
  CHECK(nvrtc(report)["version"] == "13.2");
  CHECK(cudnn(report)["attempts"].back()["origin"] == "VIRTUAL_ENV");
  CHECK(cudnn(report)["attempts"].back()["problem"] == "");
}

TEST_CASE("libraries: a path variable names a file, a folder, or none, and then nothing else is tried") {
  Machine machine;
  machine.variables["VIRTUAL_ENV"] = machine.path("venv");
  machine.install("venv/" + kWheel + "/cudnn/lib", kCudnnFiles);
  machine.install("own/lib", kCudnnFiles);
  machine.install("own/lib", {"libcublasLt.so.13"});
  for (const char* name : {"own", "own/lib", "own/lib/libcudnn.so.9"}) {
    machine.variables["KW_CUDNN_PATH"] = machine.path(name);
    CHECK(text_of(cudnn(machine.report())["path"]) == machine.path("own/lib/libcudnn.so.9"));
  }
  machine.variables["KW_CUDNN_PATH"] = machine.path("empty");
  json library = cudnn(machine.report());
  CHECK(library["path"] == "");
  CHECK(contains(library["problem"],
                 "cuDNN was not found (libcudnn.so.9); KW_CUDNN_PATH=" + machine.path("empty") + " keeps the search to one place."));
  CHECK(library["attempts"].size() == 1);
  machine.variables["KW_CUDNN_PATH"] = "none";
  library = cudnn(machine.report());
  CHECK(library["problem"] == "cuDNN is not used: KW_CUDNN_PATH=none.");
  CHECK(library["attempts"].empty());
  machine.variables["KW_CUBLAS_PATH"] = machine.path("own");
  CHECK(text_of(cublas_lt(machine.report())["path"]) == machine.path("own/lib/libcublasLt.so.13"));
}

TEST_CASE("libraries: what cannot serve is refused with the reason, and the search goes on") {
  Machine machine;
  machine.variables["CUDA_HOME"] = machine.path("cuda");
  machine.install("cuda/lib64", kCudnnFiles);
  const auto refusal = [&](const char* variable, const char* value) {
    machine.variables[variable] = value;
    const json library = cudnn(machine.report());
    machine.variables.erase(variable);
    CHECK(library["path"] == "");
    return text_of(library["problem"]);
  };
  const std::string start = "cuDNN cannot be used: " + machine.path("cuda/lib64/libcudnn.so.9") + ": ";
  CHECK(refusal("FAKE_CUDNN_CUDART", "12090").find(start + "it is built for CUDA 12, and CUDA 13 is needed") == 0);
  CHECK(refusal("FAKE_CUDNN_VERSION", "8907").find(start + "it is cuDNN 8, and 9 or newer is needed") == 0);
  for (const char* part : {"graph", "ops", "cnn"}) {
    std::string variable = std::string("FAKE_CUDNN_") + part + "_CHECK";
    for (char& character : variable) character = static_cast<char>(toupper(character));
    const std::string message = start + "it is of another version than the libcudnn_" + part + ".so.9 beside it";
    CHECK(refusal(variable.c_str(), "1004").find(message) == 0);
  }
  SUBCASE("a function is missing") {
    machine.install("cuda/lib64", {"libcudnn.so.9"}, "incomplete");
    CHECK(contains(cudnn(machine.report())["problem"], start + "it has no function cudnnDestroy; another version of cuDNN is needed"));
  }
  SUBCASE("a companion is missing") {
    for (const std::string& companion : kCudnnFiles) {
      if (companion == "libcudnn.so.9" || companion == "libcudnn_adv.so.9") continue;
      fs::remove(machine.path("cuda/lib64/" + companion));
      CHECK(contains(cudnn(machine.report())["problem"], start + companion + " is not beside it; reinstall cuDNN"));
      machine.install("cuda/lib64", {companion});
    }
  }
  SUBCASE("a companion that is no library") {
    machine.write("cuda/lib64/libcudnn_adv.so.9", "text");
    CHECK(contains(cudnn(machine.report())["problem"], start + machine.path("cuda/lib64/libcudnn_adv.so.9") + ": file too short"));
  }
  fs::remove(machine.path("cuda/lib64/libcudnn_graph.so.9"));
  machine.variables["CONDA_PREFIX"] = machine.path("conda");
  machine.install("conda/lib", kCudnnFiles);
  const json library = cudnn(machine.report());
  CHECK(text_of(library["path"]) == machine.path("conda/lib/libcudnn.so.9"));
  CHECK(library["problem"] == "");
  CHECK(text_of(library["attempts"][2]["path"]) == machine.path("cuda/lib64/libcudnn.so.9"));
  CHECK(text_of(library["attempts"][2]["problem"]) != "");
}

TEST_CASE("libraries: cuBLASLt and NVRTC of another CUDA are refused") {
  Machine machine;
  machine.variables = {{"CUDA_HOME", machine.path("cuda")}, {"FAKE_CUBLAS_CUDART", "12080"}, {"FAKE_NVRTC_MAJOR", "12"}};
  machine.install("cuda/lib64", {"libcublasLt.so.13", "libnvrtc.so.13"});
  json report = machine.report();
  CHECK(contains(cublas_lt(report)["problem"], "it is built for CUDA 12, and CUDA 13 is needed; pip install nvidia-cublas"));
  CHECK(contains(nvrtc(report)["problem"], "it is built for CUDA 12, and CUDA 13 is needed; pip install nvidia-cuda-nvrtc"));
  machine.variables.erase("FAKE_CUBLAS_CUDART");
  machine.install("cuda/lib64", {"libcublasLt.so.13"}, "incomplete");
  CHECK(contains(cublas_lt(machine.report())["problem"], "it has no function cublasLtDestroy"));
}

TEST_CASE("libraries: two versions of cuDNN are not mixed") {
  Machine machine;
  machine.variables["CUDA_HOME"] = machine.path("cuda");
  machine.install("cuda/lib64", kCudnnFiles);
  machine.install("other", {"libcudnn_ops.so.9"});
  const json library = cudnn(machine.report({machine.path("other/libcudnn_ops.so.9")}));
  CHECK(library["path"] == "");
  CHECK(contains(library["problem"], "two versions would be mixed: " + machine.path("cuda/lib64/libcudnn.so.9") + " would work with " +
                                         machine.path("other/libcudnn_ops.so.9")));
  // A folder that the dynamic linker would look into first changes nothing: the companions come from the library's own.
  machine.variables["LD_LIBRARY_PATH"] = machine.path("other");
  CHECK(text_of(cudnn(machine.report())["path"]) == machine.path("cuda/lib64/libcudnn.so.9"));
}

TEST_CASE("libraries: a link in one folder to a library among its companions in another") {
  Machine machine;
  machine.variables["CUDA_HOME"] = machine.path("cuda");
  machine.install("alternatives/13", kCudnnFiles);
  fs::create_directories(machine.path("cuda/lib64"));
  fs::create_symlink(machine.path("alternatives/13/libcudnn.so.9"), machine.path("cuda/lib64/libcudnn.so.9"));
  CHECK(text_of(cudnn(machine.report())["path"]) == machine.path("cuda/lib64/libcudnn.so.9"));
}

TEST_CASE("libraries: tables of functions, where the headers were there to build with") {
  Machine machine;
  machine.install("own", kCudnnFiles);
  machine.install("own", {"libcublasLt.so.13"});
  machine.variables["KW_CUDNN_PATH"] = machine.variables["KW_CUBLAS_PATH"] = machine.path("own");
  const json report = machine.report();
  std::string expected;
  std::string without;
  if (cudnn(report)["isUsed"].get<bool>()) {
    expected += "cuDNN: " + machine.path("own/libcudnn.so.9") + "\n";
    without += "cuDNN: no table\n";
  }
  if (cublas_lt(report)["isUsed"].get<bool>()) {
    expected += "cuBLASLt: " + machine.path("own/libcublasLt.so.13") + "\n";
    without += "cuBLASLt: no table\n";
  }
  CHECK(machine.ask("tables") == expected);
  machine.variables["KW_CUDNN_PATH"] = machine.variables["KW_CUBLAS_PATH"] = "none";
  CHECK(machine.ask("tables") == without);
}

TEST_CASE("driver: its release, the CUDA that it serves, its devices") {
  Machine machine;
  machine.install("usr/lib/wsl/lib", {"libcuda.so.1"});
  machine.write("proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs)\nGCC version: 12.3.0\n");
  json report = machine.report();
  CHECK(text_of(report["driver"]["path"]) == machine.path("usr/lib/wsl/lib/libcuda.so.1"));
  CHECK(report["driver"]["version"] == "13.2");
  CHECK(report["driver"]["release"] == "580.95.05");
  CHECK(report["problem"] == "");
  CHECK(report["devices"] == json::parse(R"([{"name": "Fake H100", "memory": 85000000000, "computeCapability": "9.0"},
                                             {"name": "Fake A100", "memory": 42000000000, "computeCapability": "8.0"}])"));
  machine.variables["FAKE_DEVICES"] = "0";
  CHECK(machine.report()["problem"] == "The driver sees no device; is CUDA_VISIBLE_DEVICES set?");
  machine.variables["FAKE_CUINIT"] = "100";
  CHECK(machine.report()["problem"] == "cuInit fails with CUDA_ERROR_NO_DEVICE (100)");
  machine.variables["FAKE_CUINIT"] = "7";
  CHECK(machine.report()["problem"] == "cuInit fails with an unknown error (7)");
  machine.variables["FAKE_DRIVER_CUDA"] = "12080";
  report = machine.report();
  CHECK(contains(report["problem"], "this driver serves CUDA 12.8, and 13.0 is needed: install driver 580 or newer"));
  CHECK(report["driver"]["release"] == "580.95.05");
}

}  // namespace
