// What text must be before a JSON parser is given it that recurses, and takes a NUL byte for the end.
#ifndef WEIR_FRONTEND_IO_JSON_TEXT_H_
#define WEIR_FRONTEND_IO_JSON_TEXT_H_

#include <string_view>

#include "weir/core/error.h"

namespace weir {

// kInvalidArgument "nests deeper than <most> at byte <place>" where brackets outside of strings do: a hostile file must
// not overflow the stack of the parser, nor of whoever walks what it made. kDataLoss "has a NUL at byte <place> of
// <size>" where there is one: the parser would not look at what follows it.
absl::Status CheckJsonText(std::string_view text, int most);

}  // namespace weir

#endif  // WEIR_FRONTEND_IO_JSON_TEXT_H_
