#include "runtime/plugin.h"

#include <dlfcn.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace kw {

namespace {

const Plugin* open(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw Error(ErrorCode::unsupported, "The plug-in " + path + " does not load: " + dlerror());
  const auto entry = reinterpret_cast<const Plugin* (*)()>(dlsym(library, "kw_plugin"));
  if (entry == nullptr) throw Error(ErrorCode::unsupported, path + " is no plug-in of kernel-warehouse: it has no function kw_plugin");
  const Plugin* plugin = entry();
  if (std::strcmp(plugin->version, plugin_version()) != 0) {
    throw Error(ErrorCode::unsupported, "The plug-in " + path + " is of another build (" + plugin->version + ") than this library (" +
                                            plugin_version() + "): take both from one build");
  }
  return plugin;
}

}  // namespace

std::string plugin_path(const std::string& name) {
  const auto is_plain = [](unsigned char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '_';
  };
  if (name.empty() || !std::all_of(name.begin(), name.end(), is_plain)) {
    throw Error(ErrorCode::invalid_argument, "A device has a name of small letters, digits and _, not '" + name + "'");
  }
  std::string variable = "KW_" + name + "_PLUGIN";
  std::transform(variable.begin(), variable.end(), variable.begin(), [](unsigned char letter) { return std::toupper(letter); });
  if (const char* path = std::getenv(variable.c_str()); path != nullptr && *path != '\0') return path;
  Dl_info self{};
  static const char here = 0;
  std::string folder = ".";
  if (dladdr(&here, &self) != 0 && self.dli_fname != nullptr) {
    const std::string file = self.dli_fname;
    if (const size_t slash = file.rfind('/'); slash != std::string::npos) folder = file.substr(0, slash);
  }
  return folder + "/libkw_" + name + ".so";
}

const Plugin& load_plugin(const std::string& name) {
  static std::mutex mutex;
  static std::map<std::string, const Plugin*> loaded;  // by path
  const std::string path = plugin_path(name);
  const std::lock_guard lock(mutex);
  const Plugin*& plugin = loaded[path];
  if (plugin == nullptr) plugin = open(path);
  return *plugin;
}

}  // namespace kw
