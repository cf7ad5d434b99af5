// Where NVIDIA's libraries may lie on a user's machine, in the order in which they are tried.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace kw::cuda {

// What the search depends on; tests bring their own.
struct Surroundings {
  std::function<std::string(const char* name)> variable;  // an environment variable's value, empty where it is not set
  std::string root;                                       // stands before the system's own folders; empty outside of tests
};

// The environment of this process and the folders of this machine.
Surroundings this_process();

// Folders of one origin.
struct Place {
  std::string origin;   // for people: the variable or the habit that leads there
  std::string pattern;  // of folders, as glob(3) with braces reads it
};

// What KW_CUDA_PATH names: a toolkit, or a folder of libraries. Comes before what is loaded already; empty where it is not set.
std::vector<Place> chosen_toolkit_places(const Surroundings& surroundings);

// Toolkits, conda, and the folders into which pip unpacks NVIDIA's wheels (site-packages/nvidia/*/lib): of the active environment, of the
// python3 that PATH leads to, of the user and of the system.
std::vector<Place> toolkit_places(const Surroundings& surroundings);

// Where the driver's own library lies when the dynamic linker does not know: in containers, under WSL, on NixOS.
std::vector<Place> driver_places(const Surroundings& surroundings);

// `text` so that a pattern takes it literally.
std::string as_pattern(const std::string& text);

// The paths that match, newest version first; empty when there are none.
std::vector<std::string> expand(const std::string& pattern);

}  // namespace kw::cuda
