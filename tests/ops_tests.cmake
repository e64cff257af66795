# The table of op cases and the tests of the ops by themselves.
add_subdirectory(cases)
weir_test(scalar_math_test SOURCES scalar_math_test.cc DEPS weir_ops ONE_THREAD)
weir_test(ops_test SOURCES ops_test.cc ops_errors_test.cc canonical_order_test.cc winograd_test.cc DEPS weir_ops weir_test_cases ONE_THREAD)
weir_test(gradient_test SOURCES gradient_test.cc DEPS weir_ops weir_test_cases ONE_THREAD)
