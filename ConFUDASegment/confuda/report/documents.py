"""What a job leaves beside its segmentation, where the user asked for it: the uncertainty map and the report."""

from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np
import SimpleITK as sitk

from confuda.bundle.description import DESCRIPTION_NAME
from confuda.bundle.format import Bundle, hash_file
from confuda.imaging.stack import HeartCrop
from confuda.io.atomic import TargetFolder
from confuda.report.case import Case
from confuda.report.page import build_page
from confuda.report.place import choose_map_path, make_folder, write_page
from confuda.report.uncertainty import Uncertainty, restore_field, write_map


class Documents:
    """Made at the job's beginning, as :class:`TargetFolder` wants it.

    Args:
        report: folder of the page, None for no page.
        uncertainty: file of the map; None for the one in the report's folder, or for no map where there is none.
    """

    def __init__(self, report: Optional[Path], uncertainty: Optional[Path]) -> None:
        self.folder = Path(report) if report is not None else None
        self.map_path = choose_map_path(report, uncertainty)
        self._map_target = TargetFolder(self.map_path.parent) if self.map_path is not None else None
        self._page_target = TargetFolder(self.folder) if self.folder is not None else None

    @property
    def need_uncertainty(self) -> bool:
        return self.map_path is not None

    def write_map(self, uncertainty: Optional[Uncertainty], crop: Optional[HeartCrop], volume: sitk.Image) -> None:
        """Write the entropy on the grid of ``volume``, where a map was asked for. Without an uncertainty, as no heart
        was found, the map is empty as the segmentation is: there is nothing to doubt."""
        if uncertainty is not None and crop is not None:
            entropy = restore_field(crop, uncertainty.entropy)
        else:
            entropy = sitk.Image(volume.GetSize(), sitk.sitkFloat32)
            entropy.CopyInformation(volume)
        if self.map_path is None or self._map_target is None:
            return
        if self.folder is not None:
            make_folder(self.folder)
        with self._map_target.hold():
            write_map(entropy, self.map_path)

    def write_page(self, case: Case) -> None:
        """Write the report's page, where one was asked for."""
        if self.folder is None or self._page_target is None:
            return
        page = build_page(case)
        make_folder(self.folder)
        with self._page_target.hold():
            write_page(page, self.folder)

    def summarise(self, uncertainty: Optional[Uncertainty]) -> Optional[Dict[str, Any]]:
        """Path and numbers (0 to 1) for the summary; numbers are None where no heart is, all is if nobody asked."""
        if self.map_path is None:
            return None
        numbers = (uncertainty.agreement, uncertainty.heart_entropy) if uncertainty is not None else (np.nan, np.nan)
        agreement, entropy = (round(number, 4) if np.isfinite(number) else None for number in numbers)
        return {"path": str(self.map_path), "agreement": agreement, "heart_entropy": entropy}


def describe_bundle(bundle: Bundle, folder: Path) -> Dict[str, str]:
    """Which network it was: its description names the hashes of all its files, so that one hash tells all."""
    description = bundle.description
    return {
        "name": str(description.get("name", "unnamed")),
        "version": str(description.get("version", "unknown")),
        f"SHA-256 of {DESCRIPTION_NAME}": hash_file(folder / DESCRIPTION_NAME),
        "adapted before": "yes" if "adapted" in description else "no",
    }
