"""The check of the prose finds banned words in each kind of text and accepts plain English."""

import pytest

from scripts.check_prose import check_file, files_under, main
from scripts.prose_rules import ARGUMENT, RULES

BANNED = {
    "statistics are made anew": "anew",
    "Besides the loss": "Besides",
    "mends the file": "mends",
    "whoever merges": "whoever",
    "nobody waits": "nobody",
    "biases likewise": "likewise",
    "units stay as\nthey are": "as they are",
    "a model of one's own": "one's own",
    "where there are groups": "where there are",
    "there is no such name": "there is no such",
    "the summary tells it": "tells",
    "users were told": "told",
    "seed is no number": "is no",
    "pinned units": "pinned",
    "proved to 4e-15": "proved",
    "the proofs": "proofs",
    "it settled at once": "settled",
    "means and deviations": "and deviations",
    "a refusal of operators": "refusal",
    "a specimen of weights": "specimen",
    "the culprits": "culprits",
    "the moved fraction": "moved fraction",
    "from the chord": "chord",
    "normalisation of weights": "normalisation",
    "initialised weights": "initialised",
    "behaviours of networks": "behaviours",
    "the barycentre": "barycentre",
    "labelled data": "labelled",
    "we analyse it": "analyse",
    "grey lines": "grey",
}
CLEAN = '''"""Return the barrier of two networks.

Your own model works too. There is no limit.
The seed is no longer needed. The standard
deviations are normalized.

Args:
    seed: random seed of the order.

Example:
    >>> told = prove(anew="beside")
"""
# Use `proof` for the key; the data must match.
raise ValueError(f"seed: {value!r} is not a whole number; pass one (got {proof['told']})")
NAMES = ("anew", "beside", "proved")
'''


def test_every_rule_has_a_sample():
    text = "\n\n".join(BANNED)
    missing = [
        rule.advice for rule in RULES if rule is not ARGUMENT and not rule.pattern.search(text)
    ]
    assert missing == []


@pytest.mark.parametrize("text", BANNED)
@pytest.mark.parametrize("kind", ["markdown", "docstring", "comment", "message"])
def test_banned_words_are_found(tmp_path, text, kind):
    path = tmp_path / ("page.md" if kind == "markdown" else "module.py")
    comment = "\n".join(f"# {line}" for line in text.split("\n"))
    message = repr(f"a text, {text}")
    path.write_text(
        {
            "markdown": f"# Title\n\n{text}\n",
            "docstring": f'\n\n"""{text}"""\n',
            "comment": f"x = 1\n\n{comment}\n",
            "message": f"\n\nraise ValueError({message})\n",
        }[kind]
    )
    assert [(f.line, f.words) for f in check_file(path)] == [(3, BANNED[text])]


def test_values_of_f_strings_are_not_prose(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("text = f'a seed of {anew} is told to {beside(\"all of whoever asks\")}'\n")
    assert [f.words for f in check_file(path)] == ["told", "whoever"]


def test_descriptions_of_arguments_are_noun_phrases(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('"""Return it.\n\nArgs:\n    seed: of the order.\n    size: the size.\n"""\n')
    assert [(f.line, f.words) for f in check_file(path)] == [(4, "seed: of the")]


def test_names_of_tests_are_checked_but_not_their_strings(tmp_path):
    path = tmp_path / "tests" / "test_it.py"
    path.parent.mkdir()
    path.write_text("def test_losses_are_told():\n    assert 'a text of nobody'\n")
    assert [(f.line, f.words) for f in check_file(path)] == [(1, "told")]


def test_code_of_pages_is_not_prose(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("Use `anew`:\n\n```python\nbeside = 1\n```\n\n[here](https://x.org/proof)\n")
    assert check_file(path) == []


def test_plain_english_is_accepted(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(CLEAN)
    assert check_file(path) == []


def test_folders_are_searched_for_pages_and_modules(tmp_path):
    for name in ("a.md", "b.py", "c.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in files_under(["."], tmp_path)] == ["a.md", "b.py"]


def test_the_command_prints_findings_and_fails(capsys, tmp_path):
    path = tmp_path / "page.md"
    path.write_text("Good.\n\nMade anew.\n")
    assert main([str(path)]) == 1
    assert capsys.readouterr().out == (
        f"{path}:3: 'anew': write again\nprose: 1 findings in 1 checked files\n"
    )
    path.write_text("Good.\n")
    assert main([str(path)]) == 0
