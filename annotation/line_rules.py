"""What the rule-based stand-in knows about noise, one line at a time.

Every decision looks at one line alone, so that a refiner of a few million parameters can learn it from a few thousand
chunks. The price: a line of a code example that is nothing but a link or an HTML tag counts as noise too. Headings and
their underlines, tables, code and prose are never noise.
"""

import functools
import re
from typing import Literal

Noise = Literal["navigation", "links", "footer"]
"""The three patterns of the paper's A.1: menus at the top; buttons, HTML elements and links; footers."""

MAX_FOOTER_WORDS = 30
"""A longer line is a paragraph that happens to name its licence."""

MAX_CHARACTERS = 4_000
"""A longer line counts as content: patterns take time that grows faster than the line."""

_URL = r"(?:https?://|www\.)[^\s<>`\"'|]+"
_TARGET = r"\((?:[^()\s]|\([^()\s]*\))*(?:\s+\"[^\"]*\"|\s+'[^']*')?\s*\)"
_REFERENCE = rf"(?:{_TARGET}|\s?\[[^\]]*\])"
_IMAGE = rf"!\[[^\]]*\]{_REFERENCE}"
_TAGS = (
    "a|b|br|center|code|details|div|em|font|h[1-6]|hr|i|iframe|img|kbd|li|ol|p|picture|source|span|strong|sub|summary"
    "|sup|table|tbody|td|th|thead|tr|ul|video"
)

BADGE = re.compile(rf"\[\s*{_IMAGE}\s*\]{_REFERENCE}")
"""An image that is a link: ``[![text](image)](target)``, references included."""

AUTOLINK = re.compile(rf" ?<{_URL}>")
"""``<https://...>``, alone or as the target of a reStructuredText link, with the space in front of it."""

_PICTURE = re.compile(rf"{BADGE.pattern}|{_IMAGE}|<(?:img|source)\b[^>]*>", re.IGNORECASE)
_LINK = re.compile(
    rf"<a\b[^>]*>.*?</a>|`[^`]*<[^`>]+>`__?|\[[^\]]*\]{_TARGET}|\[[^\]]+\]\s?\[[^\]]*\]|{AUTOLINK.pattern}|{_URL}",
    re.IGNORECASE,
)
_LONE_LINK = re.compile(rf"\s*(?:`[^`]*<[^`>]+>`__?|\[[^\]]*\]{_TARGET}|\[[^\]]+\]\s?\[[^\]]*\])[.,;:)]*\s*")
_TAG = re.compile(rf"<!--.*?-->|</?(?:{_TAGS})\b[^>]*/?>", re.IGNORECASE)
_HALF_TAG = re.compile(
    rf"\s*(?:<!--|-->|<(?:{_TAGS})|/?>|(?:src|srcset|href|alt|width|height|align|style|class|target|rel|media)\s*=\s*[\"'].*)\s*",
    re.IGNORECASE,
)
_SUBSTITUTIONS = re.compile(r"\s*(?:\|[^|\s](?:[^|]*[^|\s])?\|_{0,2}\s*)+")
_DEFINITION = re.compile(
    rf"\s*(?:\[[^\]]+\]:\s*(?:<|{_URL}|[./#\w-]+/\S|#)\S*.*|\.\.\s+_[^:]+(?:`[^`]*`)?:\s*\S+.*|__\s+{_URL}"
    r"|\.\.\s+\|[^|]+\|\s+(?:image|replace)::.*)\s*"
)
_DIRECTIVE = re.compile(
    r"\s*(?:\.\.\s+(?:image|figure|raw)::.*|:(?:alt|target|align|width|height|scale|figclass):.*)", re.IGNORECASE
)
_CONTENTS = re.compile(
    r"\s*(?:\.\.\s+contents::.*|:(?:local|depth|backlinks):.*|\[(?:TOC|\[_?TOC_?\])\]"
    r"|(?:#+\s*|\*\*)table of contents:?\**)\s*",
    re.IGNORECASE,
)
_LABEL = re.compile(r"\s*(?:[-*+•]\s+)?[:*`_]*[A-Za-z][\w &/'-]{0,30}[`*_]*\s*:(?!//)[*_`]*\s*")
_BULLET = re.compile(r"\s*(?:[-*+•>]|\d{1,2}[.)])\s+")
_IN_PAGE = re.compile(r"\]\(#[^)]*\)|href=\"#|`[^`<]+`_(?!_)")
_SEPARATOR = re.compile(r"\s+[|·•»]\s+")
_MENU_ITEM = re.compile(r"[^\W\d_a-z][\w '&/-]{0,30}")
_FOOTER = re.compile(
    r"^\W*copyright\b.*\d{4}|(?:^\W*|\s)©|^\W*\(c\)\s*\d{4}|\ball rights reserved\b"
    r"|\b(?:licensed|released|distributed|published|available|covered|provided)\s+(?:\w+\s+){0,2}under\b.*"
    r"(?:licen[sc]e|\bMIT\b|\bBSD|\bApache|GPL|\bMPL)"
    r"|^\W*licen[sc]e\W*:?\s*(?:the )?(?:MIT|BSD|Apache|L?GPL|MPL|ISC|PSF)\b[\w .,()-]*$"
    r"|\bsee\s+(?:the\s+)?(?:file\s+)?\W*licen[sc]e(?:\.\w+)?\b"
    r"|\b(?:made|built) with (?:❤|♥|:heart:|love)|\bbuy me a coffee\b|\bfollow us on\b|\bprivacy policy\b",
    re.IGNORECASE,
)
_CODE_MARKS = re.compile(r"[=(){}\[\]$;\\]|::|>>>|\bimport\b|`")


