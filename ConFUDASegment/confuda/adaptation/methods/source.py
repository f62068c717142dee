"""The control of every comparison: as many steps as the others, on labelled source images alone."""

from confuda.adaptation.methods.base import Method


class SourceOnly(Method):
    """No target image, no style, no term: what an adapted network must beat to have learned from its target."""

    name = "source"
    uses_target = False
