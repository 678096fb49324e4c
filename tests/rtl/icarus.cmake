# SPDX-License-Identifier: Apache-2.0
# Four-state simulation, what RTL refuses, and the faults that scripts/mutate plants.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
# Planting takes half an hour and is no test; that every fault still has its place in the sources is one.
add_test(NAME rtl.mutants COMMAND ${Python3_EXECUTABLE} -B -m unittest -v mutate_test
  WORKING_DIRECTORY ${CMAKE_CURRENT_LIST_DIR})

if(NOT TARGET lawcat_rtl OR NOT TARGET lawcat-sim)
  return()
endif()
set(environment "LAWCAT_ARCH_EMIT=$<TARGET_FILE:lawcat-arch-emit>"
  "LAWCAT_RTL_VECTORS=$<TARGET_FILE:lawcat-rtl-vectors>" "LAWCAT_SIM=$<TARGET_FILE:lawcat-sim>")
foreach(suite Nano Noticed Refused)
  add_test(NAME rtl.icarus.${suite} COMMAND ${Python3_EXECUTABLE} -B -m unittest -v icarus_test.${suite}
    WORKING_DIRECTORY ${CMAKE_CURRENT_LIST_DIR})
  set_tests_properties(rtl.icarus.${suite} PROPERTIES TIMEOUT 300 ENVIRONMENT "${environment}")
endforeach()
# Three seeds on every preset: ctest -C Long -R rtl.icarus.Long
add_test(NAME rtl.icarus.Long CONFIGURATIONS Long
  COMMAND ${Python3_EXECUTABLE} -B -m unittest -v icarus_test.Long WORKING_DIRECTORY ${CMAKE_CURRENT_LIST_DIR})
set_tests_properties(rtl.icarus.Long PROPERTIES TIMEOUT 7200 ENVIRONMENT "${environment};LAWCAT_LONG=3")
# Made as the tests need them: part of the tests' build.
add_custom_target(lawcat_rtl_test_tools ALL DEPENDS lawcat-arch-emit lawcat-rtl-vectors)
