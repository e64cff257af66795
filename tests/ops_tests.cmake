# The table of op cases and the tests of the ops by themselves.
add_subdirectory(cases)
weir_test(scalar_math_test SOURCES scalar_math_test.cc DEPS weir_ops)
