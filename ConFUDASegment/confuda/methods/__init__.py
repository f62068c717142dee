"""The methods by name, as ``--method`` takes them; ``none`` adapts nothing and so has no class."""

from typing import Dict, Type

from confuda.methods.adaptseg import AdaptSeg
from confuda.methods.advent import AdvEnt
from confuda.methods.base import Method
from confuda.methods.blockcl import BlockCL
from confuda.methods.confuda import ConFUDA
from confuda.methods.fuda import FUDA
from confuda.methods.source import SourceOnly

METHOD_CLASSES: Dict[str, Type[Method]] = {
    method.name: method for method in (ConFUDA, FUDA, BlockCL, AdvEnt, AdaptSeg, SourceOnly)
}
