"""Fuzzing with hypothesis: the same examples in every run, limits on each, and changes of bytes and JSON."""

import copy
import resource
import signal
from contextlib import contextmanager
from typing import Any, Callable, Iterator, NamedTuple, Tuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

LONGEST_S = 300
"""A single example that takes longer hangs."""

MOST_MEMORY_BYTES = 1_500_000_000
"""Address space that an example may take on top of what the process has."""

WEIRD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 10**400, 1024, 1025]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["../../etc/passwd", "\0", "\ud800", "/dev/zero", "", " ", "cpu", "cuda:0", "cuda:\u00b2", "a" * 5000]
    ),
    st.lists(st.integers(-2, 2000), max_size=6),
    st.just([1] * 3000),
    st.just([1024] * 12),
    st.dictionaries(st.text(max_size=5), st.integers(-2, 5), max_size=3),
    st.just({"classes": 10**9}),
)
"""Values that JSON can carry and no field expects."""


def hold(check: Callable[[Any], None], examples: st.SearchStrategy, count: int, number: int = 0) -> None:
    """Try ``check`` on ``count`` examples, the same ones in every run with this ``number``."""

    @seed(number)
    # What fails first is shown as it is: looking for the smallest one can take longer than all examples.
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(examples)
    def holds(example: Any) -> None:
        check(example)

    holds()


@contextmanager
def limited() -> Iterator[None]:
    """An example within reach of ``LONGEST_S`` and ``MOST_MEMORY_BYTES``; TimeoutError or MemoryError beyond."""

    def interrupt(*_: Any) -> None:
        raise TimeoutError(f"An example took longer than {LONGEST_S} s.")

    now = measure_address_space()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    former = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_MEMORY_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


# --- Bytes and JSON, wherever they come from ---


class ByteEdit(NamedTuple):
    """A change of some bytes: where (share of the length), what is done, and with which bytes."""

    place: float
    kind: str
    content: bytes

    def apply(self, content: bytes) -> bytes:
        at = int(self.place * len(content))
        if self.kind == "cut":
            return content[:at]
        if self.kind == "insert":
            return content[:at] + self.content + content[at:]
        if self.kind == "remove":
            return content[:at] + content[at + len(self.content) :]
        return (
            content[:at] + bytes(a ^ b for a, b in zip(content[at:], self.content)) + content[at + len(self.content) :]
        )


BYTE_EDITS = st.builds(
    ByteEdit,
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["flip", "flip", "insert", "remove", "cut"]),
    st.one_of(st.binary(min_size=1, max_size=8), st.just(b"[" * 200_000), st.just(b"9" * 5000)),
)


class ValueEdit(NamedTuple):
    """A change of one value in JSON: which (a number, taken modulo how many there are), dropped or replaced."""

    place: int
    drop: bool
    value: Any

    def apply(self, content: Any) -> Any:
        places = list(_walk(content))
        if not places:
            return content
        container, key = places[self.place % len(places)]
        if self.drop:
            del container[key]
        else:
            container[key] = copy.deepcopy(self.value)
        return content


VALUE_EDITS = st.builds(ValueEdit, st.integers(0, 10_000), st.sampled_from([False, False, False, True]), WEIRD_VALUES)


def _walk(content: Any) -> Iterator[Tuple[Any, Any]]:
    """Every (container, key) below ``content``."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else []
    for key in keys:
        yield content, key
        yield from _walk(content[key])


def measure_address_space() -> int:
    """Bytes of address space that this process has now."""
    with open("/proc/self/statm", encoding="utf-8") as stream:
        return int(stream.read().split()[0]) * resource.getpagesize()
