"""What can go wrong on the Slicer side, each as one clear sentence."""

from typing import Optional


class ConFUDAError(RuntimeError):
    """The message is meant for the user; `details` is for a bug report; `code` is the worker's exit code or None."""

    def __init__(self, message: str, details: str = "", code: Optional[int] = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.code = code


class InvalidInputError(ConFUDAError):
    """The volume or a setting can't be used; nothing was started and the scene is as it was."""


class DependencyError(ConFUDAError):
    """A Python package is missing or could not be installed."""


class JobFailedError(ConFUDAError):
    """The worker reported a failure, died, or gave an unusable result; the scene is as it was."""


class JobCancelledError(ConFUDAError):
    """The job was cancelled; the scene is as it was."""
