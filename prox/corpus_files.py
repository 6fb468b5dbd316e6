"""Files of a corpus, local or remote, and their grouping into parts that can be read apart from one another."""

import glob as globbing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from datatrove.io import DataFolder, get_datafolder
from fsspec.core import url_to_fs

from prox.corpus import SUFFIXES, CorpusConfig, common_folder, drawn, is_remote, local_files
from prox.corpus_access import BROKEN_FILE, patiently, why_unavailable
from prox.errors import UserError


@dataclass(frozen=True)
class CorpusFiles:
    """Names of files and the folder (or URL) they are in, in the corpus' order."""

    folder: str
    names: Sequence[str]


def is_files(config: CorpusConfig) -> bool:
    """True for a corpus that is read file by file; False for one that is read as a whole."""
    return config.format not in ("huggingface", "package_pages")


def list_files(config: CorpusConfig) -> CorpusFiles:
    """All files of a corpus whose format is known, sorted; raises ``UserError`` where there are none."""
    if is_remote(config.path):
        try:
            files = patiently(lambda: _remote_files(config), f"the list of corpus.path {config.path}")
        except BROKEN_FILE as error:
            raise UserError(
                f"corpus.path {config.path} can't be listed ({type(error).__name__}: {error}): correct it"
            ) from error
    else:
        found = local_files(config)
        path = Path(config.path.removeprefix("file://"))
        folder = path if path.is_dir() else common_folder(found)
        files = CorpusFiles(str(folder), [str(file.relative_to(folder)) for file in found])
    if not files.names:
        raise UserError(f"corpus.path {config.path} holds no {config.format} file: correct it or corpus.glob")
    return files


def _remote_files(config: CorpusConfig) -> CorpusFiles:
    url, pattern = config.path.rstrip("/"), config.glob
    system, path = url_to_fs(url)
    # A web server has no folders: an address without a file's suffix is a page of links to files.
    is_page = url.startswith("http") and "." not in urlsplit(url).path.rpartition("/")[2]
    if not is_page and system.isfile(path):
        if config.glob or config.is_sample():
            option = "glob" if config.glob else "sample_share" if config.sample_files < 0 else "sample_files"
            raise UserError(f"corpus.{option}: corpus.path {url} is one file, where it has no effect; leave it out")
        folder, _, name = url.rpartition("/")
        return CorpusFiles(folder, [name])
    if globbing.has_magic(url):
        parts = url.split("/")
        first = next(index for index, part in enumerate(parts) if globbing.has_magic(part))
        url, pattern = "/".join(parts[:first]), "/".join(parts[first:])
    names = _list_all(get_datafolder(url), pattern)
    return CorpusFiles(
        url, drawn([name for name in names if pattern or name.endswith(SUFFIXES[config.format])], config)
    )


def _list_all(folder: DataFolder, pattern: str) -> list[str]:
    """Names of the files in a remote folder. fsspec leaves out a subfolder that it can't list, and says nothing: such
    an error is noted, and raised in the end.
    """
    missed: list[OSError] = []
    system, list_one = folder.fs, getattr(folder.fs, "_ls", None)

    async def noting(*arguments: Any, **options: Any) -> Any:
        try:
            return await list_one(*arguments, **options)
        except OSError as error:
            missed.extend([error] if why_unavailable(error) else [])
            raise

    if list_one is None:
        return folder.list_files(glob_pattern=pattern or None)
    system._ls = noting
    try:
        names = folder.list_files(glob_pattern=pattern or None)
    finally:
        del system._ls
    if missed:
        raise missed[0]
    return names


def _size(folder: DataFolder, name: str) -> int | None:
    try:
        return patiently(lambda: folder.info(name), folder.resolve_paths(name)).get("size")
    except BROKEN_FILE:
        return None


def cut_into_parts(files: CorpusFiles, bytes_per_part: int) -> list[list[str]]:
    """Names of consecutive files that have at most so many bytes together, as they are stored; a larger file, or one of
    unknown size, is a part of its own.
    """
    folder = get_datafolder(files.folder)
    parts: list[list[str]] = []
    left = 0
    for name in files.names:
        size = _size(folder, name)
        size = bytes_per_part if size is None else size
        if not parts or size > left:
            parts.append([])
            left = bytes_per_part
        parts[-1].append(name)
        left -= size
    return parts
