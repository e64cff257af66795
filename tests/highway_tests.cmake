# The Highway backend by itself.
weir_test(highway_kernels_test
  SOURCES highway_lowering.cc highway_kernels_test.cc highway_conv_test.cc highway_reductions_test.cc
  DEPS weir_backend_highway weir_ops)
