"""Finds the answer in what a model writes under a math problem, and brings it to a form that can be compared.

The rules are those of the harness that the paper's scores come from (its section C.2), written anew: which mark is
looked for first decides scores by several points, so that scores by other rules would not compare.
"""

import re

CHOICE_TASKS = frozenset({"mathqa", "mmlu_stem", "sat_math"})
NO_CHOICE = "placeholder"
"""What a multiple-choice completion says that names no choice; equal to no answer."""

CHOICE = re.compile(r"answer is \(?([a-e])\)?")
NUMBER = re.compile(r"-?\d*\.?\d+")
# Words for what is counted, which a gold answer leaves out.
UNITS = """
    acre|ampere|apple|band|beat|book|box|bushel|cal|cent|centimeter|child|children|cm|coin|cube|cup|customer|day|degree|
    digit|dollar|dozen|dress|egg|employee|face|fan|feet|fish|foot|ft|gallon|game|girl|goal|gram|group|hertz|hour|hr|inch|
    inches|items|joule|kg|kilogram|kilometer|km|kmph|lb|leap|liter|litre|lion|man|marble|meter|metre|mg|mile|min|minute|
    ml|mm|month|mph|mps|newton|number|ounce|oz|page|pair|part|pen|pencil|people|person|piece|point|pound|question|revolution|
    room|row|rupee|sec|second|seat|share|side|sq|square|step|stone|story|student|tall|term|time|toy|train|triangle|trip|
    unit|vehicle|volume|volt|walk|watt|way|week|women|worker|yard|year
"""
UNIT = "|".join(sorted((word for word in re.split(r"[\s|]+", UNITS) if word), key=len, reverse=True))
TRAILING_UNIT = re.compile(rf"(^|[\d\W])(?<!\\)(?:{UNIT})s?($|\W)")
WORDS = {"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"}
WORDS |= {"eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "twenty": "20", "hundred": "100"}


def extract_answer(completion: str, task: str) -> str:
    """The answer that a completion comes to, normalised; the empty string where there is none.

    Args:
        completion: what the model wrote, up to the stop string.
        task: name of the task; those of ``CHOICE_TASKS`` are answered by a letter.
    """
    if task in CHOICE_TASKS:
        text = completion.split("Problem:")[0].lower().replace("choice is", "answer is")
        found = CHOICE.search(text)
        return found[1].upper() if found else NO_CHOICE
    answer = stated_answer(completion)
    return normalise(answer.split("\n")[0].lstrip(":").rstrip("./"))


def stated_answer(completion: str) -> str:
    """The text behind the strongest mark of an answer, else the last number."""
    if "final answer is $" in completion and "$. I hope" in completion:
        return completion.split("final answer is $", 1)[1].split("$. I hope", 1)[0].strip()
    if "boxed" in completion:
        return boxed(completion)
    for mark in ("he answer is", "final answer is"):
        if mark in completion:
            return completion.split(mark)[-1].strip()
    numbers = NUMBER.findall(completion.replace(",", ""))
    return numbers[-1] if numbers else ""


def boxed(completion: str) -> str:
    """What stands in the last ``boxed``: up to its closing brace, or without braces up to the next dollar sign."""
    text = completion.split("boxed")[-1]
    if not text.startswith("{"):
        return text.split("$")[0].strip()
    depth = 0
    for end, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[1:end]
    return text[1:]


def normalise(answer: str) -> str:
    """An answer without what does not change its value: units, currency, spacing, decorations of LaTeX."""
    text = answer.strip().replace("\n", "").rstrip(".")
    text = re.sub(r"(?<!\\)\\[!; ]", "", text)  # spaces of LaTeX, but not the end of a matrix's row
    text = re.sub(r"\\begin\{array\}\{.*?\}", r"\\begin{pmatrix}", text).replace("\\end{array}", "\\end{pmatrix}")
    text = text.replace("bmatrix", "pmatrix").replace("\\{", "{").replace("\\}", "}")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac")
    text = text.replace("\\neq", "\\ne").replace("\\leq", "\\le").replace("\\geq", "\\ge")
    text = text.replace("\\left", "").replace("\\right", "")
    ended = re.sub(r"\\text\{.*?\}$", "", text).strip()
    text = ended or text
    for _ in range(2):
        shorter = TRAILING_UNIT.sub(r"\1\2", text)
        text = shorter or text
    text = text.replace("^{\\circ}", "").replace("^\\circ", "").replace("\\$", "").replace("$", "")
    text = WORDS.get(text.strip().lower(), text)
    text = re.sub(r"\\text\{(.*?)\}", r"\1", text)
    text = re.sub(r"[xyz]\s*(?:=|\\in(?![a-z])|\\to(?![a-z]))\s*", "", text)
    text = text.replace("\\emptyset", "{}").replace("(-\\infty,\\infty)", "\\mathbb{R}")
    text = text.replace("\\%", "").replace("%", "").replace(" .", " 0.").replace("{.", "{0.")
    text = text.replace("infinity", "\\infty").replace("+\\inity", "\\infty")
    if "\\infty" not in text:
        text = text.replace("inf", "\\infty")
    text = text.replace("and", "").replace("\\mathbf", "")
    text = re.sub(r"\\mbox\{.*?\}", "", text).replace("'", "")
    if "j" in text and "i" not in text:
        text = text.replace("j", "i")
    text = re.sub(r"(\d+)\.0*([^\d])", r"\1\2", text)
    text = re.sub(r"(\d+)\.0*$", r"\1", text)
    if not text:
        return text
    if text[0] == ".":
        text = "0" + text
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:
        text = sides[1]
    text = re.sub(r"\\sqrt(\w+)", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"^0+(?=\d+$)", "", brace_fractions(text).rstrip("."))
    part = r"(-?\d+|[^/]*sqrt[^/]*)"
    return re.sub(rf"^{part}/{part}$", r"\\frac{\1}{\2}", text)


def brace_fractions(text: str) -> str:
    r"""``\frac12``, ``\frac1{72}`` and the like with both arguments in braces."""
    text = re.sub(r"\\frac(\w)(\w)", r"\\frac{\1}{\2}", text)
    return re.sub(r"\\frac(\w)\{", r"\\frac{\1}{", text)
