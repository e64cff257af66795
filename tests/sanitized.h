// Whether this build runs under a sanitizer. Everything takes many times as long there: tests that repeat the same in
// many ways leave out those in which a sanitizer can see nothing new.
#ifndef WEIR_TESTS_SANITIZED_H_
#define WEIR_TESTS_SANITIZED_H_

namespace weir {

#if defined(__has_feature)  // clang
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WEIR_UNDER_SANITIZER
#endif
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(WEIR_UNDER_SANITIZER)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace weir

#endif  // WEIR_TESTS_SANITIZED_H_
