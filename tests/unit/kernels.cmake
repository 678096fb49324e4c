# SPDX-License-Identifier: Apache-2.0
# Tests of the CUDA host, one program that also runs alone on a GPU machine ($LAWCAT_DATA: the sources there). Without a
# GPU, what needs one is skipped.
if(TARGET lawcat_cuda_model)
  add_executable(cuda_selftest kernels_dense_test.cc kernels_model_test.cc)
  target_link_libraries(cuda_selftest PRIVATE lawcat::cuda_model lawcat::backend lawcat::fmt GTest::gmock GTest::gtest_main)
  # One process: each would open the GPU anew.
  add_test(NAME cuda_selftest COMMAND cuda_selftest)
endif()