@functools.lru_cache(maxsize=8192)
def noise_of(line: str) -> Noise | None:
    """The pattern of noise that the whole line is; None for content, blank and over-long lines."""
    if not line.strip() or len(line) > MAX_CHARACTERS:
        return None
    if _CONTENTS.fullmatch(line) or _is_menu(line):
        return "navigation"
    if _is_markup(line):
        return "links"
    if _is_only_links(line):
        return "navigation" if _IN_PAGE.search(line) else "links"
    if not line.lstrip().startswith("#") and len(line.split()) <= MAX_FOOTER_WORDS and _FOOTER.search(line):
        return "footer"
    return None


def inline_noise(line: str) -> list[str]:
    """Badges, link addresses in angle brackets and bare addresses inside a line that is otherwise content."""
    if noise_of(line) is not None or len(line) > MAX_CHARACTERS:
        return []
    found = BADGE.findall(line)
    found += AUTOLINK.findall(line)
    rest = AUTOLINK.sub("", BADGE.sub("", line))
    if not _CODE_MARKS.search(rest) and not _is_indented(line) and len(rest.split()) >= 4:
        found += [match.rstrip(".,;:!?*)") for match in re.findall(rf"(?<!\S){_URL}", rest)]
    return list(dict.fromkeys(found))


def is_prose(line: str) -> bool:
    """True for a line that reads like (a part of) a sentence: six words or more, mostly letters, no code."""
    words = line.split()
    if len(words) < 6 or _is_indented(line) or line.startswith(("|", ">>>", "$")) or noise_of(line) is not None:
        return False
    letters = sum(character.isalpha() or character.isspace() for character in line)
    return letters / len(line) >= 0.8


def symbol_share(text: str) -> float:
    """Share of the characters, white space aside, that are neither letters nor digits."""
    visible = [character for character in text if not character.isspace()]
    return sum(not character.isalnum() for character in visible) / len(visible) if visible else 1.0


def _is_markup(line: str) -> bool:
    return any(pattern.fullmatch(line) for pattern in (_DIRECTIVE, _DEFINITION, _HALF_TAG)) or (
        bool(_SUBSTITUTIONS.fullmatch(line)) and any(character.isalpha() for character in line)
    )


def _is_only_links(line: str) -> bool:
    """True when nothing but punctuation, a bullet or a short label is left without pictures, links and HTML tags."""
    if line.lstrip().startswith("|"):
        return False  # a table's row
    if _LONE_LINK.fullmatch(line) and not _PICTURE.search(line) and not _IN_PAGE.search(line):
        return False  # without a bullet, as a rule a piece of a wrapped sentence
    without_pictures = _PICTURE.sub("", line)
    rest = _TAG.sub("", _LINK.sub("", without_pictures))
    if rest == line:
        return False
    if _has_words(_BULLET.sub("", rest, count=1)):
        label = None if _is_indented(line) else _LABEL.match(line)
        return label is not None and rest.startswith(label[0]) and not _has_words(rest[label.end() :])
    # A heading that is a link is still the page's title.
    return not line.lstrip().startswith("#") or not _has_words(without_pictures)


def _is_indented(line: str) -> bool:
    """True for what is most likely program code."""
    return line.startswith(("    ", "\t"))


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _is_menu(line: str) -> bool:
    items = [item for item in _SEPARATOR.split(line.strip()) if item]
    return len(items) >= 4 and not line.lstrip().startswith("|") and all(_MENU_ITEM.fullmatch(item) for item in items)
