#include "weir/core/strings.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <numeric>

namespace weir {

int EditDistance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i) + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const bool same = std::tolower(static_cast<unsigned char>(a[i])) == std::tolower(static_cast<unsigned char>(b[j]));
      const int replaced = diagonal + (same ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string UnknownNameMessage(std::string_view kind, std::string_view name, std::span<const std::string> known) {
  std::string text = StrCat("unknown ", kind, " '", name, "'");
  const std::string* nearest = nullptr;
  int best = static_cast<int>(std::max<size_t>(2, name.size() / 2)) + 1;
  for (const std::string& candidate : known) {
    const int distance = EditDistance(name, candidate);
    if (distance < best) {
      best = distance;
      nearest = &candidate;
    }
  }
  if (nearest != nullptr) text += StrCat(" (did you mean '", *nearest, "'?)");
  return StrCat(text, "; known: ", StrJoin(known, ", "));
}

bool GlobMatch(std::string_view pattern, std::string_view text) {
  // Iterative matching with one backtrack point for each kind of star; `**` is the stronger one.
  constexpr size_t kUnset = std::string_view::npos;
  size_t p = 0, t = 0;
  size_t star_p = kUnset, star_t = 0;
  size_t deep_p = kUnset, deep_t = 0;
  // Where matching goes on behind a `**` that has taken text up to `t`: "**/x" also matches an "x" that starts the
  // text or follows a slash.
  const auto after_deep = [&] {
    const bool at_part = t == 0 || text[t - 1] == '/';
    return deep_p + (at_part && deep_p < pattern.size() && pattern[deep_p] == '/' ? 1 : 0);
  };
  while (t < text.size() || p < pattern.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      if (p + 1 < pattern.size() && pattern[p + 1] == '*') {
        deep_p = p + 2;
        deep_t = t;
        star_p = kUnset;
        p = after_deep();
      } else {
        star_p = ++p;
        star_t = t;
      }
      continue;
    }
    if (t < text.size() && p < pattern.size() && (pattern[p] == text[t] || (pattern[p] == '?' && text[t] != '/'))) {
      ++p;
      ++t;
      continue;
    }
    if (star_p != kUnset && star_t < text.size() && text[star_t] != '/') {
      t = ++star_t;
      p = star_p;
      continue;
    }
    if (deep_p != kUnset && deep_t < text.size()) {
      t = ++deep_t;
      p = after_deep();
      star_p = kUnset;
      continue;
    }
    return false;
  }
  return true;
}

std::string WithThousandsCommas(int64_t value) {
  std::string digits = std::to_string(value);
  const size_t first = digits[0] == '-' ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3;) {
    i -= 3;
    digits.insert(i, ",");
  }
  return digits;
}

std::string HumanBytes(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[64];
  std::snprintf(text, sizeof(text), "%.2f %s", value, kUnits[unit]);
  return text;
}

}  // namespace weir
