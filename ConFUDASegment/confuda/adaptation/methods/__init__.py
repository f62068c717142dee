"""The methods by name, as ``--method`` takes them; ``none`` adapts nothing and so has no class."""

from typing import Dict, Type

from confuda.adaptation.methods.adaptseg import AdaptSeg
from confuda.adaptation.methods.advent import AdvEnt
from confuda.adaptation.methods.base import Method
from confuda.adaptation.methods.blockcl import BlockCL
from confuda.adaptation.methods.confuda import ConFUDA
from confuda.adaptation.methods.fuda import FUDA
from confuda.adaptation.methods.source import SourceOnly

METHOD_CLASSES: Dict[str, Type[Method]] = {
    method.name: method for method in (ConFUDA, FUDA, BlockCL, AdvEnt, AdaptSeg, SourceOnly)
}
