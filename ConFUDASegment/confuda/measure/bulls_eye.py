"""Where AHA's segments lie in the bull's eye: base outside, apex in the middle, front above, septum at the left.

It is the view from the apex that the AHA's statement draws (Cerqueira et al., Circulation 105:539, 2002). Nothing is
imported: what draws, with whatever library, takes the places from here.
"""

from typing import Tuple

APEX_RADIUS = 1.0


def find_place(segment: int) -> Tuple[float, float, float, float]:
    """Where a segment (1 to 17) lies: inner and outer radius (0 to 4), first and last angle in degrees,
    counter-clockwise from the right."""
    if segment == 17:
        return 0.0, APEX_RADIUS, 0.0, 360.0
    if segment >= 13:
        first = 45.0 + 90 * (segment - 13)
        return APEX_RADIUS, 2.0, first, first + 90
    ring = 3.0 if segment <= 6 else 2.0
    first = 60.0 + 60 * ((segment - 1) % 6)
    return ring, ring + 1, first, first + 60
