// String building for messages and printed graphs: StrCat and StrJoin over anything that has operator<<, and
// "did you mean" suggestions. Not for hot paths.
#ifndef WEIR_CORE_STRINGS_H_
#define WEIR_CORE_STRINGS_H_

#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

// Concatenates the printed forms of all arguments.
template <class... Args>
std::string StrCat(const Args&... args) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  (out << ... << args);
  return std::move(out).str();
}

// Concatenates the printed forms of a range's elements with `separator` between them.
template <class Range>
std::string StrJoin(const Range& range, std::string_view separator) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  bool first = true;
  for (const auto& element : range) {
    if (!first) out << separator;
    first = false;
    out << element;
  }
  return std::move(out).str();
}

// Number of single-character edits (insert, delete, replace) that turn `a` into `b`, ignoring case.
int EditDistance(std::string_view a, std::string_view b);

// "unknown <kind> 'rellu' (did you mean 'relu'?); known: elu, relu, ...": the text of every message about a name
// that nobody knows.
std::string UnknownNameMessage(std::string_view kind, std::string_view name, std::span<const std::string> known);

// Whether `text` matches `pattern`, where `*` stands for any characters but '/', `**` for any characters at all,
// and `?` for one character but '/'.
bool GlobMatch(std::string_view pattern, std::string_view text);

// 4210090 -> "4,210,090".
std::string WithThousandsCommas(int64_t value);

// 16840360 -> "16.06 MB" (steps of 1024, two decimals).
std::string HumanBytes(int64_t bytes);

}  // namespace weir

#endif  // WEIR_CORE_STRINGS_H_
