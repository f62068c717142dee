"""The corpus of hostile and odd volumes: the bundled sample, distorted in one way each, and files that are damaged.

    python -m Testing.torture.hostile_volumes -o FOLDER       # writes every volume into a folder of its own

Nothing here knows the program under test. What it must make of each volume is said in ``input_cases.py``.
"""

import argparse
import gzip
import os
import re
import struct
from itertools import permutations, product
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk
from Testing.torture.non_hearts import NON_HEARTS, make_non_heart

SAMPLE = Path(__file__).resolve().parents[2] / "ConFUDASegment" / "Resources" / "SampleData" / "SimulatedLGE.nrrd"

Geometry = Callable[[sitk.Image], sitk.Image]
"""Moves voxels or the grid; made of nearest neighbours, so that it serves grey values and labels alike."""

Paint = Callable[[np.ndarray], np.ndarray]
"""Changes grey values, (slices, rows, columns), and leaves the heart where it is."""

ORIENTATIONS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]
"""All ways to store a volume: order of axes, and which ones run backwards."""

PIXEL_TYPES = {
    "int8": sitk.sitkInt8,
    "uint8": sitk.sitkUInt8,
    "int16": sitk.sitkInt16,
    "uint16": sitk.sitkUInt16,
    "int32": sitk.sitkInt32,
    "uint32": sitk.sitkUInt32,
    "int64": sitk.sitkInt64,
    "uint64": sitk.sitkUInt64,
    "float32": sitk.sitkFloat32,
    "float64": sitk.sitkFloat64,
}
"""Every scalar type of SimpleITK."""


def read_sample() -> sitk.Image:
    return sitk.ReadImage(str(SAMPLE))


# Geometry: where voxels lie.


def leave(image: sitk.Image) -> sitk.Image:
    return image


def reorient(axes: Sequence[int], flips: Sequence[bool]) -> Geometry:
    """The same voxels at the same places in the body, stored in another order."""
    return lambda image: sitk.Flip(sitk.PermuteAxes(image, list(axes)), list(flips), False)


def set_direction(matrix: Sequence[float]) -> Geometry:
    """The same voxels, said to lie in another direction: ``matrix`` by rows."""

    def turn(image: sitk.Image) -> sitk.Image:
        turned = sitk.Image(image)
        turned.SetDirection(list(matrix))
        return turned

    return turn


def make_oblique(degrees: float) -> Geometry:
    """Turned by ``degrees`` about x and then about z, as short axes lie in the body."""
    a = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return set_direction((about_z @ about_x).ravel())


def set_spacing(*spacing_mm: float) -> Geometry:
    def stretch(image: sitk.Image) -> sitk.Image:
        stretched = sitk.Image(image)
        stretched.SetSpacing(spacing_mm)
        return stretched

    return stretch


def set_origin(*origin_mm: float) -> Geometry:
    def move(image: sitk.Image) -> sitk.Image:
        moved = sitk.Image(image)
        moved.SetOrigin(origin_mm)
        return moved

    return move


def reverse_slices(image: sitk.Image) -> sitk.Image:
    """Slices in the wrong order on an unchanged grid: a mirrored heart."""
    return _copy_grid(sitk.GetArrayFromImage(image)[::-1], image)


def pad(before: Sequence[int], after: Sequence[int]) -> Geometry:
    return lambda image: sitk.ConstantPad(image, list(before), list(after), 0)


def keep(columns: slice, rows: slice, slices: slice = slice(None)) -> Geometry:
    return lambda image: image[columns, rows, slices]


def resample(size: Sequence[int]) -> Geometry:
    """The same field of view in another number of voxels, by nearest neighbour."""

    def change(image: sitk.Image) -> sitk.Image:
        old = np.array(image.GetSpacing())
        new = old * image.GetSize() / np.array(size)
        origin = image.TransformContinuousIndexToPhysicalPoint(list((new / old - 1) / 2))
        like = (list(size), sitk.Transform(), sitk.sitkNearestNeighbor, origin, list(new), image.GetDirection())
        return sitk.Resample(image, *like)

    return change


