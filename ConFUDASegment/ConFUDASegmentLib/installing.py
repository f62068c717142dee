"""What must be there before a run: Python packages, found without importing them and installed after one question; and
what the extension brings along for Slicer's own modules, a terminology and a sample volume."""

import collections
import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Deque, Iterable, List, Optional, Sequence

import slicer
from slicer.i18n import tr as _

from .errors import DependencyError

_KEPT_LINES = 40
_TORCH = "torch"
SAMPLES = {"ConFUDASimulatedLGE": "SimulatedLGE.nrrd", "ConFUDASimulatedCine": "SimulatedCine.seq.nrrd"}


# What pip says where it has no way to the internet, the most telling first.
_REASONS = (
    ("proxy", r"407|Proxy ?Authentication|ProxyError|Cannot connect to proxy|Tunnel connection failed"),
    ("certificate", r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerification"),
    (
        "network",
        r"NewConnectionError|Failed to establish a new connection|Name or service not known|getaddrinfo failed|"
        r"Temporary failure in name resolution|Network is unreachable|Max retries exceeded|ConnectTimeout",
    ),
    ("disk", r"No space left on device|Errno 28|WinError 112"),
)


@dataclass(frozen=True)
class Package:
    importName: str
    requirement: str  # as pip takes it; nothing is pinned: what Slicer brings (numpy, SimpleITK) stays as it is
    size: str  # what the user is told before the download

    @property
    def least(self) -> str:
        """The oldest version that works, or nothing."""
        return self.requirement.partition(">=")[2]


PACKAGES = (
    Package(_TORCH, "torch>=2.3", "0.2 to 3 GB"),
    Package("safetensors", "safetensors>=0.4", "1 MB"),
    Package("SimpleITK", "SimpleITK", "50 MB"),  # comes with Slicer, but for some builds of a distribution
)


class Dependencies:
    """Collaborators are given, so that tests need no network and no Slicer extension."""

    def __init__(
        self,
        packages: Sequence[Package] = PACKAGES,
        isPresent: Optional[Callable[[str], bool]] = None,
        installTorch: Optional[Callable[[], None]] = None,
        installOther: Optional[Callable[[str], None]] = None,
        versionOf: Optional[Callable[[str], str]] = None,
    ) -> None:
        self._packages = packages
        self._isPresent = isPresent or _isPresent
        self._installTorch = installTorch or _installTorch
        self._installOther = installOther or _installOther
        self._versionOf = versionOf or _versionOf

    def missing(self) -> List[Package]:
        return [package for package in self._packages if not self._isPresent(package.importName)]

    def checkVersions(self) -> None:
        """Of what is installed. A loaded package can't be replaced while Slicer runs, so this is left to the user."""
        for package in self._packages:
            version = self._versionOf(package.importName) if self._isPresent(package.importName) else ""
            if not _isOlder(version, package.least):
                continue
            if package.importName == _TORCH:
                text = _(
                    "The installed PyTorch {version} is too old: {needed} or newer is needed. Open the PyTorch Util "
                    "module, press Uninstall, restart Slicer, and press the button here again."
                )
            else:
                text = _(
                    "The installed {name} {version} is too old: {needed} or newer is needed. In the Python console: "
                    "slicer.util.pip_install('{name}>={needed}'), then restart Slicer."
                )
            raise DependencyError(text.format(name=package.importName, version=version, needed=package.least))

    def note(self) -> str:
        """What a user should know before the first run, or nothing."""
        try:
            self.checkVersions()
        except DependencyError as error:
            return error.message
        missing = self.missing()
        if not missing:
            return ""
        return _("Not installed yet: {names}. The button asks before anything is downloaded (once, {size}).").format(
            names=_names(missing), size=missing[0].size
        )

    def check(self) -> None:
        self.checkVersions()
        missing = self.missing()
        if missing:
            raise DependencyError(
                _("ConFUDA needs Python packages that are not installed: {names}.").format(names=_names(missing))
            )

    @staticmethod
    def question(missing: Iterable[Package]) -> str:
        """The one question asked before anything is downloaded."""
        listed = "\n".join(
            _("  {name}  (download {size})").format(name=package.importName, size=package.size) for package in missing
        )
        return _(
            "ConFUDA needs these Python packages, which are not installed in this Slicer:\n\n{packages}\n\n"
            "Install them now? They are downloaded from the internet; Slicer waits meanwhile. "
            "PyTorch comes through the PyTorch extension, in the build that fits this computer."
        ).format(packages=listed)

    def install(self, missing: Iterable[Package]) -> None:
        """Installs on the calling (main) thread. DependencyError carries the last lines of pip."""
        for package in missing:
            output = _LastLines(sys.stdout)
            try:
                with contextlib.redirect_stdout(output):
                    if package.importName == _TORCH:
                        self._installTorch()
                    else:
                        self._installOther(package.requirement)
            except DependencyError:
                raise
            except (subprocess.CalledProcessError, RuntimeError, ValueError, OSError, ImportError) as error:
                raise DependencyError(
                    _explain(package.importName, "\n".join([*output.lines, str(error)])),
                    details="\n".join([*output.lines, f"{type(error).__name__}: {error}"]),
                ) from error
            importlib.invalidate_caches()
            if not self._isPresent(package.importName):
                raise DependencyError(
                    _("{name} was not installed. Install it and try again.").format(name=package.importName),
                    details="\n".join(output.lines),
                )


class _LastLines(io.TextIOBase):
    """Passes text on to the console and keeps its last lines: Slicer prints what pip says and raises without it."""

    def __init__(self, console: Any) -> None:
        super().__init__()
        self._console = console
        self._kept: Deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._open = ""

    @property
    def lines(self) -> List[str]:
        return [*self._kept, self._open] if self._open else list(self._kept)

    def write(self, text: str) -> int:
        if self._console is not None:
            self._console.write(text)
        *whole, self._open = (self._open + text).split("\n")
        self._kept.extend(line for line in whole if line.strip())
        return len(text)


def _explain(name: str, said: str) -> str:
    """One sentence on why pip could not install, and what to do, out of what it said."""
    reason = next((reason for reason, pattern in _REASONS if re.search(pattern, said, re.IGNORECASE)), "")
    texts = {
        "proxy": _(
            "{name} could not be downloaded: the proxy of this network could not be used. Set the environment variable "
            "HTTPS_PROXY (http://user:password@host:port) and restart Slicer, or ask your administrator."
        ),
        "certificate": _(
            "{name} could not be downloaded: a proxy of this network replaces the certificates. Set the environment "
            "variable PIP_CERT to your organisation's certificate file and restart Slicer, or ask your administrator."
        ),
        "network": _(
            "{name} could not be downloaded: this computer does not reach the internet. Connect it, or set the "
            "environment variable HTTPS_PROXY where a proxy is needed and restart Slicer; then press the button again."
        ),
        "disk": _("{name} could not be installed: the disk is full. Free some space and press the button again."),
        "": _("{name} could not be installed. The last lines of the installer are in the details."),
    }
    return texts[reason].format(name=name)


def _isOlder(version: str, least: str) -> bool:
    """By the first two numbers; a version that can't be read is taken for new enough."""
    here, there = (re.match(r"(\d+)\.(\d+)", text) for text in (version, least))
    if here is None or there is None:
        return False
    return (int(here[1]), int(here[2])) < (int(there[1]), int(there[2]))


def _versionOf(importName: str) -> str:
    """Without importing it; empty where it can't be told."""
    try:
        return importlib.metadata.version(importName)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _names(packages: Iterable[Package]) -> str:
    return ", ".join(package.importName for package in packages)


def _isPresent(importName: str) -> bool:
    """Looks for the package without importing it."""
    try:
        return importlib.util.find_spec(importName) is not None
    except (ImportError, ValueError):
        return False


def _installTorch() -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        raise DependencyError(
            _("Install the PyTorch extension first (Extensions Manager, search 'PyTorch'), restart Slicer, try again."),
        ) from error
    torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True)
    if torch is None:
        raise DependencyError(_("PyTorch was not installed. Install it with the PyTorch Util module and try again."))


