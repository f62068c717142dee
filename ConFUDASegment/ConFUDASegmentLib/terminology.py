"""Tells Slicer's Terminologies module of our list of structures, which has the myocardium that its own lists lack."""

import os

import slicer


def loadTerminology(resourcesFolder: str) -> None:
    path = os.path.join(resourcesFolder, "ConFUDA.term.json")
    if os.path.isfile(path):
        slicer.modules.terminologies.logic().LoadTerminologyFromFile(path)
