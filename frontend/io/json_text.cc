#include "weir/frontend/io/json_text.h"

namespace weir {

absl::Status CheckJsonText(std::string_view text, int most) {
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return absl::DataLossError(StrCat("has a NUL at byte ", nul, " of ", text.size()));
  }
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > most) return absl::InvalidArgumentError(StrCat("nests deeper than ", most, " at byte ", i));
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return absl::OkStatus();
}

}  // namespace weir
