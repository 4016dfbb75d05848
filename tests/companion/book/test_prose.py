"""Prose is spelled and worded plainly: codespell, proselint, and a list of turns that plain English has no use for."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.md"), ROOT / "README.md"])
TOOLS = Path(sys.executable).parent
# What is no prose: settings, code, markup, formulas, addresses, tables and headings.
OTHERWISE = (
    r"\A---\n.*?\n---\n",
    r"```.*?```",
    r"<[^>]*>",
    r"\$\$.*?\$\$",
    r"\$[^$\n]*\$",
    r"`[^`]*`",
    r"\]\([^)]*\)",
    r"^\|.*$",
    r"^#.*$",
)
# Archaic, translated or wordy -> what says it plainly.
PLAIN = {
    "alike": "the same, similar, both",
    "at hand": "available",
    "hitherto": "so far",
    "nought": "zero",
    "of its own kind": "special",
    "so as to": "to",
    "thereof": "of it",
    "upon": "on",
    "whence": "from where",
    "whereof": "of which",
    "weighs less than nothing": "gets a negative weight",
    "what is to be": "what will be",
}


def prose(text: str) -> str:
    """The text with everything that is no prose blanked out, each line where it was."""
    for pattern in OTHERWISE:
        text = re.sub(pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.DOTALL | re.MULTILINE)
    return text


def objections(folder: Path, texts: dict[str, str]) -> list[str]:
    """What proselint has to say about some texts; typography is Markdown's and the browser's."""
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"checks": {"typography": False}}), encoding="utf-8")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    command = [TOOLS / "proselint", "--config", settings, "--output-format", "compact", "check"]
    done = subprocess.run(
        [*command, *(folder / name for name in texts)], capture_output=True, encoding="utf-8", check=False
    )
    assert not done.stderr
    return done.stdout.splitlines()


def archaic(text: str) -> list[str]:
    return [words for words in PLAIN if re.search(rf"\b{words}\b", " ".join(text.split()), re.IGNORECASE)]


def test_words_are_spelled_right():
    folders = ["book", "notebooks", "pkdlib", "tests", "benchmarks", "examples", "profiles", "workflow"]
    command = [TOOLS / "codespell", *folders, "README.md", "pyproject.toml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_sentence_is_one_that_proselint_objects_to(tmp_path):
    assert objections(tmp_path, {page.name: prose(page.read_text(encoding="utf-8")) for page in PAGES}) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_page_has_archaic_or_translated_turns(page):
    found = archaic(prose(page.read_text(encoding="utf-8")))
    assert found == [], {words: PLAIN[words] for words in found}


def test_both_checks_find_what_they_look_for(tmp_path):
    assert "uncomparables" in "".join(
        objections(tmp_path, {"page.md": "A very unique network, at this point in time.\n"})
    )
    assert archaic("All\nof it works\nalike.") == ["alike"]
    assert "very" not in prose(
        "---\na: very\n---\n`very` $very$ [a](very)\n\n| very |\n\n# very\n\n```very```\n<b very>"
    )
