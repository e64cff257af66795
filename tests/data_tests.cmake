# Tests of the files, data, pictures and plot libraries.
find_package(LibArchive REQUIRED)
find_package(PNG REQUIRED)
find_package(JPEG REQUIRED)
find_package(ZLIB REQUIRED)
weir_test(io_test SOURCES io_test.cc DEPS weir_io ONE_THREAD)
# Its second thread is the server that it downloads from, not weir's.
weir_test(data_test SOURCES cifar10_test.cc dataset_test.cc download_test.cc DEPS weir_data LibArchive::LibArchive ONE_THREAD)
weir_test(pictures_test SOURCES pictures_test.cc DEPS weir_pictures PNG::PNG JPEG::JPEG ZLIB::ZLIB ONE_THREAD)
weir_test(plot_test SOURCES plot_test.cc DEPS weir_plot ONE_THREAD)
