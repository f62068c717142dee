"""Fixtures of the host: Slicer without its desktop."""

import pytest

pytest.register_assert_rewrite("Testing.host.fixtures")

from Testing.host.fixtures import bench, host, phantom  # noqa: E402, F401
