"""Finds prose in clean text: runs of consecutive sentences, without code, tables, lists and headings."""

import re

# Blocks that open like a list item, a table, a prompt, a directive or a footnote are not prose.
NOT_PROSE = re.compile(r"^\s*([*+•>|-]\s|\d+[.)]\s|>>>|\.\.\s|\[\d+\]|[=*~^#-]{3,})", re.MULTILINE)
SENTENCE_END = re.compile(r"""(?<=[.!?])["”\u2019)]*\s+(?=["“(*]*[A-Z])""")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|cf|vs|Dr|Mr|Mrs|St|No|Fig)\.$")
CODE = re.compile(r"::|>>>|==|->|https?:|\[\d+\]|[{}\\|<>=_]|\s{2,}")
MIN_WORDS = 6
MIN_LETTER_SHARE = 0.9


def is_prose(sentence: str) -> bool:
    """True for a whole sentence of words: no markup, no code, balanced quotes and brackets."""
    if not sentence[:1].isupper() or not re.search(r"""[.!?]["”\u2019)]*$""", sentence) or CODE.search(sentence):
        return False
    if sentence.count('"') % 2 or sentence.count("(") != sentence.count(")"):
        return False
    letters = sum(char.isalpha() or char in " ,.'\u2019" for char in sentence)
    return len(sentence.split()) >= MIN_WORDS and letters >= MIN_LETTER_SHARE * len(sentence)


def split_sentences(paragraph: str) -> list[str]:
    """Sentences of one paragraph, lines joined; a break after an abbreviation is none."""
    sentences: list[str] = []
    begin = 0
    text = " ".join(paragraph.split())
    for end in SENTENCE_END.finditer(text):
        closing = text[end.start() : end.end()].rstrip()
        if ABBREVIATION.search(text[begin : end.start()]):
            continue
        sentences.append(text[begin : end.start()] + closing)
        begin = end.end()
    return [*sentences, text[begin:]] if text[begin:] else sentences


def prose_runs(text: str) -> list[list[str]]:
    """Runs of sentences that follow each other in ``text``; whatever is not prose ends a run."""
    runs: list[list[str]] = [[]]
    for block in re.split(r"\n\s*\n", text):
        indents = {len(line) - len(line.lstrip()) for line in block.splitlines() if line.strip()}
        # Mixed indentation: a definition list or an example.
        if NOT_PROSE.search(block) or len(indents) > 1:
            runs.append([])
            continue
        for sentence in split_sentences(block):
            if is_prose(sentence):
                runs[-1].append(sentence)
            else:
                runs.append([])
    return [run for run in runs if run]
