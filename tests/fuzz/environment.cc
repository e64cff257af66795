// Variables of the environment that are read as numbers or names.
#include <fcntl.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "weir/frontend/parts/progress.h"
#include "weir/frontend/session.h"
#include "weir/tests/fuzz/scratch.h"
#include "weir/tests/fuzz/targets.h"

namespace weir::fuzz {
namespace {

// Sets a variable for a while.
class Setting {
 public:
  Setting(const char* name, const std::string& value) : name_(name) {
    const char* before = std::getenv(name);
    if (before != nullptr) before_ = before;
    was_set_ = before != nullptr;
    ::setenv(name, value.c_str(), 1);
  }
  ~Setting() {
    if (was_set_) {
      ::setenv(name_, before_.c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const char* name_;
  std::string before_;
  bool was_set_ = false;
};

bool IsNumber(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

bool Environment(std::string_view bytes) {
  constexpr const char* kNames[] = {"WEIR_THREADS", "WEIR_CACHE_BYTES", "WEIR_BACKEND", "WEIR_HIGHWAY_TARGET",
                                    "COLUMNS"};
  if (bytes.empty()) return false;
  const char* const name = kNames[static_cast<uint8_t>(bytes[0]) % std::size(kNames)];
  const std::string value = std::string(bytes.substr(1)).c_str();  // up to a NUL, as the system has it
  const Setting setting(name, value);
  if (name == kNames[4]) {
    static const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    const int columns = DescriptorOutput(null).columns();
    Require(columns > 0, "a line has columns");
    return IsNumber(value) && StrCat(columns) == value;
  }
  // Threads are started when something is to be computed.
  const bool accepted = MakeRuntime({.backend = name == kNames[2] ? "" : "highway"}).ok();
  const bool is_number = name == kNames[0] || name == kNames[1];
  Require(!is_number || !accepted || value.empty() || IsNumber(value), "numbers are digits");
  return accepted;
}

}  // namespace weir::fuzz
