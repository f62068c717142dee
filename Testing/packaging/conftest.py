"""The host, for the tests that run the package and the documents' examples on it."""

import pytest

pytest.register_assert_rewrite("Testing.host.fixtures")

from Testing.host.fixtures import bench, host, phantom  # noqa: E402, F401
