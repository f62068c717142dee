"""Giving SimpleITK names of files with any letters on every system."""

import locale
import os
from contextlib import contextmanager, suppress
from typing import Iterator


@contextmanager
def any_letters() -> Iterator[None]:
    """Files are found by SimpleITK meanwhile whatever their names' letters are, as far as the system can.

    SimpleITK hands names over as UTF-8. Linux and macOS take them so; Windows takes them by the program's code page,
    where a user called Jörg has no file in his own folder. The locale for letters alone is changed for that time (as
    SimpleITK's list of questions advises): not the one for numbers, since a decimal comma would spoil what is read.
    """
    if os.name != "nt":
        yield
        return
    former = locale.setlocale(locale.LC_CTYPE)
    with suppress(locale.Error):  # Windows before 2018 has no such locale: names of its code page work all the same.
        locale.setlocale(locale.LC_CTYPE, ".UTF8")
    try:
        yield
    finally:
        locale.setlocale(locale.LC_CTYPE, former)
