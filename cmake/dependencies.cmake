# Everything Crescendo links against, in one place. docs/dependencies.md says why each is here.

# Ampere and Hopper, and code that later ones translate. A LibTorch for CUDA enables the language itself and brings its
# own flags for the list that it is given; without one it takes the GPU of this machine, or an old list without that code.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90)
endif()
if(NOT DEFINED TORCH_CUDA_ARCH_LIST AND NOT DEFINED ENV{TORCH_CUDA_ARCH_LIST})
  set(TORCH_CUDA_ARCH_LIST "8.0;9.0+PTX")
endif()

# Debian's TorchConfig warns about the parts it leaves out; only real failures matter here.
set(CMAKE_MESSAGE_LOG_LEVEL_BEFORE ${CMAKE_MESSAGE_LOG_LEVEL})
find_package(Torch QUIET REQUIRED)
find_package(Threads REQUIRED)
find_package(PNG REQUIRED)
find_package(JPEG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)

add_library(crescendo_torch INTERFACE)
target_include_directories(crescendo_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(crescendo_torch INTERFACE ${TORCH_LIBRARIES} Threads::Threads)
# LibTorch's parallel loops are in its headers, so what calls them needs OpenMP, too; without it they run on one core.
find_package(OpenMP QUIET COMPONENTS CXX)
if(OpenMP_CXX_FOUND)
  target_link_libraries(crescendo_torch INTERFACE OpenMP::OpenMP_CXX)
endif()

# Matrix products. Two copies of oneDNN in one process would share their names, so only the one beside LibTorch is taken,
# which LibTorch loads, too. (Its own CMake package asks for OpenCL.)
set(CRESCENDO_WITH_ONEDNN OFF)
if(NOT CRESCENDO_ONEDNN STREQUAL "OFF" AND OpenMP_CXX_FOUND)
  cmake_path(GET TORCH_LIBRARY PARENT_PATH torch_folder)
  find_library(CRESCENDO_onednn_LIBRARY dnnl PATHS ${torch_folder} NO_DEFAULT_PATH)
  find_path(CRESCENDO_onednn_INCLUDE_DIR oneapi/dnnl/dnnl.hpp)
  if(CRESCENDO_onednn_LIBRARY AND CRESCENDO_onednn_INCLUDE_DIR)
    set(CRESCENDO_WITH_ONEDNN ON)
  endif()
endif()
message(STATUS "Matrix products by oneDNN: ${CRESCENDO_WITH_ONEDNN}")

add_library(crescendo_onednn INTERFACE)
if(CRESCENDO_WITH_ONEDNN)
  target_include_directories(crescendo_onednn SYSTEM INTERFACE ${CRESCENDO_onednn_INCLUDE_DIR})
  target_link_libraries(crescendo_onednn INTERFACE ${CRESCENDO_onednn_LIBRARY})
endif()

# Text: regular expressions over Unicode (10.40 knows \p{White_Space}), and normal forms. Neither ships a CMake package.
foreach(library pcre2-8 utf8proc)
  string(REPLACE "-8" "" name ${library})
  find_library(CRESCENDO_${name}_LIBRARY ${library} REQUIRED)
  find_path(CRESCENDO_${name}_INCLUDE_DIR ${name}.h REQUIRED)
  add_library(crescendo_${name} INTERFACE)
  target_include_directories(crescendo_${name} SYSTEM INTERFACE ${CRESCENDO_${name}_INCLUDE_DIR})
  target_link_libraries(crescendo_${name} INTERFACE ${CRESCENDO_${name}_LIBRARY})
endforeach()

# Its headers lie in a folder, and what it ships for CMake differs between versions.
find_library(CRESCENDO_webp_LIBRARY webp REQUIRED)
find_path(CRESCENDO_webp_INCLUDE_DIR webp/decode.h REQUIRED)
add_library(crescendo_webp INTERFACE)
target_include_directories(crescendo_webp SYSTEM INTERFACE ${CRESCENDO_webp_INCLUDE_DIR})
target_link_libraries(crescendo_webp INTERFACE ${CRESCENDO_webp_LIBRARY})

add_library(crescendo_flags INTERFACE)
target_compile_options(crescendo_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow=local -Werror=return-type>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 sees overlapping copies inside std::string operator+ that are not there (GCC bug 105651).
  target_compile_options(crescendo_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
if(CRESCENDO_FUZZ)
  target_compile_options(crescendo_flags INTERFACE -Wno-unknown-warning-option -include ${CMAKE_SOURCE_DIR}/cmake/clang14.h)
endif()
if(CRESCENDO_SANITIZER)
  target_compile_options(crescendo_flags INTERFACE -fsanitize=${CRESCENDO_SANITIZER} -fno-omit-frame-pointer
                                                   -fno-sanitize-recover=all)
  target_link_options(crescendo_flags INTERFACE -fsanitize=${CRESCENDO_SANITIZER})
endif()

if(CRESCENDO_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
if(CRESCENDO_BENCHMARKS)
  find_package(benchmark REQUIRED)
endif()
