// Names of kernels, for messages. A kernel may be a local symbol, which dladdr does not know, so the symbols are read from the file itself.
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>

#include "emulator/fault.h"

namespace kw::emulator {
namespace {

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

template <class T>
const T* at(const std::string& file, std::size_t offset, std::size_t count = 1) {
  const bool fits = offset <= file.size() && count <= (file.size() - offset) / sizeof(T);
  return fits ? reinterpret_cast<const T*>(file.data() + offset) : nullptr;
}

std::string find_symbol(const std::string& file, std::size_t address) {
  const auto* header = at<Elf64_Ehdr>(file, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return "";
  const auto* sections = at<Elf64_Shdr>(file, header->e_shoff, header->e_shnum);
  if (!sections) return "";
  for (const auto* section = sections; section != sections + header->e_shnum; ++section) {
    if (section->sh_type != SHT_SYMTAB || section->sh_link >= header->e_shnum) continue;
    const std::size_t count = section->sh_size / sizeof(Elf64_Sym);
    const auto* symbols = at<Elf64_Sym>(file, section->sh_offset, count);
    const Elf64_Shdr& names = sections[section->sh_link];
    if (!symbols || names.sh_offset + names.sh_size > file.size()) continue;
    for (const auto* symbol = symbols; symbol != symbols + count; ++symbol) {
      if (symbol->st_value == address && ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && symbol->st_name < names.sh_size) {
        return file.data() + names.sh_offset + symbol->st_name;
      }
    }
  }
  return "";
}

}  // namespace

std::string symbol_name(const void* function) {
  Dl_info information;
  if (dladdr(function, &information) == 0) return "";
  if (information.dli_sname && information.dli_saddr == function) return information.dli_sname;
  std::string file = read_file(information.dli_fname);
  if (file.empty()) file = read_file("/proc/self/exe");
  const auto address = static_cast<std::size_t>(static_cast<const char*>(function) - static_cast<const char*>(information.dli_fbase));
  return find_symbol(file, address);
}

std::string function_name(const void* function) {
  const std::string symbol = symbol_name(function);
  if (symbol.empty()) return "kernel";
  int status = 0;
  std::unique_ptr<char, decltype(&std::free)> name(abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? name.get() : symbol;
}

}  // namespace kw::emulator
