"""Labelled photographs, one folder a class: in a folder, a zip or a tar, which is read from front to back and never unpacked to disk.

The way for images of your own: zip them as `<class>/<any name>.jpg` and name the zip in a file of conf/data; or with one such tree a split,
`train/<class>/...` and `test/<class>/...`, as CIFAR-10 comes (conf/data/cifar10.yaml).
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.columns import Columns, SourceData
from components.data.permutation import permutation
from components.data.splits import stratified_split
from components.errors import UserError, nearest

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = npt.NDArray[np.uint8]
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_TREE = "<folder>/<class>/<image>" + "|".join(_SUFFIXES)
_DAMAGE = (OSError, EOFError, SyntaxError, ValueError)  # what Pillow raises at a damaged picture, by its format


def read_image_folder(
    raw: Path,
    archive: str | None = None,
    folders: Mapping[str, str] | None = None,
    validation_fraction: float = 0.0,
    test_fraction: float = 0.0,
    size: int | None = None,
    seed: int = 0,
) -> SourceData:
    """Read images with the name of their folder as the class; hidden files and what is no picture are passed over.

    Args:
        raw: the folder of raw files.
        archive: name of the zip or tar (.gz, .xz, .bz2) in it that holds the tree; None: `raw` is the tree.
        folders: split -> its folder in the tree, which holds the class folders; must name `train`. None: all images are `train`'s.
        validation_fraction: of the training rows, drawn with the classes in proportion; 0 where `folders` names the split.
        test_fraction: likewise.
        size: height and width, in pixels, that each image is scaled to (the shorter side) and cut to (the middle); None where all are equal.
        seed: of the drawing, and of the rows' order.

    Returns:
        `inputs` uint8 `(3, H, W)` in 0..255 and `targets` int64 `()`; classes in alphabetical order, rows in one drawn from the seed.

    Raises:
        UserError: no class folders, a class that training lacks, an unreadable image (its name is told), or images of several sizes.
    """
    parts = _by_split(_paths(raw, archive), folders)
    classes = tuple(sorted({path.parent.name for path in parts["train"]}))
    images = _Images(size)
    _visit(raw, archive, {str(path) for paths in parts.values() for path in paths}, images.take)
    splits = {split: _columns(paths, classes, images.pixels, split, seed) for split, paths in parts.items()}
    columns = {"inputs": Column("uint8", (3, *images.shape)), "targets": Column("int64", classes=classes)}
    return SourceData(columns, _with_drawn(splits, {"validation": validation_fraction, "test": test_fraction}, seed))


class _Images:
    """Decodes pictures one by one; they must agree in height and width."""

    def __init__(self, size: int | None) -> None:
        self.size, self.pixels = size, dict[str, Pixels]()
        self.shape, self._first = (0, 0), ""

    def take(self, name: str, stream: IO[bytes]) -> None:
        from PIL import Image, ImageOps

        try:
            with Image.open(io.BytesIO(stream.read())) as picture:
                upright = _rgb(ImageOps.exif_transpose(picture))  # a telephone stores which side is up beside the pixels
        except _DAMAGE as error:
            raise UserError("an image cannot be read", received=f"{name}: {error}", mend="mend it or take it out of its folder") from error
        if self.size is not None and upright.size != (self.size, self.size):
            upright = ImageOps.fit(upright, (self.size, self.size), Image.Resampling.BILINEAR)
        found = (upright.height, upright.width)
        self._first = self._first or name
        self.shape = found if self._first == name else self.shape
        if found != self.shape:
            raise UserError(
                "the images differ in size",
                received=f"{self._first} has {self.shape[0]} x {self.shape[1]} pixels, {name} {found[0]} x {found[1]}",
                mend="give prepare.size, the height and width that all are scaled and cut to",
            )
        self.pixels[name] = np.asarray(upright).transpose(2, 0, 1)


def _rgb(picture: Image) -> Image:
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _paths(raw: Path, archive: str | None) -> list[PurePosixPath]:
    found: list[PurePosixPath] = []
    _visit(raw, archive, None, lambda name, _: found.append(PurePosixPath(name)))
    if not found:
        raise UserError("there are no images", received=raw if archive is None else raw / archive, expected=_TREE)
    return sorted(found)


def _visit(raw: Path, archive: str | None, wanted: set[str] | None, take: Callable[[str, IO[bytes]], None]) -> None:
    """Call `take` for every image of the tree, or for those that are wanted, in the order in which they lie there."""
    try:
        for name, stream in _tree(raw) if archive is None else _archived(raw / archive):
            path = PurePosixPath(name)
            hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
            if path.suffix.lower() in _SUFFIXES and not hidden and (wanted is None or name in wanted):
                take(name, stream)
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise UserError(f"the archive {archive} cannot be read: {error}", received=raw / str(archive), expected="a zip or tar") from error
    except FileNotFoundError as error:
        raise UserError(f"there is no {archive} among the raw files", received=raw, mend="name it in data.fetch, with `unpack: false`") from error


def _tree(raw: Path) -> Iterator[tuple[str, IO[bytes]]]:
    for path in sorted(raw.rglob("*")):
        if path.is_file():
            with open(path, "rb") as stream:
                yield path.relative_to(raw).as_posix(), stream


def _archived(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Front to back: looking for single members of a compressed tar would decompress it again for each."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    with archive.open(info) as stream:
                        yield info.filename, stream
        return
    with tarfile.open(path, mode="r|*") as tar:
        for member in tar:
            if member.isfile() and (content := tar.extractfile(member)) is not None:
                yield str(PurePosixPath(member.name)), content


def _by_split(paths: list[PurePosixPath], folders: Mapping[str, str] | None) -> dict[str, list[PurePosixPath]]:
    """Deal the images to splits by their folder; an image's folder is its class, and that lies directly in the split's folder."""
    if folders is None:
        split_folders = {path.parent.parent for path in paths}
        if len(split_folders) != 1 or any(len(path.parts) < 2 for path in paths):
            shown = [str(path) for path in (paths[0], paths[-1])]
            raise UserError("the images do not lie in class folders", received=shown, expected=f"{_TREE}, one <folder>", mend="else prepare.folders")
        return {"train": paths}
    if "train" not in folders:
        raise UserError("prepare.folders names no folder of 'train'", received=dict(folders))
    chosen = {split: [path for path in paths if path.parent.parent == PurePosixPath(folder)] for split, folder in folders.items()}
    for split, folder in folders.items():
        if not chosen[split]:
            present = sorted({str(path.parent.parent) for path in paths})
            raise UserError(f"the folder of '{split}' holds no class folders with images{nearest(folder, present)}", received=folder, expected=_TREE)
    return chosen


def _columns(paths: list[PurePosixPath], classes: tuple[str, ...], pixels: Mapping[str, Pixels], split: str, seed: int) -> Columns:
    """In an order of their own: the first rows must be a fair part of the split, which by path they are not."""
    strange = sorted({path.parent.name for path in paths} - set(classes))
    if strange:
        raise UserError(f"split '{split}' has a class that training lacks", received=strange, expected=f"among {', '.join(classes)}")
    order = [paths[row] for row in permutation(len(paths), seed)]
    targets = np.array([classes.index(path.parent.name) for path in order], dtype=np.int64)
    return {"inputs": np.stack([pixels[str(path)] for path in order]), "targets": targets}


def _with_drawn(splits: dict[str, Columns], fractions: Mapping[str, float], seed: int) -> dict[str, Columns]:
    wanted = {split: fraction for split, fraction in fractions.items() if fraction}
    if not wanted:
        return splits
    train, targets = splits["train"], np.asarray(splits["train"]["targets"])
    if twice := set(wanted) & set(splits):
        raise UserError("a split has both a folder and a fraction", received=sorted(twice))
    rows = stratified_split(targets, {split: round(fraction * len(targets)) for split, fraction in wanted.items()}, "train", seed)
    drawn: dict[str, Columns] = {split: {name: np.asarray(column)[r] for name, column in train.items()} for split, r in rows.items()}
    return {**splits, **drawn}
