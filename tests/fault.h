// What tests expect of a call that fails: its code, and a part of its text.
#ifndef WEIR_TESTS_FAULT_H_
#define WEIR_TESTS_FAULT_H_

#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"

namespace weir {

inline bool Contains(const absl::Status& status, const std::string& text) {
  return std::string(status.message()).find(text) != std::string::npos;
}
#define EXPECT_FAULT(status, expected_code, text)                                              \
  do {                                                                                         \
    const absl::Status weir_fault = (status);                                                  \
    EXPECT_EQ(weir_fault.code(), expected_code) << weir_fault;                                 \
    EXPECT_TRUE(Contains(weir_fault, text)) << weir_fault << "\nlacks: " << std::string(text); \
  } while (false)

}  // namespace weir

#endif  // WEIR_TESTS_FAULT_H_
