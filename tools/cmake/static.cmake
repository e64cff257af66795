# WEIR_STATIC: programs without any shared library, from what distributions have as archives. Debian has none of
# Highway, of which only the choice of a target is compiled code: backends/highway/kernels/supported_targets.cc makes it.
# Left out are the data sets (libcurl can't be linked statically there) and what needs them, plots, tests, benchmarks
# and the JIT.
if(WEIR_WITH_LLVM STREQUAL "ON")
  message(FATAL_ERROR "WEIR_STATIC has no JIT backend: WEIR_WITH_LLVM must be OFF or AUTO")
endif()
set(WEIR_WITH_LLVM OFF)
set(WEIR_BUILD_TESTS OFF)
set(WEIR_BUILD_BENCH OFF)
set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
add_link_options(-static)

# weir_use_archives(PREFIX): the imported shared libraries PREFIX::* are taken from the archives beside them.
function(weir_use_archives prefix)
  get_property(imported DIRECTORY ${CMAKE_SOURCE_DIR} PROPERTY IMPORTED_TARGETS)
  list(FILTER imported INCLUDE REGEX "^${prefix}::")
  foreach(library ${imported})
    get_target_property(type ${library} TYPE)
    if(NOT type STREQUAL "SHARED_LIBRARY")
      continue()
    endif()
    get_target_property(configurations ${library} IMPORTED_CONFIGURATIONS)
    foreach(configuration ${configurations})
      get_target_property(location ${library} IMPORTED_LOCATION_${configuration})
      string(REGEX REPLACE "\\.so[.0-9]*$" ".a" archive "${location}")
      if(NOT EXISTS "${archive}")
        message(FATAL_ERROR "WEIR_STATIC: ${library} has no archive ${archive}")
      endif()
      set_target_properties(${library} PROPERTIES IMPORTED_LOCATION_${configuration} "${archive}")
    endforeach()
  endforeach()
endfunction()
