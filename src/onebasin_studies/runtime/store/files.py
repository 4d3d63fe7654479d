"""Files in a folder on this machine or behind an fsspec URL, with atomic writes."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from onebasin.errors import OneBasinError

FULL = (errno.ENOSPC, errno.EDQUOT)
TEMPORARY = ".part-"


class DiskFullError(OneBasinError):
    """Raised when the disk is full; earlier files are intact."""


class Files:
    """A tree of files under one root.

    A file is written under a temporary name, flushed and renamed. Readers always see the old file,
    the new one or none.

    Args:
        root: a folder, created if missing, or a URL such as `s3://bucket/studies`. A `file://` URL
            means its folder.

    Raises:
        OneBasinError: if the package for the protocol of a URL is missing.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.fspath(root).rstrip("/") or "/"
        self._remote: Any = None
        if "://" in self.root:
            self._remote, self._base = _open_url(self.root)
        if self._remote is not None and "file" in _protocols(self._remote):
            self.root, self._remote = self._base or "/", None
        if self._remote is None:
            self.root = os.path.abspath(self.root)

    @property
    def folder(self) -> Path | None:
        """The root as a local path, or None for a URL."""
        return Path(self.root) if self._remote is None else None

    @property
    def is_private(self) -> bool:
        """Whether the files are in memory and invisible to other processes."""
        return self._remote is not None and "memory" in _protocols(self._remote)

    def shown(self, name: str) -> str:
        """Return the name of a file in messages."""
        return f"{self.root}/{name}"

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file; creates parent folders.

        Raises:
            DiskFullError: if the disk is full.
            OneBasinError: if the file cannot be written for another reason.
        """
        try:
            if self._remote is None:
                _write_locally(Path(self.root, name), data)
            else:
                self._write_remotely(name, data)
        except OSError as error:
            raise self._unwritable(name, error) from error

    def read(self, name: str) -> bytes | None:
        """Return the contents of a file, or None if it does not exist.

        Raises:
            OneBasinError: if the file exists but cannot be read.
        """
        try:
            if self._remote is None:
                return Path(self.root, name).read_bytes()
            return self._remote.cat_file(self._path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OneBasinError(
                f"{self.shown(name)}: cannot be read ({error.strerror or error})"
            ) from error

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, or None if it does not exist."""
        try:
            if self._remote is None:
                return Path(self.root, name).stat().st_size
            # Cached information may be outdated: other processes write too.
            self._remote.invalidate_cache()
            return int(self._remote.info(self._path(name))["size"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, name: str) -> None:
        """Delete a file if it exists."""
        if self._remote is None:
            Path(self.root, name).unlink(missing_ok=True)
        elif self._remote.exists(self._path(name)):
            self._remote.rm_file(self._path(name))

    def names(self, under: str = "") -> list[str]:
        """Return the names of all files below a folder, sorted, without temporary ones."""
        if self._remote is None:
            top = Path(self.root, under)
            files = [Path(here, file) for here, _, names in os.walk(top) for file in names]
            paths = [str(file.relative_to(self.root)) for file in files]
        else:
            top = self._path(under)
            # A cached listing may be outdated: other processes write too.
            self._remote.invalidate_cache()
            full = self._remote.find(top) if self._remote.exists(top) else []
            paths = [path[len(self._base) :].lstrip("/") for path in full]
        return sorted(path for path in paths if not _is_temporary(path))

    def local_copy(self, name: str) -> tuple[Path, Path | None]:
        """Return a local path of a file.

        Returns:
            The path, and a temporary folder to delete after use, or None.
        """
        if self._remote is None:
            return Path(self.root, name), None
        scratch = Path(tempfile.mkdtemp(prefix="onebasin-"))
        path = scratch / name.rpartition("/")[2]
        self._remote.get_file(self._path(name), str(path))
        return path, scratch

    def sweep(self) -> None:
        """Delete temporary files of killed processes; call it only while nothing writes."""
        if self._remote is None:
            for here, _, names in os.walk(self.root):
                for name in filter(_is_temporary, names):
                    Path(here, name).unlink(missing_ok=True)
        elif self._remote.exists(self._base):
            for path in filter(_is_temporary, self._remote.find(self._base)):
                self._remote.rm_file(path)

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}".rstrip("/")

    def _write_remotely(self, name: str, data: bytes) -> None:
        folder, _, file = self._path(name).rpartition("/")
        self._remote.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/{TEMPORARY}{secrets.token_hex(6)}-{file}"
        try:
            self._remote.pipe_file(temporary, data)
            self._remote.mv(temporary, f"{folder}/{file}")
        except BaseException:
            # Delete the incomplete temporary file, also to free space.
            with contextlib.suppress(Exception):
                self._remote.rm_file(temporary)
            raise

    def _unwritable(self, name: str, error: OSError) -> OneBasinError:
        if error.errno in FULL:
            return DiskFullError(
                f"{self.root}: the disk is full; free space and run again (finished results "
                "are kept)"
            )
        reason = error.strerror or error
        return OneBasinError(
            f"{self.shown(name)}: cannot be written ({reason}); choose another --out"
        )


def _open_url(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        remote, base = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise OneBasinError(f"{url}: cannot be opened ({error})") from error
    return remote, base.rstrip("/")


def _protocols(remote: Any) -> tuple[str, ...]:
    return (remote.protocol,) if isinstance(remote.protocol, str) else tuple(remote.protocol)


def _is_temporary(path: str) -> bool:
    return os.path.basename(path).startswith(TEMPORARY)


def _write_locally(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY}{secrets.token_hex(6)}-{target.name}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
