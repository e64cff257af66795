#include "weir/frontend/checkpoint_path.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "weir/core/error.h"

namespace weir {
namespace {

// Python's format language as far as file names need it: [0][width][.precision](d|f|e). Integers are epochs.
template <class T>
std::string Format(T value, const std::string& format, const std::string& pattern) {
  constexpr bool kInteger = std::is_same_v<T, int64_t>;
  const auto bad = [&]() {
    ThrowInvalidArgument("path '", pattern, "': format '", format, "' is none of d, f, e with width and precision");
  };
  size_t i = 0;
  const auto number = [&]() {
    size_t value = 0;
    for (; i < format.size() && std::isdigit(static_cast<unsigned char>(format[i])); ++i) {
      value = std::min<size_t>(value * 10 + static_cast<size_t>(format[i] - '0'), 1000);
    }
    return value;
  };
  const bool zeros = i < format.size() && format[i] == '0';
  const size_t width = number();
  size_t precision = 6;
  if (i < format.size() && format[i] == '.') {
    ++i;
    precision = number();
  }
  const char kind = i < format.size() ? format[i++] : (kInteger ? 'd' : 'g');
  if (i != format.size() || width > 64 || precision > 64 || (kind == 'd') != kInteger) bad();
  std::string text;
  if (kind == 'd') {
    text = StrCat(value);
  } else if (kind == 'f' || kind == 'e') {
    char buffer[512];
    const auto end = std::to_chars(buffer, buffer + sizeof(buffer), static_cast<double>(value),
                                   kind == 'f' ? std::chars_format::fixed : std::chars_format::scientific,
                                   static_cast<int>(precision));
    // Of a NaN the sign, which to_chars writes, says nothing.
    text = std::isnan(static_cast<double>(value)) ? "nan" : std::string(buffer, end.ptr);
  } else if (kind == 'g' && format.empty()) {
    text = PythonFloat(static_cast<double>(value));
  } else {
    bad();
  }
  const auto least = static_cast<size_t>(width);
  if (text.size() < least) text.insert(zeros && text[0] == '-' ? 1 : 0, least - text.size(), zeros ? '0' : ' ');
  return text;
}

// `pattern` with each {name:format} replaced by replace(name, format).
template <class F>
std::string Expand(const std::string& pattern, const F& replace) {
  std::string path;
  for (size_t i = 0; i < pattern.size(); ++i) {
    // To the system the path would end there.
    if (pattern[i] == '\0') ThrowInvalidArgument("path '", pattern.c_str(), "' has a NUL at byte ", i);
    if (pattern[i] != '{') {
      path += pattern[i];
      continue;
    }
    const size_t end = pattern.find('}', i);
    if (end == std::string::npos) ThrowInvalidArgument("path '", pattern, "': '{' without '}'");
    const std::string field = pattern.substr(i + 1, end - i - 1);
    const size_t colon = field.find(':');
    path += replace(field.substr(0, colon), colon == std::string::npos ? "" : field.substr(colon + 1));
    i = end;
  }
  return path;
}

}  // namespace

std::string CheckpointPath(const std::string& pattern, int64_t epoch, const Logs& logs) {
  return Expand(pattern, [&](const std::string& name, const std::string& format) {
    if (name == "epoch") return Format(epoch, format, pattern);
    if (!logs.Has(name)) {
      std::vector<std::string> known;
      for (const auto& [key, value] : logs) known.push_back(key);
      ThrowNotFound("path '", pattern, "': ", UnknownNameMessage("metric", name, known));
    }
    return Format(logs[name], format, pattern);
  });
}

std::vector<std::string> CheckpointPathKeys(const std::string& pattern) {
  std::vector<std::string> keys;
  Expand(pattern, [&](const std::string& name, const std::string& format) {
    if (name != "epoch") keys.push_back(name);
    return name == "epoch" ? Format(int64_t{1}, format, pattern) : Format(1.0, format, pattern);
  });
  return keys;
}

std::string Fixed5(double value) {
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[512];
  return {buffer, std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed, 5).ptr};
}

std::string PythonFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const double magnitude = std::fabs(value);
  const bool fixed = magnitude == 0 || (magnitude >= 1e-4 && magnitude < 1e16);
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof(buffer), value,
                                         fixed ? std::chars_format::fixed : std::chars_format::scientific)
                               .ptr);
  if (fixed && text.find('.') == std::string::npos) text += ".0";
  return text;
}

}  // namespace weir
