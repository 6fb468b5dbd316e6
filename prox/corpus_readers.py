"""Records -> documents, with nothing lost in silence: what is no document is a ``Reject``, and says why.

Every file is read past what is broken in it, as far as its format allows (``prox/format_readers.py``). The files are
opened by datatrove's folders, pages extracted by its steps, and the hub's data sets read by Hugging Face datasets.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import islice
from typing import Any

from datatrove.data import Document
from datatrove.io import get_datafolder

from prox.corpus import CorpusConfig, Reject
from prox.corpus_access import BROKEN_FILE, unavailable, why_unavailable
from prox.corpus_columns import MISSING, take
from prox.corpus_files import CorpusFiles, list_files
from prox.corpus_records import DocumentMaker, Faults
from prox.errors import UserError
from prox.format_readers import READERS, parquet_columns
from prox.package_pages import read_package_pages

# What datasets raises, besides, for a data set that it can't find, understand or run.
BROKEN_SET = (*BROKEN_FILE, ValueError, RuntimeError)


def _read_files(config: CorpusConfig, files: CorpusFiles | None, faults: Faults) -> Iterator[Document]:
    files = files or list_files(config)
    faults.place, faults.files = files.folder, len(files.names)
    folder, maker = get_datafolder(files.folder), DocumentMaker(config, faults)
    options: dict[str, Any] = {}
    if config.format == "warc":
        options["extract_html"] = config.extract_html
    elif config.format == "parquet":
        options["columns"] = parquet_columns(config)
    for name in files.names:
        try:
            yield from READERS[config.format](folder, name, maker, faults, **options)
        except BROKEN_FILE as error:
            faults.broken(name, name, error)


def _read_hub(config: CorpusConfig, faults: Faults) -> Iterator[Document]:
    """A data set's shards (mostly its files), one after the other, so that a broken one costs its own rest only."""
    from datasets import load_dataset

    try:
        data = load_dataset(
            config.path, config.subset or None, split=config.split, revision=config.revision or None, streaming=True
        )
        shards = faults.files = data.num_shards
    except BROKEN_SET as error:
        raise UserError(
            f"data set {config.path} (subset {config.subset or 'default'}, split {config.split}) can't be read: "
            f"{error}; check corpus.path, corpus.subset and corpus.split, and the network or HF_HUB_OFFLINE"
        ) from error
    maker = DocumentMaker(config, faults)
    for number in range(shards):
        name, index = f"{number:05d}", 0
        try:
            for record in data.shard(shards, number):
                if number == index == 0 and take(deepcopy(record), config.text_column) is MISSING:
                    raise UserError(
                        f"corpus.text_column {config.text_column!r} is not in {config.path}, which has: "
                        f"{', '.join(record)}"
                    )
                if document := maker(record, name, index):
                    document.metadata.setdefault("dataset", config.path)
                    yield document
                index += 1
        except BROKEN_SET as error:
            cause = why_unavailable(error)
            if cause is not None:  # datasets has tried again by itself
                raise unavailable(f"data set {config.path}, shard {name}", cause) from error
            faults.broken(name, f"{name}/{index}", error)


def read_corpus(
    config: CorpusConfig, on_reject: Callable[[Reject], None], files: CorpusFiles | None, keep_going: bool
) -> Iterator[Document]:
    """Documents of the corpus, or of some of its files, at most ``config.limit``; see ``open_corpus``."""
    faults = Faults(on_reject, keep_going, config.path)
    match config.format:
        case "package_pages":
            documents = read_package_pages(on_reject)
        case "huggingface":
            documents = _read_hub(config, faults)
        case _:
            documents = _read_files(config, files, faults)
    return islice(documents, None if config.limit < 0 else config.limit)