def chain(*steps: Geometry) -> Geometry:
    def do_all(image: sitk.Image) -> sitk.Image:
        for step in steps:
            image = step(image)
        return image

    return do_all


def _copy_grid(voxels: np.ndarray, image: sitk.Image) -> sitk.Image:
    copy = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    copy.CopyInformation(image)
    return copy


# Paint: what voxels say.


def scatter(value: float, share: float = 0.001, dtype: Any = np.float32) -> Paint:
    """``value`` in that share of the voxels."""

    def paint(voxels: np.ndarray) -> np.ndarray:
        painted = voxels.astype(dtype)
        painted[np.random.default_rng(0).random(voxels.shape) < share] = value
        return painted

    return paint


def shift(offset: float, factor: float = 1.0, dtype: Any = np.float64) -> Paint:
    return lambda voxels: (voxels.astype(np.float64) * factor + offset).astype(dtype)


def shift_int64(offset: int) -> Paint:
    return lambda voxels: voxels.astype(np.int64) + np.int64(offset)


def cast(dtype: Any) -> Paint:
    """The grey values in the range of the type, one byte scaled to it."""

    def paint(voxels: np.ndarray) -> np.ndarray:
        if np.dtype(dtype).itemsize > 1:
            return voxels.astype(dtype)
        top = np.iinfo(dtype).max
        return (voxels.astype(np.float64) * (top / voxels.max())).astype(dtype)

    return paint


def blank_slice(number: int) -> Paint:
    def paint(voxels: np.ndarray) -> np.ndarray:
        painted = voxels.copy()
        painted[number] = 0
        return painted

    return paint


# Files.


def write_distorted(name: str, geometry: Geometry = leave, paint: Optional[Paint] = None) -> "Write":
    """Writes the distorted sample as the file ``name``."""

    def write(folder: Path) -> Path:
        image = read_sample()
        if paint is not None:
            image = _copy_grid(paint(sitk.GetArrayFromImage(image)), image)
        return write_image(geometry(image), folder / name)

    return write


