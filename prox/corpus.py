"""Corpora: what can be read as documents, checked before any work starts.

The reading is done in ``prox/corpus_readers.py``; this module holds the config, its checks and the identity of the
inputs. It imports no heavy library, so that a finished step is recognised at once.
"""

import dataclasses
import glob as globbing
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datatrove.data import Document

    from prox.corpus_files import CorpusFiles

log = logging.getLogger("prox")

Format = Literal["auto", "parquet", "jsonl", "warc", "text", "huggingface", "package_pages"]

_COMPRESSIONS = ("", ".gz", ".zst", ".zstd", ".bz2", ".xz")
SUFFIXES: dict[str, tuple[str, ...]] = {
    "parquet": (".parquet",),
    "jsonl": tuple(stem + end for stem in (".jsonl", ".ndjson", ".json") for end in _COMPRESSIONS),
    "warc": (".warc", ".warc.gz", ".wet", ".wet.gz", ".warc.wet.gz"),
    "text": (".txt", ".md", ".rst"),
}

_OF_FILES = ("parquet", "jsonl", "warc", "text", "auto")
_OF_RECORDS = ("parquet", "jsonl", "huggingface", "auto")
# Which formats an option says something of; the others it would leave as they are, without a word.
_USED_BY: dict[str, tuple[str, ...]] = {
    "glob": _OF_FILES,
    "sample_files": _OF_FILES,
    "sample_share": _OF_FILES,
    "sample_seed": _OF_FILES,
    "text_column": _OF_RECORDS,
    "id_column": (*_OF_RECORDS, "warc"),
    "metadata_columns": (*_OF_RECORDS, "warc"),
    "split": ("huggingface",),
    "subset": ("huggingface",),
    "revision": ("huggingface",),
    "extract_html": ("warc", "auto"),
}


