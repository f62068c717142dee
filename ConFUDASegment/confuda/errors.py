"""The errors a user can meet: each carries one clear sentence and the exit code of DESIGN.md's contract."""


class ConfudaError(Exception):
    """Base of all errors that are told to the user as one sentence, without a traceback."""

    exit_code = 1


class UsageError(ConfudaError):
    """A wrong option or argument."""

    exit_code = 2


class InputError(ConfudaError):
    """A volume or label file that cannot be used, or a place that cannot be written to."""

    exit_code = 3


class BundleError(ConfudaError):
    """A bundle that is missing, damaged, foreign or of a newer format."""

    exit_code = 4


class MemoryExhausted(ConfudaError):
    """The work does not fit into memory, even in its smallest portions."""

    exit_code = 5


class Cancelled(ConfudaError):
    """The user asked to stop."""

    exit_code = 130
