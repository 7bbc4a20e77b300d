# Checks which folder includes which: cmake -P tests/layering_test.cmake
#
# The table names, in order of dependency, every folder of crescendo/, the folders it may include besides itself, and
# why no more. A test beside the code may also include any folder above its own: it may read a fixture with io.
cmake_minimum_required(VERSION 3.22)

set(table
  "core : : what every folder needs, knows no network"
  "io : core : bytes to tensors and back, knows no model, so that any program can use it"
  "kernels : core : passes over numbers, on a CPU or a GPU, know no network"
  "nn : core kernels : parameters and layers, knows no file format"
  "spectral : core : filters are functions of a tensor"
  "diffusion : core kernels nn : schedule, solvers and head work for any condition"
  "model : core nn spectral diffusion : the network knows no file, no data set, no loss and no loop"
  "tokenizer : core io kernels nn : pictures to latents, the only place that knows the latent scale"
  "text : core io : text to states, knows nothing of pictures"
  "data : core io : files to batches, knows no network"
  "order : core kernels spectral diffusion model : loss and sampler see a network and tensors, never a file"
  "metrics : core io data : pictures to numbers, whoever made them"
  "train : core io nn spectral diffusion model tokenizer text data order : batches to weights, is scored from outside, through a hook"
  "pipeline : core io nn spectral diffusion model tokenizer text order : request to picture, needs neither data nor training"
  "cli : core io kernels nn spectral diffusion model tokenizer text data order metrics train pipeline : the program puts everything together")

get_filename_component(root "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
set(errors "")
set(order "")
foreach(row IN LISTS table)
  if(NOT row MATCHES "^([a-z]+) *: *([a-z ]*[a-z])? *: .+")
    message(FATAL_ERROR "layering: the table's row is not 'folder : folders : reason': ${row}")
  endif()
  set(folder ${CMAKE_MATCH_1})
  string(REGEX REPLACE " +" ";" allowed "${CMAKE_MATCH_2}")
  foreach(used IN LISTS allowed)
    if(NOT used IN_LIST order)
      list(APPEND errors "the table lets ${folder} include ${used}, which does not stand above it")
    endif()
  endforeach()
  set(allowed_${folder} ${allowed})
  set(above_${folder} ${order})
  list(APPEND order ${folder})
endforeach()

# The build adds the folders in the same order, which is what keeps a cycle of libraries out.
file(READ "${root}/CMakeLists.txt" build)
list(JOIN order " " words)
string(FIND "${build}" "foreach(folder ${words})" position)
if(position EQUAL -1)
  list(APPEND errors "CMakeLists.txt does not add the folders in the table's order: ${words}")
endif()

file(GLOB folders LIST_DIRECTORIES true RELATIVE "${root}/crescendo" "${root}/crescendo/*")
set(includes 0)
foreach(folder IN LISTS folders)
  if(NOT IS_DIRECTORY "${root}/crescendo/${folder}")
    continue()
  endif()
  if(NOT folder IN_LIST order)
    list(APPEND errors "crescendo/${folder} is not in the table of tests/layering_test.cmake")
    continue()
  endif()
  file(GLOB_RECURSE files "${root}/crescendo/${folder}/*.h" "${root}/crescendo/${folder}/*.cc"
       "${root}/crescendo/${folder}/*.cu" "${root}/crescendo/${folder}/*.cuh")
  foreach(file IN LISTS files)
    file(RELATIVE_PATH name "${root}" "${file}")
    set(may ${folder} ${allowed_${folder}})
    set(is_test FALSE)
    if(name MATCHES "(_test\\.cc|/test_support\\.h)$")
      set(is_test TRUE)
      set(may ${folder} ${above_${folder}})
    endif()
    file(STRINGS "${file}" lines REGEX "^[ \t]*#[ \t]*include[ \t]*\"")
    foreach(line IN LISTS lines)
      string(REGEX REPLACE "^[^\"]*\"([^\"]*)\".*" "\\1" included "${line}")
      math(EXPR includes "${includes} + 1")
      if(included MATCHES "^crescendo/([a-z]+)/")
        if(NOT CMAKE_MATCH_1 IN_LIST may)
          list(APPEND errors "${name} includes ${included}: ${folder} may not use ${CMAKE_MATCH_1}")
        endif()
      elseif(NOT (is_test AND included MATCHES "^tests/"))
        list(APPEND errors "${name} includes ${included}: includes begin at the top of the checkout")
      endif()
    endforeach()
  endforeach()
endforeach()
if(includes LESS 100)
  list(APPEND errors "only ${includes} includes were found: the test looks in the wrong place")
endif()

if(errors)
  list(JOIN errors "\n  " text)
  message(FATAL_ERROR "layering:\n  ${text}")
endif()
message(STATUS "layering: ${includes} includes keep to the table")
