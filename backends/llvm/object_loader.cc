#include "weir/backends/llvm/object_loader.h"

#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>

#include "weir/core/error.h"

namespace weir::jit {
namespace {

// A call reaches 2 GiB; the host's functions may be farther and are called by way of a jump: jmp *[rip]; the address.
constexpr size_t kJumpBytes = 16;
constexpr unsigned char kJump[] = {0xff, 0x25, 0x00, 0x00, 0x00, 0x00};

constexpr size_t kNotLoaded = std::numeric_limits<size_t>::max();

constexpr size_t RoundUp(size_t n, size_t to) { return (n + to - 1) / to * to; }

// One object: its tables, checked against its size, and where its sections go.
class Object {
 public:
  explicit Object(size_t index) : index_(index) {}

  absl::Status Parse(std::string_view bytes) {
    bytes_ = bytes;
    if (!ReadArray(0, std::span(&header_, 1)) || std::memcmp(header_.e_ident, ELFMAG, SELFMAG) != 0)
      return Fault("no ELF file");
    if (header_.e_ident[EI_CLASS] != ELFCLASS64 || header_.e_ident[EI_DATA] != ELFDATA2LSB ||
        header_.e_machine != EM_X86_64 || header_.e_type != ET_REL || header_.e_shentsize != sizeof(Elf64_Shdr)) {
      return Fault("no relocatable object of x86-64");
    }
    sections_.resize(header_.e_shnum);
    if (!ReadArray(header_.e_shoff, std::span(sections_))) return Fault("its section table is cut off");
    offsets_.assign(sections_.size(), kNotLoaded);
    for (const Elf64_Shdr& section : sections_) {
      if (section.sh_type != SHT_NOBITS && Content(section).size() != section.sh_size)
        return Fault("a section is cut off");
      if (section.sh_addralign > 4096 || (section.sh_addralign & (section.sh_addralign - 1)) != 0)
        return Fault("a section's alignment is no power of two up to 4096");
      if (section.sh_type != SHT_SYMTAB) continue;
      if (section.sh_link >= sections_.size()) return Fault("its symbols have no names");
      symbol_names_ = Content(sections_[section.sh_link]);
      symbols_.resize(section.sh_size / sizeof(Elf64_Sym));
      ReadArray(section.sh_offset, std::span(symbols_));
    }
    return absl::OkStatus();
  }

  // Gives the sections that are code (or those that are constants) their offsets, from *end on, which it moves.
  absl::Status Place(bool code, size_t* end) {
    for (size_t s = 0; s < sections_.size(); ++s) {
      const Elf64_Shdr& section = sections_[s];
      if (!IsLoaded(section) || ((section.sh_flags & SHF_EXECINSTR) != 0) != code) continue;
      if ((section.sh_flags & SHF_WRITE) != 0 || section.sh_type == SHT_NOBITS)
        return Fault(StrCat("its section '", NameOf(section), "' is written to"));
      *end = RoundUp(*end, std::max<size_t>(section.sh_addralign, 1));
      offsets_[s] = *end;
      *end += section.sh_size;
    }
    return absl::OkStatus();
  }

  void Copy(std::byte* memory) const {
    for (size_t s = 0; s < sections_.size(); ++s) {
      if (offsets_[s] == kNotLoaded) continue;
      const std::string_view content = Content(sections_[s]);
      std::memcpy(memory + offsets_[s], content.data(), content.size());
    }
  }

  // `jumps` are those of the host's functions, in order.
  absl::Status Relocate(std::byte* memory, std::span<const HostFunction> host, const std::byte* jumps) const {
    for (const Elf64_Shdr& table : sections_) {
      if (table.sh_type == SHT_REL) return Fault("relocations without addends");
      if (table.sh_type != SHT_RELA) continue;
      if (table.sh_info >= sections_.size()) return Fault("relocations of no section");
      if (offsets_[table.sh_info] == kNotLoaded) continue;
      std::vector<Elf64_Rela> entries(table.sh_size / sizeof(Elf64_Rela));
      ReadArray(table.sh_offset, std::span(entries));
      for (const Elf64_Rela& entry : entries) {
        const uint32_t type = ELF64_R_TYPE(entry.r_info);
        // Distances within 2 GiB, and whole addresses: what position independent code has.
        const size_t bytes = type == R_X86_64_PC32 || type == R_X86_64_PLT32 ? 4 : type == R_X86_64_64 ? 8 : 0;
        if (bytes == 0) return Fault(StrCat("a relocation of type ", type, " is not supported"));
        if (!Fits(entry.r_offset, bytes, sections_[table.sh_info].sh_size))
          return Fault("a relocation lies outside of its section");
        WEIR_ASSIGN_OR_RETURN(const std::byte* target, Resolve(ELF64_R_SYM(entry.r_info), memory, host, jumps));
        std::byte* place = memory + offsets_[table.sh_info] + entry.r_offset;
        // Modulo 2^64, whatever a damaged addend says.
        uint64_t value = reinterpret_cast<uintptr_t>(target) + static_cast<uint64_t>(entry.r_addend);
        if (bytes == 4) {
          value -= reinterpret_cast<uintptr_t>(place);
          if (static_cast<int64_t>(value) != static_cast<int32_t>(value)) return Fault("a relocation reaches too far");
        }
        std::memcpy(place, &value, bytes);
      }
    }
    return absl::OkStatus();
  }

  void Export(std::byte* memory, std::map<std::string, void*, std::less<>>* functions) const {
    for (const Elf64_Sym& symbol : symbols_) {
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || !IsDefined(symbol)) continue;
      functions->emplace(std::string(NameOf(symbol)), memory + offsets_[symbol.st_shndx] + symbol.st_value);
    }
  }