def write_image(image: sitk.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # By way of a plain name: what is tested is reading.
    endings = [ending for ending in (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".dcm") if path.name.endswith(ending)]
    plain = path.parent / f"plain{endings[0]}"
    sitk.WriteImage(image, str(plain))
    if plain != path:
        os.replace(plain, path)
    return path


def write_array(name: str, voxels: np.ndarray, spacing_mm: Sequence[float] = (1.4, 1.4, 8.0)) -> "Write":
    def write(folder: Path) -> Path:
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(list(spacing_mm)[: image.GetDimension()])
        return write_image(image, folder / name)

    return write


def write_bytes(name: str, content: bytes) -> "Write":
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def write_vector(name: str, kind: str) -> "Write":
    """Colour ("rgb", "rgba"), complex numbers ("complex") or frames of a cine ("cine", "single")."""

    def write(folder: Path) -> Path:
        grey = sitk.Cast(read_sample(), sitk.sitkFloat32)
        images = {
            "rgb": lambda: sitk.Cast(sitk.Compose([grey] * 3), sitk.sitkVectorUInt8),
            "rgba": lambda: sitk.Cast(sitk.Compose([grey] * 4), sitk.sitkVectorUInt8),
            "complex": lambda: sitk.RealAndImaginaryToComplex(grey, grey),
            "cine": lambda: sitk.JoinSeries([grey] * 3),
            "single": lambda: sitk.JoinSeries([grey]),
        }
        return write_image(images[kind](), folder / name)

    return write


def write_non_heart(name: str, seed: int = 100) -> "Write":
    return lambda folder: write_image(make_non_heart(name, seed), folder / f"{name}.nrrd")


def cut_off(write: "Write", share: float) -> "Write":
    """Only the first ``share`` of the file."""

    def cut(folder: Path) -> Path:
        path = write(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return cut


def flip_bits(write: "Write", count: int = 5, begin: float = 0.5) -> "Write":
    """``count`` flipped bits in the part of the file behind the share ``begin``."""

    def flip(folder: Path) -> Path:
        path = write(folder)
        content = bytearray(path.read_bytes())
        for place in np.random.default_rng(0).integers(int(begin * len(content)), len(content), count):
            content[place] ^= 1 << int(place % 8)
        path.write_bytes(content)
        return path

    return flip


def edit_nifti(*edits: Tuple[str, int, Tuple[float, ...]]) -> "Write":
    """The sample as .nii with header fields overwritten: struct format, offset, values."""

    def write(folder: Path) -> Path:
        path = write_image(read_sample(), folder / "header.nii")
        content = bytearray(path.read_bytes())
        for kind, offset, values in edits:
            struct.pack_into("<" + kind, content, offset, *values)
        path.write_bytes(content)
        return path

    return write


def edit_text_header(name: str, *replacements: Tuple[str, str]) -> "Write":
    """The sample, uncompressed, as .nrrd or .mha, with lines of the header replaced (by regular expression)."""

    def write(folder: Path) -> Path:
        path = folder / name
        sitk.WriteImage(read_sample(), str(path), False)
        content = path.read_bytes()
        end = content.index(b"\n\n") if name.endswith("nrrd") else content.index(b"LOCAL") + 5
        header = content[:end].decode("latin-1")
        for pattern, replacement in replacements:
            header, count = re.subn(pattern, replacement, header, flags=re.MULTILINE)
            if not count:
                raise ValueError(f"The header of {name} has no {pattern}.")
        path.write_bytes(header.encode("latin-1") + content[end:])
        return path

    return write


def write_gzip_bomb(folder: Path) -> Path:
    """40 GB of zeros that a header promises and 4 MB unpack to."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 4096, 4096, 1200, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<4f", header, 76, 1.0, 0.1, 0.1, 8.0)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    path = folder / "bomb.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(bytes(header))
        for _ in range(1000):
            file.write(bytes(1 << 20))
    # As large as gzip could make the file that holds it all: its length gives nothing away.
    with open(path, "ab") as file:
        file.truncate(40_500_000)
    return path


def make_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.nii.gz")
    return folder / "pipe.nii.gz"


Edit = Callable[[int, sitk.Image, Dict[str, str]], Optional[sitk.Image]]
"""Changes a slice (number, image, DICOM tags) before it is written; may give another image in its place."""


def write_dicom(
    name: str = "series",
    edit: Optional[Edit] = None,
    spoil: Optional[Callable[[Path], None]] = None,
    geometry: Geometry = leave,
) -> "Write":
    """Writes the sample as a DICOM series, file by file as a scanner's export is; ``spoil`` then harms the folder."""

    def write(folder: Path) -> Path:
        series = folder / name
        series.mkdir(parents=True)
        write_dicom_files(geometry(read_sample()), series, "1.2.826.0.1.3680043.9.1", edit)
        if spoil is not None:
            spoil(series)
        return series

    return write


def write_dicom_files(image: sitk.Image, folder: Path, uid: str, edit: Optional[Edit] = None) -> List[Path]:
    """One file a slice, named against the order of places, with a patient's name in it."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    count = image.GetDepth()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    paths = []
    for number in range(count):
        plane: sitk.Image = image[:, :, number]
        place = image.TransformIndexToPhysicalPoint((0, 0, number))
        tags = {
            "0008|0060": "MR",
            "0010|0010": "Doe^Jane",
            "0010|0020": "PATIENT-4711",
            "0018|0050": f"{image.GetSpacing()[2]:g}",
            "0020|000d": f"{uid}.0",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{number + 1}",
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{x:.6f}" for x in place),
            "0020|0037": "\\".join(f"{direction[row, column]:.6f}" for column in (0, 1) for row in range(3)),
        }
        if edit is not None:
            plane = edit(number, plane, tags) or plane
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        path = folder / f"{uid}-{count - number:03d}.dcm"
        writer.SetFileName(str(path))
        writer.Execute(plane)
        paths.append(path)
    return paths


def list_files(folder: Path) -> List[Path]:
    return sorted(folder.iterdir())


def remove_file(number: int) -> Callable[[Path], None]:
    return lambda folder: list_files(folder)[number].unlink()


def cut_file(number: int, share: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = list_files(folder)[number]
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return spoil


def claim_length(number: int) -> Callable[[Path], None]:
    """An element of one file is said to have 4 GB."""

    def spoil(folder: Path) -> None:
        path = list_files(folder)[number]
        content = path.read_bytes()
        place = content.rindex(b"\xe0\x7f\x10\x00") + 4
        # With a value representation of two letters, two reserved bytes stand before the length.
        place += 4 if content[place : place + 2].isalpha() else 0
        path.write_bytes(content[:place] + b"\xf0\xff\xff\xff" + content[place + 4 :])

    return spoil


def add_series(folder: Path) -> None:
    write_dicom_files(read_sample(), folder, "1.2.826.0.1.3680043.9.2")


def add_strangers(folder: Path) -> None:
    """A letter, a thumbnail and a sub-folder: what lies about in exports."""
    (folder / "letter.txt").write_text("no image")
    (folder / "Thumbs.db").write_bytes(bytes(500))
    (folder / "more").mkdir()


def widen_pixels(number: int, plane: sitk.Image, tags: Dict[str, str]) -> None:
    if number >= 4:
        plane.SetSpacing([2 * x for x in plane.GetSpacing()])


def turn_slice(number: int, plane: sitk.Image, tags: Dict[str, str]) -> None:
    if number == 3:
        tags["0020|0037"] = "0\\1\\0\\-1\\0\\0"


def halve_slice(number: int, plane: sitk.Image, tags: Dict[str, str]) -> Optional[sitk.Image]:
    return sitk.Shrink(plane, [2, 2]) if number == 3 else None


def lose_place(number: int, plane: sitk.Image, tags: Dict[str, str]) -> None:
    tags["0020|0032"] = "nan\\nan\\nan"


def space_unevenly(number: int, plane: sitk.Image, tags: Dict[str, str]) -> None:
    if number == 3:
        x, y, z = tags["0020|0032"].split("\\")
        tags["0020|0032"] = f"{x}\\{y}\\{float(z) + 0.4:.6f}"


Write = Callable[[Path], Path]
"""Writes into an empty folder and returns what is to be given to the program."""


class HostileVolume(NamedTuple):
    """name: also that of its folder; tried: what it is, in a line; geometry: what was done to the places of voxels."""

    name: str
    tried: str
    write: Write
    geometry: Geometry = leave


_HEART_COLUMNS, _HEART_ROWS = slice(58, 130), slice(108, 188)
"""The box round the sample's heart."""


def make_corpus() -> List[HostileVolume]:
    """Every volume of the corpus but the 48 orientations, which differ in ``reorient`` alone."""
    return [
        *_distort_geometry(),
        *_distort_values(),
        *_spoil_headers(),
        *_damage_files(),
        *_spoil_dicom(),
        *_name_oddly(),
    ]


def _distort_geometry() -> List[HostileVolume]:
    distorted = {
        "oblique": ("turned by 35 degrees about two axes", make_oblique(35)),
        "oblique by 45": ("turned by 45 degrees about two axes: no axis is nearer", make_oblique(45)),
        "left-handed": ("a direction matrix that mirrors", set_direction((1, 0, 0, 0, 1, 0, 0, 0, -1))),
        "mirrored in plane": ("a direction matrix that mirrors x", set_direction((-1, 0, 0, 0, 1, 0, 0, 0, 1))),
        "reversed slices": ("slices in reversed order on the same grid", reverse_slices),
        "slices first": ("the slice axis is the first", reorient((2, 0, 1), (False, False, False))),
        "slices second": ("the slice axis is the second", reorient((0, 2, 1), (False, True, False))),
        "far away": ("an origin 100 m from the scanner's middle", set_origin(1e5, -1e5, 1e5)),
        "heart at the border": ("cut so that the heart touches two borders", keep(slice(58, None), slice(108, None))),
        "nothing but the heart": ("cut to the box round the heart", keep(_HEART_COLUMNS, _HEART_ROWS)),
        "heart in a corner": ("padded by 160 pixels on two sides", pad((160, 160, 0), (0, 0, 0))),
        "one slice": ("a single mid-ventricular slice", keep(slice(None), slice(None), slice(3, 4))),
        "two slices": ("two slices", keep(slice(None), slice(None), slice(3, 5))),
        "fine pixels": ("pixels of 0.4 mm", resample((711, 1000, 8))),
        "coarse pixels": ("pixels of 3 mm", resample((95, 133, 8))),
        "oblong pixels": ("pixels of 1 x 3 mm", resample((284, 133, 8))),
        "4096 x 4096": ("slices of 4096 x 4096 pixels", chain(pad((44, 0, 0), (44, 0, 0)), resample((4096, 4096, 8)))),
        "500 slices": ("500 slices, 0.16 mm apart", resample((216, 304, 500))),
        "thick slices": ("slices 95 mm apart", set_spacing(1.3158, 1.3158, 95.0)),
        "slices too far apart": ("slices 1 m apart", set_spacing(1.3158, 1.3158, 1000.0)),
        "pixels of a micrometre": ("0.001 mm in plane", set_spacing(0.001, 0.001, 8.0)),
        "pixels of a metre": ("1 m in plane", set_spacing(1000.0, 1000.0, 8.0)),
        "one long pixel": ("pixels of 0.01 x 100 mm", set_spacing(0.01, 100.0, 8.0)),
    }
    volumes = [
        HostileVolume(name, tried, write_distorted("volume.nrrd", geometry), geometry)
        for name, (tried, geometry) in distorted.items()
    ]
    return volumes


def _distort_values() -> List[HostileVolume]:
    painted = {
        "NaN": ("0.1 % of the voxels are NaN", scatter(np.nan)),
        "infinity": ("0.1 % of the voxels are infinite", scatter(np.inf)),
        "minus infinity": ("0.1 % of the voxels are minus infinity", scatter(-np.inf)),
        "1e300": ("0.1 % of the voxels are 1e300, beyond float32", scatter(1e300, dtype=np.float64)),
        "hot pixels": ("0.1 % of the voxels are 30000", scatter(30000, dtype=np.int16)),
        "negative": ("all values lower by 5000", shift(-5000, dtype=np.int16)),
        "large offset": ("grey values on top of 2^60", shift_int64(1 << 60)),
        "tiny values": ("grey values of at most 1e-9", shift(0, 1e-12, np.float32)),
        "huge values": ("grey values up to 1e28", shift(0, 1e25, np.float64)),
        "a blank slice": ("one slice is zero", blank_slice(3)),
    }
    volumes = [HostileVolume(name, tried, write_distorted("v.nrrd", leave, p)) for name, (tried, p) in painted.items()]
    for name in PIXEL_TYPES:
        write = write_distorted("volume.nrrd", leave, cast(np.dtype(name)))
        volumes.append(HostileVolume(name, f"voxels of type {name}", write))
    flat = np.full((4, 64, 64), 7, np.int16)
    noise = np.random.default_rng(0).integers(0, 200, (1, 64, 64)).astype(np.int16)
    one_nan = np.full((4, 64, 64), np.nan, np.float32)
    volumes += [
        HostileVolume("constant", "all voxels are 7", write_array("flat.nrrd", flat)),
        HostileVolume("all NaN", "all voxels are NaN", write_array("nan.nrrd", one_nan)),
        HostileVolume("one pixel", "1 x 1 x 1 voxel", write_array("pixel.nrrd", flat[:1, :1, :1])),
        HostileVolume("one row", "64 x 1 x 1 voxels", write_array("row.nrrd", noise[:, :1])),
        HostileVolume("2-D", "a 2-D image", write_array("plane.nrrd", noise[0])),
        HostileVolume("RGB", "three colours a voxel", write_vector("rgb.nrrd", "rgb")),
        HostileVolume("RGBA", "four channels a voxel", write_vector("rgba.nii.gz", "rgba")),
        HostileVolume("complex", "complex voxels", write_vector("complex.nrrd", "complex")),
        HostileVolume("4-D", "a cine of three frames", write_vector("cine.nii.gz", "cine")),
        HostileVolume("4-D, one frame", "a cine of one frame", write_vector("cine.nii.gz", "single")),
    ]
    for name in NON_HEARTS:
        volumes.append(HostileVolume(name, f"no heart: {name}", write_non_heart(name)))
    return volumes


def _spoil_headers() -> List[HostileVolume]:
    nan, inf = float("nan"), float("inf")
    pixdim, sform = 80, (("2h", 252, (0, 1)),)
    sheared = (("4f", 280, (1.3, 0.7, 0, 0)), ("4f", 296, (0, 1.3, 0, 0)), ("4f", 312, (0, 0, 10, 0)), *sform)
    sizes, directions, block = r"^sizes:.*$", r"^space directions:.*$", r"^ElementDataFile.*"
    return [
        HostileVolume("NIfTI, spacing 0", "pixdim of 0", edit_nifti(("3f", pixdim, (0, 0, 0)))),
        HostileVolume("NIfTI, spacing -1", "pixdim below 0", edit_nifti(("3f", pixdim, (-1.3, 1.3, 10)))),
        HostileVolume("NIfTI, spacing NaN", "pixdim of NaN", edit_nifti(("3f", pixdim, (nan, 1.3, 10)))),
        HostileVolume("NIfTI, spacing infinite", "pixdim infinite", edit_nifti(("3f", pixdim, (inf, 1.3, 10)))),
        HostileVolume("NIfTI in metres", "the unit of length is the metre", edit_nifti(("b", 123, (1,)))),
        HostileVolume("NIfTI in micrometres", "the unit is the micrometre", edit_nifti(("b", 123, (3,)))),
        HostileVolume("NIfTI, sheared", "an sform that shears", edit_nifti(*sheared)),
        HostileVolume("NIfTI, sform NaN", "an sform of NaN", edit_nifti(("4f", 280, (nan, 0, 0, 0)), *sform)),
        HostileVolume("NIfTI, size 0", "an axis of no voxel", edit_nifti(("h", 42, (0,)))),
        HostileVolume("NIfTI, size huge", "32767^3 voxels", edit_nifti(("3h", 42, (32767,) * 3))),
        HostileVolume("NIfTI, nine axes", "dim[0] is 9", edit_nifti(("h", 40, (9,)))),
        HostileVolume("NIfTI, type unknown", "datatype 0", edit_nifti(("h", 70, (0,)))),
        HostileVolume("NIfTI, scale NaN", "scl_slope NaN", edit_nifti(("f", 112, (nan,)))),
        HostileVolume("NIfTI, voxels elsewhere", "vox_offset 1e9", edit_nifti(("f", 108, (1e9,)))),
        HostileVolume(
            "NRRD, sheared",
            "space directions that shear in plane",
            edit_text_header("v.nrrd", (directions, "space directions: (1.3,0,0) (0.6,1.3,0) (0,0,10)")),
        ),
        HostileVolume(
            "NRRD, slanting slices",
            "slices that slant, as with a tilted gantry",
            edit_text_header("v.nrrd", (directions, "space directions: (1.3,0,0) (0,1.3,0) (4,0,10)")),
        ),
        HostileVolume(
            "NRRD, no direction",
            "a space direction of zero",
            edit_text_header("v.nrrd", (directions, "space directions: (0,0,0) (0,1.3,0) (0,0,10)")),
        ),
        HostileVolume(
            "NRRD without spacing",
            "no spacing at all, which ITK takes for 1 mm",
            edit_text_header("v.nrrd", (r"^(space|kinds).*\n?", "")),
            set_spacing(1, 1, 1),
        ),
        HostileVolume(
            "NRRD, size huge", "1e13 voxels promised", edit_text_header("v.nrrd", (sizes, "sizes: 100000 100000 1000"))
        ),
        HostileVolume(
            "NRRD, another file",
            "a header that names /etc/passwd for its voxels",
            edit_text_header("v.nrrd", (r"^encoding:.*$", "encoding: raw\ndata file: /etc/passwd")),
        ),
        HostileVolume(
            "MHA, spacing 0", "a spacing of 0", edit_text_header("v.mha", (r"^(ElementSpacing =).*", r"\1 0 1 8"))
        ),
        HostileVolume(
            "MHA, spacing -1", "a spacing below 0", edit_text_header("v.mha", (r"^(ElementSpacing =).*", r"\1 -1 1 8"))
        ),
        HostileVolume(
            "MHA, sheared",
            "a matrix that shears in plane",
            edit_text_header("v.mha", (r"^(TransformMatrix =).*", r"\1 1 0 0 0.5 0.8 0 0 0 1")),
        ),
        HostileVolume(
            "MHA, place NaN", "an origin of NaN", edit_text_header("v.mha", (r"^(Offset =).*", r"\1 nan 0 0"))
        ),
        HostileVolume(
            "MHA, another file",
            "voxels said to be in /dev/zero",
            edit_text_header("v.mha", (block, "ElementDataFile = /dev/zero")),
        ),
        HostileVolume(
            "MHD without voxels",
            "the file of voxels is missing",
            edit_text_header("v.mha", (block, "ElementDataFile = v.raw")),
        ),
    ]


def _damage_files() -> List[HostileVolume]:
    volumes = []
    for ending in ("nii", "nii.gz", "nrrd", "mha"):
        write = write_packed(f"volume.{ending}")
        volumes.append(HostileVolume(f"cut off, {ending}", "the last third is missing", cut_off(write, 0.66)))
        volumes.append(
            HostileVolume(f"cut off at the end, {ending}", "the last bytes are missing", cut_off(write, 0.9995))
        )
        if ending != "nii":  # Nothing in an uncompressed file tells.
            volumes.append(
                HostileVolume(f"flipped bits, {ending}", "five bits flipped in the voxels", flip_bits(write))
            )
        volumes.append(HostileVolume(f"empty, {ending}", "a file of no byte", write_bytes(f"volume.{ending}", b"")))
        volumes.append(
            HostileVolume(
                f"text, {ending}", "a letter by that name", write_bytes(f"volume.{ending}", b"Dear all, " * 99)
            )
        )
    volumes += [
        HostileVolume("random bytes", "random bytes", write_bytes("v.nii", np.random.default_rng(0).bytes(5000))),
        HostileVolume("gzip bomb", "40 GB of voxels promised by 40 MB", write_gzip_bomb),
        HostileVolume("pipe", "a pipe that nobody writes to", make_pipe),
        HostileVolume("device", "the device /dev/zero", lambda folder: Path("/dev/zero")),
        HostileVolume("missing", "a file that is not there", lambda folder: folder / "gone.nrrd"),
    ]
    return volumes


def write_packed(name: str) -> Write:
    def write(folder: Path) -> Path:
        sitk.WriteImage(read_sample(), str(folder / name), not name.endswith(".nii"))
        return folder / name

    return write


def _spoil_dicom() -> List[HostileVolume]:
    def cut_only(folder: Path) -> Path:
        series = write_dicom()(folder)
        cut_file(3, 0.7)(series)
        return list_files(series)[3]

    def write_frames(folder: Path) -> Path:
        image = sitk.Cast(sitk.RescaleIntensity(read_sample(), 0, 255), sitk.sitkUInt8)
        return write_image(image, folder / "frames.dcm")

    def write_nothing(folder: Path) -> Path:
        (folder / "letter.txt").write_text("no image")
        return folder

    oblique = make_oblique(35)
    return [
        HostileVolume("DICOM", "the sample as a series", write_dicom()),
        HostileVolume("DICOM, oblique", "an oblique series", write_dicom(geometry=oblique), oblique),
        HostileVolume("DICOM among strangers", "other files in the folder", write_dicom(spoil=add_strangers)),
        HostileVolume("DICOM, a slice missing", "a slice is missing", write_dicom(spoil=remove_file(3))),
        HostileVolume("DICOM, two series", "two series in a folder", write_dicom(spoil=add_series)),
        HostileVolume("DICOM, mixed spacings", "two pixel spacings in a series", write_dicom(edit=widen_pixels)),
        HostileVolume("DICOM, a slice turned", "one slice in another direction", write_dicom(edit=turn_slice)),
        HostileVolume("DICOM, mixed sizes", "one slice of half the size", write_dicom(edit=halve_slice)),
        HostileVolume("DICOM, places NaN", "positions that are no numbers", write_dicom(edit=lose_place)),
        HostileVolume("DICOM, slightly uneven", "a slice off by 0.4 of 10 mm", write_dicom(edit=space_unevenly)),
        HostileVolume("DICOM, cut off", "a file in the middle is cut off", write_dicom(spoil=cut_file(3, 0.7))),
        HostileVolume(
            "DICOM, last one cut off", "the file of the last slice is cut off", write_dicom(spoil=cut_file(0, 0.7))
        ),
        HostileVolume("DICOM, 4 GB promised", "an element said to have 4 GB", write_dicom(spoil=claim_length(3))),
        HostileVolume("DICOM file, cut off", "one file, cut off", cut_only),
        HostileVolume(
            "DICOM file",
            "one file of a series",
            lambda folder: list_files(write_dicom()(folder))[4],
            keep(slice(None), slice(None), slice(3, 4)),
        ),
        HostileVolume("DICOM frames", "slices as the frames of one file", write_frames),
        HostileVolume("no DICOM", "a folder without an image", write_nothing),
    ]


ODD_NAMES = {
    "blanks": "my volume  of today.nrrd",
    "quotes": "a\"b'c`d.nrrd",
    "a newline": "line one\nline two.nrrd",
    "Unicode": "Herz é 心 \U0001fac0.nrrd",
    "a leading dash": "-o.nrrd",
    "shell characters": "$(touch x);&|*?.nrrd",
    "a terminal's escape": "red \x1b[31m.nrrd",
    "a percent sign": "v%02d%s.nrrd",
    "240 letters": "x" * 240 + ".nrrd",
    "bytes that are no text": os.fsdecode(b"\xff\xfe.nrrd"),
}


def _name_oddly() -> List[HostileVolume]:
    return [
        HostileVolume(f"a name with {what}", f"the file name {ascii(name[:40])}", write_distorted(name))
        for what, name in ODD_NAMES.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m Testing.torture.hostile_volumes", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="new folder")
    output = parser.parse_args().output
    for volume in make_corpus():
        folder = output / volume.name.replace("/", "-")
        folder.mkdir(parents=True)
        print(ascii(str(volume.write(folder))))
    for number, (axes, flips) in enumerate(ORIENTATIONS):
        folder = output / f"orientation {number}"
        folder.mkdir()
        print(write_distorted("volume.nrrd", reorient(axes, flips))(folder))


if __name__ == "__main__":
    main()
