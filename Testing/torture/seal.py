"""A process that may not reach the network, and one whose deeds are written down. Both before torch is imported."""

import ctypes
import platform
import struct
import sys
from typing import Any, Tuple

NETWORK_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostby", "socket.bind", "socket.send")
PROCESS_EVENTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")

_SOCKET_CALLS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""By machine, what the kernel calls the architecture, and the number of its system call ``socket``."""


def close_network(_: str = "") -> None:
    """Python may not ask for a name or a connection; on Linux the kernel ends the process at once if any library, in
    whatever language, opens an internet socket."""

    def refuse(event: str, arguments: Tuple[Any, ...]) -> None:
        if event.startswith(NETWORK_EVENTS):
            raise PermissionError(f"the network is closed here: {event}")

    sys.addaudithook(refuse)
    forbid_internet_sockets()


def forbid_internet_sockets() -> bool:
    """A filter of system calls (seccomp) for this process, for good; False where there is none."""
    if not sys.platform.startswith("linux") or platform.machine() not in _SOCKET_CALLS:
        return False
    architecture, socket_call = _SOCKET_CALLS[platform.machine()]
    load, jump_if_equal, give_back = 0x20, 0x15, 0x06
    allow, kill = 0x7FFF0000, 0x80000000
    program = [
        (load, 0, 0, 4),  # the architecture
        (jump_if_equal, 0, 5, architecture),
        (load, 0, 0, 0),  # the number of the call
        (jump_if_equal, 0, 3, socket_call),
        (load, 0, 0, 16),  # its first argument, the address family
        (jump_if_equal, 2, 0, 2),  # AF_INET
        (jump_if_equal, 1, 0, 10),  # AF_INET6
        (give_back, 0, 0, allow),
        (give_back, 0, 0, kill),
    ]
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    kept = ctypes.create_string_buffer(code)
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(kept))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_filter = 38, 22
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0:
        return False
    return libc.prctl(set_filter, 2, ctypes.c_char_p(header), 0, 0) == 0


def write_down_deeds(log: str) -> None:
    """Write one line into ``log`` for each file that Python opens for writing, folder it makes, connection, process it
    starts, and class that an unpickler looks for."""
    stream = open(log, "w", encoding="utf-8", errors="backslashreplace")

    def note(event: str, arguments: Tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int) or not (isinstance(mode, str) and set(mode) & set("wax+")):
                return
            line = f"write {path!r}"
        elif event in ("os.mkdir", "os.symlink", "os.link", "os.rename"):
            line = f"write {arguments[-3 if event == 'os.rename' else 0]!r}"
        elif event.startswith(NETWORK_EVENTS):
            line = f"network {event} {arguments[1:]!r}"
        elif event.startswith(PROCESS_EVENTS):
            line = f"process {event} {arguments!r}"
        elif event.startswith("pickle."):
            line = f"pickle {arguments!r}"
        else:
            return
        stream.write(line + "\n")
        stream.flush()

    sys.addaudithook(note)
