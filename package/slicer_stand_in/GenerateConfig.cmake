# Slicer writes ConFUDAConfig.cmake here, for extensions that link against this one. Scripted modules have nothing to
# link against.
