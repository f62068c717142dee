"""Slicer side of ConFUDASegment: parameters, worker process, scene in and out, panel. The method is in `confuda`."""