@dataclass
class CorpusConfig:
    """Where documents come from."""

    format: Format = "auto"
    """`auto` (by the files' names), `parquet`, `jsonl` (plain, gz, zst, bz2, xz), `warc` (WARC or WET), `text` (one
    document a file: .txt, .md, .rst), `huggingface` (a data set of the hub, or a folder of one), or `package_pages`
    (long descriptions of the Python packages installed in this environment)."""
    path: str = ""
    """File, folder, glob pattern or fsspec URL; for `huggingface` the data set's name or folder; for `package_pages`
    empty."""
    glob: str = ""
    """Which files of the folder to read, as a pattern such as `**/*.jsonl.gz`; empty: by the format's file names."""
    sample_files: int = -1
    """Files to read, drawn at random by their names; -1: all."""
    sample_share: float = 1.0
    """Instead of a number, the share of the files to draw, at least one."""
    sample_seed: int = 0
    """Which files are drawn; of one seed, fewer files are among more."""
    text_column: str = "text"
    """Column or key with the text; `meta.body` is the key `body` in the column `meta`: an object or its JSON."""
    id_column: str = ""
    """Column or key with the document's id, dotted like the text's; empty: `id` where there is one, else a hash of text
    and position."""
    metadata_columns: list[str] = field(default_factory=list)
    """Columns to keep as metadata, dotted like the text's; empty: all the others."""
    split: str = "train"
    """`huggingface` only: the split."""
    subset: str = ""
    """`huggingface` only: the configuration's name; empty: the only or default one."""
    revision: str = ""
    """`huggingface` only: commit or tag of the data set; empty: the newest, which can change under a finished run."""
    extract_html: bool = True
    """`warc` only: turn HTML pages into text with Trafilatura; WET records are text already."""
    limit: int = -1
    """Documents to read; -1: all."""

    def problems(self) -> list[str]:
        """Why this corpus can't be read, each with the value and the remedy; looks at the first file that can be."""
        found = [
            f"corpus.{option} {value}: give a number of {what}, or -1 for all"
            for option, value, what in (
                ("limit", self.limit, "documents"),
                ("sample_files", self.sample_files, "files"),
            )
            if value == 0 or value < -1
        ]
        if not 0 < self.sample_share <= 1:
            found.append(f"corpus.sample_share {self.sample_share}: give a share above 0, up to 1 for all files")
        elif self.sample_share < 1 and self.sample_files >= 0:
            found.append(
                f"corpus.sample_share {self.sample_share} and sample_files {self.sample_files}: leave one of them out"
            )
        found += self._without_effect()
        if self.format == "package_pages":
            if self.path:
                found.append(
                    f"corpus.path {self.path}: format package_pages reads this environment; leave the path out"
                )
            return found
        if not self.path:
            return [*found, f"corpus.path is not set: format {self.format} needs a {_wanted(self.format)}"]
        if self.format == "huggingface":
            return found
        found += self._of_one_file()
        if self.format == "auto" and (is_remote(self.path) or self.exists()):
            formats = formats_at(self.path, self.glob)
            if len(formats) != 1:
                seen = f"files of several formats ({', '.join(formats)})" if formats else "no file of a known format"
                return [*found, f"corpus.path {self.path} holds {seen}: name the one to read with corpus.format"]
            return resolve_format(self).problems()
        return found if is_remote(self.path) else found + self._problems_of_files()

    def _without_effect(self) -> list[str]:
        defaults = CorpusConfig()
        return [
            f"corpus.{option} {getattr(self, option)!r} has no effect with format {self.format}: leave it out"
            for option, formats in _USED_BY.items()
            if self.format not in formats and getattr(self, option) != getattr(defaults, option)
        ]

    def _of_one_file(self) -> list[str]:
        """Choices among files where there is none; of a remote path that shows when it is listed."""
        is_pattern = globbing.has_magic(self.path) and not Path(self.path).exists()
        is_file = not is_remote(self.path) and Path(self.path.removeprefix("file://")).is_file()
        what = "one file" if is_file else "a pattern itself"
        has_effect = {"glob": not is_file and not is_pattern, "sample_files": not is_file, "sample_share": not is_file}
        return [
            f"corpus.{option} {getattr(self, option)!r} has no effect: corpus.path {self.path} is {what}; leave it out"
            for option, value in (("glob", ""), ("sample_files", -1), ("sample_share", 1.0))
            if getattr(self, option) != value and not has_effect[option]
        ]

    def is_sample(self) -> bool:
        """True where not all files are read."""
        return self.sample_files >= 0 or self.sample_share < 1

    def exists(self) -> bool:
        """True when the local path is there; a glob pattern may match nothing."""
        return globbing.has_magic(self.path) or Path(self.path.removeprefix("file://")).exists()

    def _problems_of_files(self) -> list[str]:
        if not self.exists():
            return [f"corpus.path {self.path} does not exist: correct it (file, folder, glob pattern or URL)"]
        files = local_files(self)
        if not files:
            wanted = self.glob or ", ".join(SUFFIXES[self.format])
            return [
                f"corpus.path {self.path} holds no file for format {self.format} ({wanted}): "
                "correct corpus.path or corpus.format, or name the files with corpus.glob"
            ]
        if self.format == "text":
            return []
        from prox.corpus_columns import columns_at, is_among

        faults = []
        for file in files:
            columns, fault = columns_at(self.format, file)
            if not fault:
                return [
                    f"corpus.{option} {name!r} is not in {file}, which has: {', '.join(columns)}"
                    for option, name in self._asked_columns().items()
                    if self.format != "warc" and not is_among(name, columns)
                ]
            faults.append(f"{file} can't be read as {self.format} ({fault})")
        others = f", nor can any of {len(faults) - 1} others" if faults[1:] else ""
        return [f"corpus.path: {faults[0]}{others}: replace or remove the file"]

    def _asked_columns(self) -> dict[str, str]:
        asked = {"text_column": self.text_column, "id_column": self.id_column}
        asked |= {f"metadata_columns[{index}]": name for index, name in enumerate(self.metadata_columns)}
        return {option: name for option, name in asked.items() if name}


def formats_at(path: str, pattern: str = "") -> list[str]:
    """Formats whose file names occur at a path: of the file, of the URL's last part, or of the files in the folder.

    Text files beside data files are a README or a licence, not documents.
    """
    known = [format for format in SUFFIXES if path.endswith(SUFFIXES[format])]
    if known or is_remote(path):
        return known
    names = [file.name for file in local_files(CorpusConfig("auto", path, pattern))]
    found = [format for format in SUFFIXES if any(name.endswith(SUFFIXES[format]) for name in names)]
    return [format for format in found if format != "text"] or found


def resolve_format(config: CorpusConfig) -> CorpusConfig:
    """The config with ``auto`` replaced by the format found; unchanged where that is not clear (see ``problems``)."""
    if config.format != "auto":
        return config
    formats = formats_at(config.path, config.glob)
    return dataclasses.replace(config, format=formats[0]) if len(formats) == 1 else config


