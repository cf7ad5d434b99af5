// A shared library that the package can do without: found and opened at run time, never linked.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/libraries/places.h"

namespace kw::cuda {

// Why a library that was found cannot serve.
class Refusal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// One place where a library was looked for.
struct Attempt {
  std::string origin;   // the variable or the habit that led there
  std::string path;     // a file, a name for the dynamic linker, or a pattern that no file matches
  bool is_found;        // there was one, whether it serves or not
  std::string problem;  // empty: it was opened
};

// What a library is called and what it must have.
struct LibraryDescription {
  std::string name;                  // as people know it
  std::string soname;                // its file name, with the version of its interface
  std::string path_variable;         // names the file, or its folder, that is used and no other; "none": do without. Empty: there is none
  std::string remedy;                // where to get it
  std::vector<Place> places;         // tried after what is loaded already and after the dynamic linker's own
  std::vector<Place> chosen;         // tried before these
  std::vector<std::string> symbols;  // functions that it must have

  // Libraries that it opens itself while it works, by their bare names: all that match the pattern are opened from its own folder first,
  // the required ones before the others, so that no other version of them is picked up. An empty pattern: none.
  std::vector<std::string> required_companions;
  std::string companions;

  // Its version as text; throws Refusal where that does not do. Called when all companions are open.
  std::string (*read_version)(const class Library& library) = nullptr;
};

// A library that is open, or a record of why it is not. An opened library stays open until the process ends: unloading code that has
// started threads or registered clean-up functions is not safe.
class Library {
 public:
  // Tries, in this order: the path variable (and then nothing else), the chosen places, a library of this name that the process has loaded
  // already, the dynamic linker's search (LD_LIBRARY_PATH and its cache), the places. Throws nothing; see problem().
  Library(const LibraryDescription& description, const Surroundings& surroundings);

  bool is_open() const { return handle_ != nullptr; }
  const std::string& name() const { return description_.name; }
  const std::string& soname() const { return description_.soname; }
  // Where it was opened from, and its version; empty when it is not open.
  const std::string& path() const { return path_; }
  const std::string& version() const { return version_; }
  const std::vector<Attempt>& attempts() const { return attempts_; }
  // Why it is not open, in one sentence, with what to do; empty when it is.
  std::string problem() const;

  // The address of a function; throws Refusal with its name where the library has none.
  void* symbol(const char* name) const;
  template <class Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void search(const Surroundings& surroundings);
  bool try_places(const std::vector<Place>& places);
  bool try_path_variable(const std::string& value);
  // `name`: a path, or a bare name for the dynamic linker.
  bool try_open(const std::string& origin, const std::string& name, int flags);
  void open_companions() const;

  LibraryDescription description_;
  void* handle_ = nullptr;
  std::string path_;
  std::string version_;
  std::vector<Attempt> attempts_;
  std::string decision_;  // what the user asked for, where that kept the search from going on
};

}  // namespace kw::cuda