def _installOther(requirement: str) -> None:
    try:
        from slicer import packaging
    except ImportError:
        slicer.util.pip_install(requirement)  # Slicer 5.10 and older
        return
    # The user has been asked already: once is enough.
    packaging.pip_ensure(requirement, prompt_install=False, requester="ConFUDA")


def loadTerminology(resourcesFolder: str) -> None:
    """Tells Slicer's Terminologies module of our list of structures: Slicer's own lists have no myocardium."""
    path = os.path.join(resourcesFolder, "ConFUDA.term.json")
    if os.path.isfile(path):
        slicer.modules.terminologies.logic().LoadTerminologyFromFile(path)


def registerSampleData(resourcesFolder: str) -> None:
    """Offers the bundled samples in Slicer's Sample Data module. They are local: nothing is downloaded."""
    try:
        import SampleData
    except ImportError:
        return  # an application made of Slicer without its Sample Data module

    for sampleName, fileName in SAMPLES.items():
        path = Path(resourcesFolder, "SampleData", fileName)
        if not path.is_file():
            continue
        name = fileName.partition(".")[0]
        thumbnail = os.path.join(resourcesFolder, "Icons", f"{name}.png")
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="ConFUDA",
            sampleName=sampleName,
            thumbnailFileName=thumbnail if os.path.isfile(thumbnail) else None,
            uris=path.as_uri(),
            fileNames=path.name,
            nodeNames=name,
            checksums="SHA256:" + hashlib.sha256(path.read_bytes()).hexdigest(),
        )