 private:
  // Exceptions never pass through kernels: tables for unwinding stay behind.
  bool IsLoaded(const Elf64_Shdr& section) const {
    return (section.sh_flags & SHF_ALLOC) != 0 && section.sh_size > 0 && NameOf(section) != ".eh_frame";
  }
  static bool Fits(uint64_t offset, uint64_t bytes, uint64_t size) { return offset <= size && bytes <= size - offset; }
  // Copies out of the file, where nothing need be aligned.
  template <class T>
  bool ReadArray(uint64_t offset, std::span<T> items) const {
    if (!Fits(offset, items.size_bytes(), bytes_.size())) return false;
    if (!items.empty()) std::memcpy(items.data(), bytes_.data() + offset, items.size_bytes());
    return true;
  }
  std::string_view Content(const Elf64_Shdr& section) const {
    if (section.sh_type == SHT_NOBITS || !Fits(section.sh_offset, section.sh_size, bytes_.size())) return {};
    return bytes_.substr(section.sh_offset, section.sh_size);
  }
  std::string_view TextAt(std::string_view table, size_t offset) const {
    if (offset >= table.size()) return {};
    const std::string_view rest = table.substr(offset);
    return rest.substr(0, rest.find('\0'));
  }
  std::string_view NameOf(const Elf64_Sym& symbol) const { return TextAt(symbol_names_, symbol.st_name); }
  std::string_view NameOf(const Elf64_Shdr& section) const {
    if (header_.e_shstrndx >= sections_.size()) return {};
    return TextAt(Content(sections_[header_.e_shstrndx]), section.sh_name);
  }
  // Whether the symbol lies in a section that is in memory.
  bool IsDefined(const Elf64_Sym& symbol) const {
    return symbol.st_shndx != SHN_UNDEF && symbol.st_shndx < sections_.size() &&
           offsets_[symbol.st_shndx] != kNotLoaded && symbol.st_value <= sections_[symbol.st_shndx].sh_size;
  }
  absl::StatusOr<const std::byte*> Resolve(size_t index, const std::byte* memory, std::span<const HostFunction> host,
                                           const std::byte* jumps) const {
    if (index >= symbols_.size()) return Fault("a relocation to no symbol");
    const Elf64_Sym& symbol = symbols_[index];
    if (IsDefined(symbol)) return memory + offsets_[symbol.st_shndx] + symbol.st_value;
    for (size_t h = 0; h < host.size(); ++h) {
      if (symbol.st_shndx == SHN_UNDEF && NameOf(symbol) == host[h].symbol) return jumps + h * kJumpBytes;
    }
    return Fault(StrCat("nothing here is called '", NameOf(symbol), "'"));
  }
  absl::Status Fault(const std::string& what) const {
    return absl::InternalError(StrCat("LLVM: compiled object ", index_, " can't be loaded: ", what));
  }

  const size_t index_;
  std::string_view bytes_;
  Elf64_Ehdr header_ = {};
  std::vector<Elf64_Shdr> sections_;
  std::vector<size_t> offsets_;  // in memory, one a section
  std::vector<Elf64_Sym> symbols_;
  std::string_view symbol_names_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const LoadedCode>> LoadedCode::Load(std::span<const std::string> objects,
                                                                   std::span<const HostFunction> host) {
  std::vector<Object> parsed;
  for (size_t o = 0; o < objects.size(); ++o) {
    parsed.emplace_back(o);
    WEIR_RETURN_IF_ERROR(parsed.back().Parse(objects[o]));
  }
  // Code, with the jumps behind it, and constants: pages that are run, and pages that are read.
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t end = 0;
  for (Object& object : parsed) WEIR_RETURN_IF_ERROR(object.Place(/*code=*/true, &end));
  const size_t jumps = RoundUp(end, kJumpBytes);
  const size_t code_bytes = RoundUp(jumps + host.size() * kJumpBytes, page);
  end = code_bytes;
  for (Object& object : parsed) WEIR_RETURN_IF_ERROR(object.Place(/*code=*/false, &end));

  const std::shared_ptr<LoadedCode> code(new LoadedCode);
  const size_t bytes = RoundUp(end, page);
  // All pages are written at once: faults one by one cost more.
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        StrCat("LLVM: no ", bytes, " bytes of memory for compiled code: ", std::strerror(errno)));
  }
  code->memory_ = static_cast<std::byte*>(memory);
  code->bytes_ = bytes;
  for (size_t h = 0; h < host.size(); ++h) {
    std::byte* jump = code->memory_ + jumps + h * kJumpBytes;
    std::memcpy(jump, kJump, sizeof(kJump));
    std::memcpy(jump + sizeof(kJump), &host[h].function, sizeof(host[h].function));
  }
  for (const Object& object : parsed) {
    object.Copy(code->memory_);
    WEIR_RETURN_IF_ERROR(object.Relocate(code->memory_, host, code->memory_ + jumps));
    object.Export(code->memory_, &code->functions_.emplace_back());
  }
  if (mprotect(memory, code_bytes, PROT_READ | PROT_EXEC) != 0 ||
      (bytes > code_bytes && mprotect(code->memory_ + code_bytes, bytes - code_bytes, PROT_READ) != 0)) {
    return absl::InternalError(StrCat("LLVM: memory can't be made executable: ", std::strerror(errno)));
  }
  return code;
}

LoadedCode::~LoadedCode() {
  if (memory_ != nullptr) munmap(memory_, bytes_);
}

void* LoadedCode::Find(size_t object, const std::string& symbol) const {
  const auto& functions = functions_[object];
  const auto found = functions.find(symbol);
  return found == functions.end() ? nullptr : found->second;
}

}  // namespace weir::jit
