"""Words and patterns that the prose of this project avoids, with their replacements."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A pattern that prose must not contain.

    Args:
        pattern: the pattern.
        advice: what to write instead.
        only_docstrings: whether the rule applies to docstrings alone.
    """

    pattern: re.Pattern[str]
    advice: str
    only_docstrings: bool = False


WORDS = {
    r"anew": "again",
    r"besides?": "next to, or in addition to",
    r"mend(s|ed|ing)?": "fix",
    r"whoever": "name the person or the program",
    r"nobody": "name the agent",
    r"likewise": "also, or the same way",
    r"as they are": "unchanged",
    r"one's own": "your own, or custom",
    r"where there (is|are)": "if, or with",
    r"there (is|are) no such": "unknown, or not found",
    r"tells?|told|telling": "show, report or say",
    r"(?<!there\s)is no(?! longer\b| more than\b| less than\b)": "invalid, or is not a",
}
"""Banned words and phrases: regular expressions of whole words."""

GLOSSARY = {
    r"pin(s|ned|ning)?": "fix, fixed",
    r"prov(e|es|ed|en|ing)|proofs?": "verify, verification",
    r"settle(s|d)?": "converge, converged",
    r"(?!standard)\w+\s+deviations?": "std, or standard deviation",
    r"refusals?": "unsupported operator",
    r"specimens?": "probe",
    r"culprits?": "failing group",
    r"moved fraction": "permutable fraction",
    r"chords?": "baseline",
}
"""Words for concepts that the glossary in docs/concepts.md names differently."""

BRITISH = {
    r"\w+isations?": "-ization",
    r"(re)?(normal|initial|optim|general|random|standard|serial|minim|maxim|summar|recogn|organ"
    r"|synchron|visual|parallel|token|vector|regular|categor|penal|character|util|final|special"
    r"|custom|memor|emphas|real|priorit|quant)is(e|es|ed|ing|er|ers)": "-ize",
    r"(behavi|col|fav|hon|neighb|lab)our(s|ed|ing|hood)?": "-or",
    r"(bary)?cent(re|res|red|ring)": "center",
    r"(un)?labell(ed|ing)|modell(ed|ing)|travell(ed|ing)|cancell(ed|ing)": "one l",
    r"analys(e|es|ed|ing)": "analyze",
    r"grey|whilst|artefacts?|licence|defence": "gray, while, artifact, license, defense",
}
"""British spellings."""


def _rules(words: dict[str, str], prefix: str = "") -> list[Rule]:
    return [
        Rule(
            re.compile(rf"\b(?:{word})\b".replace(" ", r"\s+"), re.IGNORECASE), f"{prefix}{advice}"
        )
        for word, advice in words.items()
    ]


ARGUMENT = Rule(
    re.compile(r"^ *\*{0,2}\w+: of the ", re.MULTILINE),
    "a complete noun phrase, such as `seed: random seed of the order`",
    only_docstrings=True,
)
RULES = (
    *_rules(WORDS),
    *_rules(GLOSSARY, "glossary: "),
    *_rules(BRITISH, "American spelling: "),
    ARGUMENT,
)
