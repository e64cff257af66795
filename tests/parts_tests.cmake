# Parts of the frontend (losses, optimizers, ...) and the progress line.
find_package(nlohmann_json REQUIRED)
weir_test(parts_test SOURCES parts_test.cc parts_loss_test.cc DEPS weir_frontend weir_parts nlohmann_json::nlohmann_json ONE_THREAD)
weir_test(progress_test SOURCES progress_test.cc DEPS weir_parts ONE_THREAD)
