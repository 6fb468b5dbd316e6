"""Copies the rows of JSON-lines files whose field has one of some values: select_rows.py FIELD VALUES FILE... TARGET

VALUES are parted by commas. The files may be .gz; the target is .gz.
"""

import gzip
import json
import sys
from pathlib import Path


def main(field: str, values: str, *paths: str) -> None:
    """Writes the target, the last of ``paths``, whole or not at all."""
    *sources, target = map(Path, paths)
    wanted, count = set(values.split(",")), 0
    partial = target.with_name(target.name + ".partial")
    with gzip.open(partial, "wb") as out:
        for source in sources:
            with gzip.open(source, "rb") if source.suffix == ".gz" else source.open("rb") as lines:
                for line in lines:
                    if json.loads(line).get(field) in wanted:
                        out.write(line)
                        count += 1
    if not count:
        sys.exit(f"error: no row of {', '.join(map(str, sources))} has {field} {values.replace(',', ' or ')}")
    partial.rename(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
