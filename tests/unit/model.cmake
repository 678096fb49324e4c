# SPDX-License-Identifier: Apache-2.0
# Tests of hostlib/model.
add_executable(model_test model_config_test.cc model_test.cc model_session_test.cc model_tokenizer_test.cc
  model_hugging_face_test.cc)
target_link_libraries(model_test PRIVATE lawcat::model lawcat::backend GTest::gmock GTest::gtest_main)
find_program(SPM_TRAIN spm_train)
mark_as_advanced(SPM_TRAIN)
target_compile_definitions(model_test PRIVATE
  LAWCAT_TEST_SUPPORT="${PROJECT_SOURCE_DIR}/tests/support"
  "LAWCAT_SPM_TRAIN=\"$<IF:$<BOOL:${SPM_TRAIN}>,${SPM_TRAIN},>\"")
gtest_discover_tests(model_test)
