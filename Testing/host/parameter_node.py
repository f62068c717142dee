"""`parameterNodeWrapper` for the types that the extension uses: values as parameters, nodes as references."""

from typing import Any, Dict, get_type_hints

import slicer


def parameterNodeWrapper(cls: type) -> type:
    for name, kind in get_type_hints(cls).items():
        default = getattr(cls, name, None)
        setattr(cls, name, _nodeProperty(name) if _isNode(kind) else _valueProperty(name, kind, default))
    cls.__init__ = _initialize
    cls.AddObserver = lambda self, event, callback: self.parameterNode.AddObserver(event, callback)
    cls.RemoveObserver = lambda self, tag: self.parameterNode.RemoveObserver(tag)
    return cls


def _initialize(self: Any, parameterNode: Any) -> None:
    self.parameterNode = parameterNode


def _isNode(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def _nodeProperty(name: str) -> property:
    def read(self: Any) -> Any:
        return self.parameterNode.GetNodeReference(name)

    def write(self: Any, node: Any) -> None:
        self.parameterNode.SetNodeReferenceID(name, node.GetID() if node is not None else None)

    return property(read, write)


def _valueProperty(name: str, kind: type, default: Any) -> property:
    readers: Dict[type, Any] = {bool: lambda text: text == "True", int: int, float: float, str: str}

    def read(self: Any) -> Any:
        text = self.parameterNode.GetParameter(name)
        known = name in self.parameterNode.GetParameterNames()
        return readers[kind](text) if known else default

    def write(self: Any, value: Any) -> None:
        if type(value) is not kind:  # the real one refuses this too
            raise TypeError(f"parameter {name} takes {kind.__name__}, not {type(value).__name__}")
        self.parameterNode.SetParameter(name, str(value))

    return property(read, write)
