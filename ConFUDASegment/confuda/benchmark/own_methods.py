"""A user's own method as a row of table 1: one Python file with a class of the method (docs/developers.md)."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Dict, List, NamedTuple, Sequence, Type

from confuda.adaptation.methods import METHOD_CLASSES
from confuda.adaptation.methods.base import Method
from confuda.benchmark.plan import METHOD_TITLES
from confuda.bundle.format import hash_file
from confuda.errors import UsageError

_PREFIX = "confuda_own_method_"


class OwnMethod(NamedTuple):
    """A method from a file: its name, its row's title, and the hash of the file that decides its cells."""

    name: str
    title: str
    code_hash: str


def load_own_methods(files: Sequence[Path]) -> Dict[str, OwnMethod]:
    """Run ``files`` and enter the methods that they define, by name, where the loop of the adaptation looks them up.

    The title of a row is the class's attribute ``title``, or else its name.

    Raises:
        UsageError: if a file can't be read or fails, defines no method, or takes a name that is taken.
    """
    found: Dict[str, OwnMethod] = {}
    for file in files:
        code_hash = _hash(file)
        for method in _find_methods(_run(file, code_hash), file):
            if method.name in METHOD_TITLES or method.name in found:
                raise UsageError(f"{file}: there is a method '{method.name}' already, choose another name.")
            METHOD_CLASSES[method.name] = method
            found[method.name] = OwnMethod(method.name, str(getattr(method, "title", method.name)), code_hash)
    return found


def _hash(file: Path) -> str:
    try:
        return hash_file(file)
    except OSError as error:
        raise UsageError(f"The method file {file} cannot be read: {error.strerror}.") from error


def _run(file: Path, code_hash: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_PREFIX + code_hash[:16], file)
    if spec is None or spec.loader is None:
        raise UsageError(f"The method file {file} is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - anything may go wrong in a user's own code, and it is to be told as such.
        raise UsageError(f"The method file {file} fails: {type(error).__name__}: {error}.") from error
    return module


def _find_methods(module: ModuleType, file: Path) -> List[Type[Method]]:
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    named = [kind for kind in own if isinstance(getattr(kind, "name", None), str)]
    if not named:
        raise UsageError(f"{file} defines no method: it needs a class of confuda.adaptation.methods.base.Method.")
    return named
