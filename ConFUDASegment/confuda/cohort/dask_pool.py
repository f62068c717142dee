"""Tasks on Dask distributed: worker processes on this machine, or those of a scheduler somewhere else.

At most one task for each thread of the workers is under way, so that a worker that dies takes no task with it that only
waited, and no core computes for two.
"""

import logging
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Deque, Dict, Iterator, Optional, Sequence, Tuple

from confuda.cohort.failure import CaseFailure
from confuda.errors import ConfudaError, InputError, UsageError

CONNECT_S = 20
CLOSE_S = 10

_PRE_SPAWN = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
"""Environment of the workers. Dask's own also sets MALLOC_TRIM_THRESHOLD_, which makes torch slower on the CPU."""


@dataclass(frozen=True)
class PoolOptions:
    """Where tasks run.

    workers: processes on this machine; scheduler: address of a Dask scheduler instead ("tcp://host:8786"); threads: CPU
    threads a task (None: all cores shared among the workers here, and 1 on a scheduler's workers); memory_limit: bytes
    a worker may take, as a number or a text such as "4GiB" (None: the machine's memory shared among them); retries: how
    often a task that failed, or whose worker died, is tried again.
    """

    workers: int = 1
    scheduler: Optional[str] = None
    threads: Optional[int] = None
    memory_limit: Optional[str] = None
    retries: int = 2

    def check(self) -> None:
        """Raises UsageError for what cannot be, or if Dask is not installed."""
        if self.workers < 1:
            raise UsageError("--workers must be at least 1.")
        if self.retries < 0:
            raise UsageError("--retries must be at least 0.")
        if self.threads is not None and self.threads < 1:
            raise UsageError("--threads must be at least 1.")
        self.parse_memory_limit()

    def parse_memory_limit(self) -> int:
        """Bytes a worker on this machine may take."""
        _import_distributed()
        from dask.utils import parse_bytes
        from distributed.system import MEMORY_LIMIT

        if self.memory_limit is None:
            return MEMORY_LIMIT // self.workers
        try:
            limit = parse_bytes(self.memory_limit)
        except ValueError:
            limit = 0
        if limit <= 0:
            raise UsageError(f"'{self.memory_limit}' is no amount of memory: give --memory-limit 4GiB, say.")
        return limit

    def share_threads(self) -> int:
        """CPU threads a task, so that all workers of this machine together use each core once."""
        if self.threads is not None:
            return self.threads
        return 1 if self.scheduler else max(1, count_cores() // self.workers)


def count_cores() -> int:
    """The cores this process may use."""
    _import_distributed()
    from dask.system import CPU_COUNT

    return CPU_COUNT


@contextmanager
def open_pool(options: PoolOptions) -> Iterator["Pool"]:
    """A pool that is closed in the end, with all worker processes that it started.

    Raises:
        UsageError: if Dask is not installed, an option is wrong, or no scheduler answers.
    """
    options.check()
    distributed = _import_distributed()
    # What goes wrong reaches the user as one sentence.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if options.scheduler:
        try:
            client = distributed.Client(options.scheduler, timeout=CONNECT_S, set_as_default=False)
            client.wait_for_workers(1, timeout=CONNECT_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(f"No Dask scheduler with a worker answers at {options.scheduler}.") from error
        try:
            yield Pool(client, options.retries)
        finally:
            _close(client)
        return
    import dask

    with dask.config.set(_configure_local(options)):
        cluster = distributed.LocalCluster(
            n_workers=options.workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=options.parse_memory_limit(),
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        )
        client = distributed.Client(cluster, set_as_default=False)
        try:
            yield Pool(client, options.retries)
        finally:
            _close(client)
            _close(cluster)


def _close(part: Any) -> None:
    """Close a client or a cluster. On a machine under heavy load that may take too long, which must not spoil a run
    that is done: what is left ends with this process, as the workers watch it."""
    try:
        part.close(timeout=CLOSE_S)
    except (OSError, TimeoutError, _import_distributed().TimeoutError):
        pass


def _configure_local(options: PoolOptions) -> Dict[str, Any]:
    return {
        "distributed.scheduler.allowed-failures": options.retries,
        # A paused worker would wait for ever where the memory is the allocator's; only the limit itself ends one.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.nanny.pre-spawn-environ": _PRE_SPAWN,
        "logging.distributed": "critical",
    }


def _import_distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise UsageError("Cohorts need Dask: install it with 'pip install dask distributed'.") from error
    return distributed


class Pool:
    """Runs functions on the workers of a Dask client."""

    def __init__(self, client: Any, retries: int) -> None:
        self._client = client
        self._retries = retries

    def run(
        self,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        finished: Callable[[Any, Any, Optional[BaseException]], None],
    ) -> None:
        """Call ``function`` on each of ``tasks`` and ``finished`` with the task and its result, or its error.

        Raises:
            InputError: if the scheduler is lost.
        """
        from distributed import as_completed

        waiting: Deque[Any] = deque(tasks)
        under_way: Dict[Any, Any] = {}
        completed = as_completed(loop=self._client.loop)
        while waiting or under_way:
            while waiting and len(under_way) < self._count_places():
                task = waiting.popleft()
                future = self._client.submit(function, task, retries=self._retries, pure=False)
                under_way[future] = task
                completed.add(future)
            future = next(completed)
            task = under_way.pop(future)
            result, error = _collect(future)
            future.release()
            finished(task, result, error)

    def _count_places(self) -> int:
        """How many tasks may be under way; workers of a cluster come and go."""
        return max(1, sum(self._client.nthreads().values()))


def _collect(future: Any) -> Tuple[Any, Optional[BaseException]]:
    """The result of a future that has ended, or its error."""
    from distributed import CancelledError

    try:
        return future.result(), None
    except CancelledError as error:
        # Nobody cancels: the future is gone with the scheduler, and so are all others.
        raise InputError("The Dask scheduler was lost: give the same command again to go on.") from error
    except Exception as error:  # noqa: BLE001 (a task's error, whatever it is, is its case's result)
        return None, error


def explain_error(error: Optional[BaseException]) -> str:
    """One sentence on why a task has no result."""
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return (
            "The worker process was killed each time it came to this volume, perhaps for lack of memory: "
            "use fewer --workers or a higher --memory-limit."
        )
    if isinstance(error, (ConfudaError, CaseFailure)):
        return str(error)
    return f"Unexpected {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
