# Models: layers, training, taps, files.
find_package(nlohmann_json REQUIRED)
weir_test(frontend_test
  SOURCES frontend_callbacks_test.cc frontend_files_test.cc frontend_format_test.cc frontend_layers_test.cc
          frontend_inspect_test.cc frontend_keras_test.cc frontend_model_test.cc frontend_state_test.cc frontend_taps_test.cc frontend_training_test.cc
  DEPS weir_frontend nlohmann_json::nlohmann_json)
weir_test(frontend_tutorial_test SOURCES frontend_tutorial_test.cc DEPS weir_frontend nlohmann_json::nlohmann_json)
weir_test(depth_test SOURCES depth_test.cc DEPS weir_frontend)
# Threads, processes and what they share.
weir_test(threads_test
  SOURCES threads_test.cc saving_threads_test.cc cache_bounds_test.cc float_state_test.cc fork_test.cc
  DEPS weir_frontend weir_data weir_pictures nlohmann_json::nlohmann_json)
weir_test(saving_test
  SOURCES saving_test.cc saving_data_test.cc saving_faults_test.cc saving_custom_test.cc hostile_config_test.cc
  DEPS weir_frontend weir_data nlohmann_json::nlohmann_json)
weir_test(frontend_numbers_test SOURCES frontend_numbers_test.cc DEPS weir_frontend nlohmann_json::nlohmann_json)
if(WEIR_HAS_LLVM)
  target_compile_definitions(frontend_numbers_test PRIVATE WEIR_HAS_LLVM)
endif()
# What Fit and its callbacks do, against a model of Keras's rules.
weir_test(fit_rules_test SOURCES fit_cases_test.cc fit_rules_test.cc DEPS weir_frontend nlohmann_json::nlohmann_json)
