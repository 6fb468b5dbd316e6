"""A corpus every install has: the project pages (long descriptions) of the packages in the running environment."""

import importlib.metadata
import logging
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prox.corpus import Reject

if TYPE_CHECKING:
    from datatrove.data import Document

log = logging.getLogger("prox")

# This project's own page changes with every commit, without a new version: it would alter the corpus unnoticed.
OWN_PACKAGE = "prox"


def installed_packages() -> list[tuple[str, importlib.metadata.Distribution]]:
    """(normalised name, distribution) of every installed package but this project, sorted by name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for package in importlib.metadata.distributions():
        try:
            given = package.metadata["Name"]
        except UnicodeDecodeError as error:
            log.warning("a package's METADATA can't be read and is left out: %s", error)
            continue
        # A half-removed package leaves a folder without a name.
        name = re.sub(r"[-_.]+", "-", given or "").lower()
        if name and name != OWN_PACKAGE:
            found.setdefault(name, package)
    return sorted(found.items())


def read_package_pages(on_reject: Callable[[Reject], None]) -> "Iterator[Document]":
    """One document a package, its id ``name==version``; a package without a description is a reject."""
    from datatrove.data import Document

    for name, package in installed_packages():
        identity = f"{name}=={package.version}"
        fields = package.metadata
        text = (fields.get_payload() or fields.get("Description") or "").strip()
        if not text or text == "UNKNOWN":  # what old versions of setuptools wrote for none
            on_reject(Reject(identity, "no description"))
            continue
        yield Document(
            text=text.replace("\r\n", "\n"),
            id=identity,
            metadata={
                "name": name,
                "version": package.version,
                "content_type": fields.get("Description-Content-Type", ""),
                "license": (fields.get("License-Expression") or fields.get("License") or "").split("\n")[0],
                "url": _url(package),
            },
        )


def _url(package: importlib.metadata.Distribution) -> str:
    for entry in package.metadata.get_all("Project-URL") or []:
        label, _, address = entry.partition(",")
        if label.strip().lower() in ("homepage", "home", "repository", "source", "source code"):
            return address.strip()
    return package.metadata.get("Home-page", "")
