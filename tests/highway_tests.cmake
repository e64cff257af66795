# The Highway backend by itself.
weir_test(highway_kernels_test SOURCES highway_kernels_test.cc DEPS weir_backend_highway weir_ops)
