# SPDX-License-Identifier: Apache-2.0
# Run at every build: writes commit() of sim/cli/options.h with the commit of SOURCE to OUTPUT, whose time changes only
# when its text does.
#   cmake -DSOURCE=FOLDER -DOUTPUT=FILE -DCOMMIT=TEXT -DGIT=PROGRAM -P Commit.cmake
# COMMIT, where it is given, is taken as it is; GIT may be empty. What nobody can tell is "unknown".
set(commit ${COMMIT})
if(NOT commit AND GIT AND EXISTS ${SOURCE}/.git)
  execute_process(COMMAND ${GIT} describe --always --dirty --abbrev=12
    WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT commit)
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
namespace lawcat {
const char* commit();
const char* commit() {
  return "@commit@";
}
}  // namespace lawcat
]])
