"""The packages of the wheel; everything else is in pyproject.toml, whose search takes no folder from another place."""

from setuptools import find_packages, setup

setup(packages=[*find_packages("ConFUDASegment", include=["confuda", "confuda.*"]), "confuda.models"])
