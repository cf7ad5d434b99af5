#include "cuda/libraries/places.h"

#include <glob.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>

namespace kw::cuda {
namespace {

// CUDA's name for the processor, as in /usr/local/cuda/targets/x86_64-linux.
#if defined(__aarch64__)
constexpr const char* kTarget = "{sbsa,aarch64}-linux";
#else
constexpr const char* kTarget = "x86_64-linux";
#endif

Place toolkit(const std::string& origin, const std::string& root_pattern) {
  return {origin, root_pattern + "/{lib64,lib,targets/" + kTarget + "/lib}"};
}

// Wheels of a Python installed under `prefix`; Debian's own Python calls its folder dist-packages.
Place wheels(const std::string& origin, const std::string& prefix) {
  return {origin, as_pattern(prefix) + "/{lib,lib64}/python3*/{site,dist}-packages/nvidia/*/lib"};
}

// The prefixes of all `python3` on PATH: environments of venv, uv and pyenv that are not announced by a variable.
std::vector<std::string> python_prefixes(const Surroundings& surroundings) {
  std::vector<std::string> prefixes;
  std::stringstream path(surroundings.variable("PATH"));
  for (std::string folder; std::getline(path, folder, ':');) {
    const std::filesystem::path python = std::filesystem::path(folder) / "python3";
    if (folder.empty() || access(python.c_str(), X_OK) != 0) continue;
    const std::string prefix = python.parent_path().parent_path().string();
    if (prefix != "/" && std::find(prefixes.begin(), prefixes.end(), prefix) == prefixes.end()) prefixes.push_back(prefix);
  }
  return prefixes;
}

}  // namespace

Surroundings this_process() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  return {variable, ""};
}

std::vector<Place> chosen_toolkit_places(const Surroundings& surroundings) {
  const std::string chosen = surroundings.variable("KW_CUDA_PATH");
  if (chosen.empty()) return {};
  return {{"KW_CUDA_PATH", as_pattern(chosen)}, toolkit("KW_CUDA_PATH", as_pattern(chosen))};
}

std::vector<Place> toolkit_places(const Surroundings& surroundings) {
  std::vector<Place> places;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const std::string home = surroundings.variable(name);
    if (!home.empty()) places.push_back(toolkit(name, as_pattern(home)));
  }
  const std::string root = as_pattern(surroundings.root);
  places.push_back(toolkit("toolkit", root + "/usr/local/cuda-13*"));
  places.push_back(toolkit("toolkit", root + "/usr/local/cuda"));
  const std::string conda = surroundings.variable("CONDA_PREFIX");
  if (!conda.empty()) places.push_back({"CONDA_PREFIX", as_pattern(conda) + "/lib"});

  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    const std::string prefix = surroundings.variable(name);
    if (!prefix.empty()) places.push_back(wheels(name, prefix));
  }
  for (const std::string& prefix : python_prefixes(surroundings)) places.push_back(wheels("python3 on PATH", prefix));
  const std::string user_base = surroundings.variable("PYTHONUSERBASE");
  const std::string home = surroundings.variable("HOME");
  if (!user_base.empty()) {
    places.push_back(wheels("PYTHONUSERBASE", user_base));
  } else if (!home.empty()) {
    places.push_back(wheels("pip install --user", home + "/.local"));
  }
  places.push_back(wheels("the system's Python", surroundings.root + "/usr/local"));
  places.push_back(wheels("the system's Python", surroundings.root + "/usr"));
  return places;
}

std::vector<Place> driver_places(const Surroundings& surroundings) {
  const std::string root = as_pattern(surroundings.root);
  return {{"system", root + "/usr/{lib/*-linux-gnu,lib64,lib}"},
          {"container", root + "/usr/local/nvidia/{lib64,lib}"},
          {"WSL", root + "/usr/lib/wsl/lib"},
          {"NixOS", root + "/run/opengl-driver/lib"}};
}

std::string as_pattern(const std::string& text) {
  std::string pattern;
  for (const char character : text) {
    if (std::string("*?[]{}~\\").find(character) != std::string::npos) pattern += '\\';
    pattern += character;
  }
  return pattern;
}

std::vector<std::string> expand(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (glob(pattern.c_str(), GLOB_BRACE | GLOB_NOSORT, nullptr, &found) == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  // As versions: python3.11 is newer than python3.9.
  const auto is_newer = [](const std::string& a, const std::string& b) { return strverscmp(a.c_str(), b.c_str()) > 0; };
  std::sort(paths.begin(), paths.end(), is_newer);
  return paths;
}

}  // namespace kw::cuda
