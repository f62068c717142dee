# Stands in for a build tree of Slicer, so that the extension's own CMake files can be configured and installed where
# no Slicer was built: cmake -DSlicer_DIR=<this folder>. It gives what an extension of scripted modules takes from
# Slicer, lays files out where Slicer's packaging does (lib/Slicer-5.xx/qt-scripted-modules and, for the description,
# share/Slicer-5.xx), and refuses what Slicer refuses. It compiles nothing and runs no test of Slicer.

if(NOT DEFINED Slicer_STAND_IN_VERSION)
  set(Slicer_STAND_IN_VERSION "5.12")
endif()
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-${Slicer_STAND_IN_VERSION}/qt-scripted-modules")
set(Slicer_SHARE_DIR "share/Slicer-${Slicer_STAND_IN_VERSION}")
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/InstallDescription.cmake")
