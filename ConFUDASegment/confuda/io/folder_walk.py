"""Folders with their subfolders, those among them that are links."""

import os
from pathlib import Path
from typing import Callable, Iterator, List, Set, Tuple


def walk_folders(folder: Path, complain: Callable[[OSError], None]) -> Iterator[Tuple[Path, List[str], List[str]]]:
    """As :func:`os.walk`, from the top and into links to folders as well, which come last. A folder to which several
    ways lead, or from which a link leads back, is looked into once.

    complain: hears of folders that cannot be opened. What the caller takes out of the names of subfolders is left out.
    """
    seen: Set[str] = set()
    waiting = [Path(folder)]
    while waiting:
        for name, folders, files in os.walk(waiting.pop(0), onerror=complain):
            here, real = Path(name), os.path.realpath(name)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            yield here, folders, sorted(files)
            waiting += [here / below for below in folders if os.path.islink(here / below)]
