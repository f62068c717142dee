# Writes the description that the Extensions Manager reads, from the variables of the root CMakeLists.txt.

foreach(name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${name} is not set")
  endif()
  list(LENGTH EXTENSION_${name} count)
  if(NOT count EQUAL 1)
    message(FATAL_ERROR "EXTENSION_${name} must be one quoted string without a semicolon")
  endif()
endforeach()

# A copy without its history (a downloaded archive, say) has no revision to tell.
set(revision "")
find_package(Git QUIET)
if(Git_FOUND AND EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/.git")
  execute_process(COMMAND "${GIT_EXECUTABLE}" rev-parse HEAD WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
    OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()

file(WRITE "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext"
"scm git
scmurl ${EXTENSION_HOMEPAGE}.git
scmrevision ${revision}
depends ${EXTENSION_DEPENDS}
build_subdirectory ${EXTENSION_BUILD_SUBDIRECTORY}
homepage ${EXTENSION_HOMEPAGE}
contributors ${EXTENSION_CONTRIBUTORS}
category ${EXTENSION_CATEGORY}
iconurl ${EXTENSION_ICONURL}
status ${EXTENSION_STATUS}
description ${EXTENSION_DESCRIPTION}
screenshoturls ${EXTENSION_SCREENSHOTURLS}
enabled ${EXTENSION_ENABLED}
")
install(FILES "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext" DESTINATION "${Slicer_SHARE_DIR}")
