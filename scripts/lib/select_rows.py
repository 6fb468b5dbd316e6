"""Copies the rows of JSON-lines files whose field has one of some values: select_rows.py FIELD VALUES FILE... TARGET

VALUES are parted by commas. The files may be .gz; the target is .gz.
"""

import gzip
import json
import sys
from pathlib import Path


def main(field: str, values: str, *paths: str) -> None:
    """Writes the target, the last of ``paths``, whole or not at all; what it holds already stays untouched."""
    *sources, target = map(Path, paths)
    wanted = set(values.split(","))
    rows = [line for source in sources for line in read_lines(source) if field_of(line, field, source) in wanted]
    if not rows:
        sys.exit(f"error: no row of {', '.join(map(str, sources))} has {field} {values.replace(',', ' or ')}")
    # Without a time in it, the same rows give the same bytes: steps that read them are not run again.
    content = gzip.compress(b"".join(rows), mtime=0)
    if not target.is_file() or target.read_bytes() != content:
        partial = target.with_name(target.name + ".partial")
        partial.write_bytes(content)
        partial.rename(target)


def read_lines(source: Path) -> list[bytes]:
    """The lines of a file, blank ones left out."""
    with gzip.open(source, "rb") if source.suffix == ".gz" else source.open("rb") as lines:
        return [line for line in lines if line.strip()]


def field_of(line: bytes, field: str, source: Path) -> str | None:
    """The value of a row's field; a line that is no object ends the command."""
    try:
        return json.loads(line).get(field)
    except (ValueError, AttributeError):
        sys.exit(f"error: {source} has a line that is no JSON object: {line[:80]!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
