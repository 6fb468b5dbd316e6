"""Puts the report's page together: one HTML file with its style, its scripts and its data, which loads nothing else."""

import base64
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parent / "report_page"
# In this order; each relies on those before it.
SCRIPTS = ("dom.js", "plots.js", "sections.js", "document.js", "documents.js", "page.js")

# What could end a script element, or a line in an older script engine, and what is no character at all.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def finite(data: Any) -> Any:
    """The data with None for numbers that JSON has no words for (a loss that ran away, a probability that is none)."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    return [finite(value) for value in data] if isinstance(data, list | tuple) else data


def embed(data: Any) -> str:
    """JSON that can stand inside a script element whatever strings it holds."""
    text = json.dumps(finite(data), ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _mark(text: str) -> str:
    """A content's hash as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def render_page(data: dict[str, Any]) -> str:
    """The page; the same data give the same bytes.

    Its policy lets the browser run this one script, and fetch nothing.
    """
    style = (PARTS / "page.css").read_text(encoding="utf-8")
    code = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{code}}})();\n'
    policy = f"default-src 'none'; style-src '{_mark(style)}'; script-src '{_mark(script)}'; base-uri 'none'"
    parts = {"POLICY": policy, "STYLE": style, "DATA": embed(data), "SCRIPT": script}
    page = (PARTS / "page.html").read_text(encoding="utf-8")
    # In one pass: nothing that is put in is looked through for further names.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)