@dataclass(frozen=True)
class Reject:
    """What became no document: where it stood, why, and its text (cut) as far as it could be read.

    ``broken_file`` names the file whose damage this is, one of ``of_files`` that are read; empty where only the record
    is no document.
    """

    position: str
    reason: str
    text: str = ""
    broken_file: str = ""
    of_files: int = 0


def _wanted(format: str) -> str:
    return "data set name or folder" if format == "huggingface" else "file, folder, glob pattern or URL"


def is_remote(path: str) -> bool:
    """True for an fsspec URL such as ``s3://bucket/folder``."""
    return "://" in path and not path.startswith("file://")


def drawn(names: list[str], config: CorpusConfig) -> list[str]:
    """The names that the config's sample takes, in their order."""
    count = config.sample_files
    if count < 0:
        count = max(1, round(config.sample_share * len(names)))
    if count >= len(names):
        return names

    def rank(name: str) -> bytes:
        return hashlib.blake2b(f"{config.sample_seed}\0{name}".encode("utf-8", "surrogateescape")).digest()

    taken = set(sorted(names, key=rank)[:count])
    return [name for name in names if name in taken]


def local_files(config: CorpusConfig) -> list[Path]:
    """The local files a config names, sorted, so that every machine reads them in the same order.

    A link that leads nowhere is one of them: that it can't be read is for the reader to say.
    """
    path = config.path.removeprefix("file://")
    folder = Path(path)
    if globbing.has_magic(path) and not folder.exists():
        found = [Path(name) for name in globbing.glob(path, recursive=True)]
    elif not folder.is_dir():
        return [folder]
    elif config.glob:
        found = list(folder.glob(config.glob))
    else:
        suffixes = SUFFIXES.get(config.format, sum(SUFFIXES.values(), ()))
        found = [file for file in folder.rglob("*") if file.name.endswith(suffixes)]
    files = sorted(file for file in found if file.is_file() or (file.is_symlink() and not file.exists()))
    top = common_folder(files) if globbing.has_magic(path) and not folder.exists() else folder
    return [top / name for name in drawn([str(file.relative_to(top)) for file in files], config)]


def common_folder(files: list[Path]) -> Path:
    """The deepest folder that holds all files."""
    return Path(os.path.commonpath([file.parent for file in files])) if files else Path()


def corpus_inputs(config: CorpusConfig) -> list[Path]:
    """Local files the corpus is read from, for fingerprints."""
    if config.format == "package_pages" or is_remote(config.path) or not config.path:
        return []
    if config.format == "huggingface":
        return [Path(config.path)] if Path(config.path).exists() else []
    return local_files(resolve_format(config))


def corpus_marks(config: CorpusConfig) -> list[str]:
    """What identifies a corpus that is not local files: package versions, hub name and revision, URL."""
    if config.format == "package_pages":
        from prox.package_pages import installed_packages

        return [f"{name}=={package.version}" for name, package in installed_packages()]
    if config.format == "huggingface":
        return [config.path, config.subset, config.split, config.revision]
    return [config.path] if is_remote(config.path) else []


def open_corpus(
    config: CorpusConfig,
    on_reject: Callable[[Reject], None] | None = None,
    files: "CorpusFiles | None" = None,
    keep_going: bool = False,
) -> "Iterator[Document]":
    """Documents of a corpus in a fixed order, with stable ids (not necessarily unique: a source can repeat its own).

    A record that is no document goes to ``on_reject``; without one they are counted and logged. Bytes that are no UTF-8
    and lone surrogates are replaced by U+FFFD, and the document says so in its metadata (``invalid_utf8``,
    ``lone_surrogates``). A file that can't be read to its end is a ``UserError`` naming it; with ``keep_going`` it is a
    ``Reject``, and what is behind the break, or in the next file, is read. ``files`` are the files to read of the
    corpus; None: all.
    """
    from prox.corpus_readers import read_corpus

    config = resolve_format(config)
    if on_reject is not None:
        yield from read_corpus(config, on_reject, files, keep_going)
        return
    rejects = 0

    def count(reject: Reject) -> None:
        nonlocal rejects
        rejects += 1
        if rejects == 1:
            log.warning("first record of %s left out, at %s: %s", config.path, reject.position, reject.reason)

    yield from read_corpus(config, count, files, keep_going)
    if rejects:
        log.warning("%d records of %s were left out", rejects, config.path or config.format)
