#include "cuda/libraries/library.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace kw::cuda {
namespace {

namespace fs = std::filesystem;

// Local, so that its names serve nobody else in the process; a library finds its own companions by handle.
constexpr int kMode = RTLD_NOW | RTLD_LOCAL;

// The file behind all links, by which two names of one file are known to be the same.
fs::path real_path(const fs::path& path) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  return error ? path : real;
}

std::string loaded_from(void* handle) {
  link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || !map || !map->l_name) return "";
  return map->l_name;
}

std::string last_problem() {
  const char* message = dlerror();
  return message ? message : "the dynamic linker gives no reason";
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

}  // namespace

Library::Library(const LibraryDescription& description, const Surroundings& surroundings) : description_(description) {
  search(surroundings);
}

void Library::search(const Surroundings& surroundings) {
  const std::string& variable = description_.path_variable;
  const std::string value = variable.empty() ? "" : surroundings.variable(variable.c_str());
  if (value == "none") {
    decision_ = variable + "=none";
    return;
  }
  if (!value.empty()) {
    if (!try_path_variable(value)) decision_ = variable + "=" + value + " keeps the search to one place";
    return;
  }
  if (try_places(description_.chosen)) return;
  if (try_open("loaded already", description_.soname, kMode | RTLD_NOLOAD)) return;
  if (try_open("dynamic linker", description_.soname, kMode)) return;
  try_places(description_.places);
}

bool Library::try_path_variable(const std::string& value) {
  const std::string& variable = description_.path_variable;
  if (!is_folder(value)) return try_open(variable, fs::absolute(value), kMode);
  const std::string folder = as_pattern(fs::absolute(value));
  return try_places({{variable, folder}, {variable, folder + "/{lib64,lib}"}});
}

bool Library::try_places(const std::vector<Place>& places) {
  for (const auto& [origin, pattern] : places) {
    const std::string files = pattern + "/" + description_.soname;
    const auto has_path = [](const std::string& path) { return [path](const Attempt& attempt) { return attempt.path == path; }; };
    if (std::any_of(attempts_.begin(), attempts_.end(), has_path(files))) continue;
    const std::vector<std::string> paths = expand(files);
    if (paths.empty()) attempts_.push_back({origin, files, false, "not there"});
    for (const std::string& path : paths) {
      const std::string real = real_path(path);
      const auto is_same = [&](const Attempt& attempt) { return real_path(attempt.path) == real; };
      if (std::any_of(attempts_.begin(), attempts_.end(), is_same)) continue;
      if (try_open(origin, path, kMode)) return true;
    }
  }
  return false;
}

bool Library::try_open(const std::string& origin, const std::string& name, int flags) {
  handle_ = dlopen(name.c_str(), flags);
  if (!handle_) {
    const bool is_path = fs::path(name).is_absolute();
    attempts_.push_back({origin, name, is_path && exists(name), (flags & RTLD_NOLOAD) ? "not loaded" : last_problem()});
    return false;
  }
  path_ = loaded_from(handle_);
  try {
    for (const std::string& function : description_.symbols) symbol(function.c_str());
    if (!description_.companions.empty()) open_companions();
    version_ = description_.read_version(*this);
    attempts_.push_back({origin, path_, true, ""});
    return true;
  } catch (const Refusal& refusal) {
    attempts_.push_back({origin, path_, true, refusal.what()});
    handle_ = nullptr;
    path_.clear();
    return false;
  }
}

void Library::open_companions() const {
  const auto list = [&](const fs::path& folder) { return expand(as_pattern(folder.string()) + "/" + description_.companions); };
  fs::path folder = fs::path(path_).parent_path();
  // A link in one folder may lead to the library among its companions in another.
  if (list(folder).empty()) folder = real_path(path_).parent_path();
  std::vector<std::string> paths;
  for (const std::string& name : description_.required_companions) {
    const std::string path = (folder / name).string();
    if (!exists(path)) throw Refusal(name + " is not beside it; reinstall " + description_.name);
    paths.push_back(path);
  }
  for (const std::string& path : list(folder)) {
    if (std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
  }
  for (const std::string& path : paths) {
    const std::string name = fs::path(path).filename().string();
    const auto require_same = [&](void* loaded) {
      const std::string other = loaded_from(loaded);
      if (real_path(other) == real_path(path)) return;
      throw Refusal("two versions would be mixed: " + path_ + " would work with " + other + ", which this process has loaded, instead of " +
                    path + "; keep one of them" +
                    (description_.path_variable.empty() ? "" : ", or name one in " + description_.path_variable + " before it starts"));
    };
    if (void* loaded = dlopen(name.c_str(), kMode | RTLD_NOLOAD)) require_same(loaded);
    if (!dlopen(path.c_str(), kMode)) throw Refusal(last_problem());
    if (void* loaded = dlopen(name.c_str(), kMode | RTLD_NOLOAD)) require_same(loaded);
  }
}

void* Library::symbol(const char* name) const {
  void* address = handle_ ? dlsym(handle_, name) : nullptr;
  if (!address) throw Refusal("it has no function " + std::string(name) + "; another version of " + description_.name + " is needed");
  return address;
}

std::string Library::problem() const {
  if (is_open()) return "";
  if (!decision_.empty() && attempts_.empty()) return description_.name + " is not used: " + decision_ + ".";
  const auto refused = std::find_if(attempts_.begin(), attempts_.end(), [](const Attempt& attempt) { return attempt.is_found; });
  std::string text = description_.name;
  if (refused != attempts_.end()) {
    text += " cannot be used: " + refused->path + ": " + refused->problem;
  } else {
    text += " was not found (" + description_.soname + ")";
  }
  if (!decision_.empty()) text += "; " + decision_;
  return text + ". " + description_.remedy;
}

}  // namespace kw::cuda
