"""Nothing depends on the locale: text files have their own encoding, and a terminal is told what it can show."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from pkdlib.video.transcode import encode
from tests.companion.book.test_build import root as checkout  # noqa: F401
from tests.companion.test_reproduce import write_notebook

ROOT = Path(__file__).resolve().parents[1]
LOCALES = {"C": None, "zh_CN.GBK": "GBK", "ja_JP.EUC-JP": "EUC-JP"}
PKD = "import sys; from pkdlib.cli import main; sys.exit(main())"


@pytest.fixture(scope="module", params=LOCALES)
def environment(request, tmp_path_factory):
    """The environment of a machine whose locale is not UTF-8, with the means by which Python would escape it shut."""
    own = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    own |= {"LC_ALL": request.param, "LANG": request.param}
    own.pop("PYTHONIOENCODING", None)
    if charmap := LOCALES[request.param]:
        folder = tmp_path_factory.mktemp("locales")
        if not shutil.which("localedef"):
            pytest.skip("localedef, which makes locales, is not installed")
        language = request.param.partition(".")[0]
        made = subprocess.run(
            ["localedef", "-i", language, "-f", charmap, str(folder / request.param)], capture_output=True, check=False
        )
        if not (folder / request.param).is_dir():
            pytest.skip(f"this system cannot make the locale {request.param}: {made.stderr.decode().strip()[:100]}")
        own["LOCPATH"] = str(folder)
    preferred = python(own, "import locale; print(locale.getpreferredencoding(False))").stdout.decode().strip()
    if preferred.upper().replace("-", "") == "UTF8":
        pytest.skip(f"Python takes {preferred} in the locale {request.param} all the same")
    return own


def python(environment, code, *words, cwd=None) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, cwd=cwd, capture_output=True, timeout=300, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    return done


def folder_of_clips(root):
    for action in ("säubern", "dämpfen"):
        (root / action).mkdir(parents=True)
        for person in ("anna", "bén", "cleo"):
            encode(
                (np.full((48, 64, 3), shade, np.uint8) for shade in (20, 90, 200)), root / action / f"{person}_1.avi"
            )
    return root


def test_clips_and_folders_of_any_name_are_inspected(environment, tmp_path):
    clips = folder_of_clips(tmp_path / "clips")
    for words in ([str(clips), "--pattern", "^(.+)_", "--folds", "3"], [str(clips / "säubern" / "bén_1.avi")]):
        done = python(environment, PKD, "inspect", *words, cwd=tmp_path)
        assert done.returncode == 0 and done.stderr == b""
        assert b"mpeg4" in done.stdout
    assert (tmp_path / "bén_1.modalities.png").is_file()


def test_a_folder_is_made_and_its_error_said(environment, tmp_path):
    clips = folder_of_clips(tmp_path / "clips")
    words = ["--dataset", "folder", "--root", str(clips), "--pattern", "^(.+)_", "--profile", "smoke"]
    done = python(environment, PKD, "reproduce", *words, "--set", "folds=4", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"folds = 3 would do" in done.stderr
    load = "import sys; from pkdlib.data import folder; "
    load += "print(folder.load(*sys.argv[1:], pattern='^(.+)_', num_folds=3).checksum)"
    checksums = [python(environment, load, str(clips), str(tmp_path / "cache")).stdout for _ in range(2)]
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    checksums.append(python(here, load, str(clips), str(tmp_path / "cache")).stdout)
    checksums.append(python(here, load, str(clips), str(tmp_path / "another")).stdout)
    assert len(set(checksums)) == 1 and len(checksums[0]) == 65


REPRODUCE = """
import sys
from pathlib import Path
from pkdlib.companion import reproduce
reproduce.run_notebook(Path(sys.argv[1]), Path(sys.argv[2]), {"clip": sys.argv[3]}, Path.cwd())
"""


@pytest.mark.slow
def test_a_notebook_is_executed(environment, tmp_path):
    cells = ["clip = ''", "print('a ≤ b: é 跑步', len(clip))\nfrom pkdlib.companion.parameters import Parameters"]
    cells[1] += "\nprint(Parameters.for_profile('quick').profile)"
    source = write_notebook(tmp_path, "01_first", cells)
    done = python(environment, REPRODUCE, str(source), str(tmp_path / "out.ipynb"), "a clip", cwd=tmp_path)
    assert done.returncode == 0
    last = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1]
    assert "".join(output.text for output in last.outputs) == "a ≤ b: é 跑步 6\nquick\n"


BUILD = """
import sys
from pathlib import Path
from pkdlib.companion.book import build, numbers, staging
print(len(numbers.collect()))
root = Path(sys.argv[1])
staging.stage(root=root, substitutions={"share": "a \\u2264 b"})
print(build.build(root))
"""


@pytest.mark.slow
@pytest.mark.parametrize("environment", ["C"], indirect=True)
def test_the_book_is_built(environment, checkout):  # noqa: F811
    page = checkout / "book" / "intro.md"
    page.write_text(page.read_text(encoding="utf-8") + "\nÜber 跑步 – “ja”.\n", encoding="utf-8")
    done = python(environment, BUILD, str(checkout), cwd=checkout)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    built = (checkout / "_build" / "html" / "book" / "intro.html").read_text(encoding="utf-8")
    assert "Über 跑步 – “ja”." in built and "a ≤ b" in built


def opens_text_without_encoding(call: ast.Call) -> bool:
    given = {word.arg for word in call.keywords}
    if given & {"encoding", None}:
        return False
    own = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if own == "read_text":
        return not call.args
    if own == "write_text":
        return len(call.args) < 2
    if own == "open" and isinstance(call.func, ast.Name):
        mode = next((word.value for word in call.keywords if word.arg == "mode"), (call.args[1:2] or [None])[0])
        return mode is None or (isinstance(mode, ast.Constant) and "b" not in mode.value)
    if own == "open":  # of a path; others that are so called take no such mode
        return any(isinstance(word, ast.Constant) and word.value in ("r", "w", "a", "x") for word in call.args[:1])
    return own in ("run", "Popen", "check_output") and bool(given & {"text", "universal_newlines"})


@pytest.mark.parametrize("folder", ["pkdlib", "tests", "benchmarks"])
def test_every_text_file_is_opened_with_its_encoding(folder):
    # Ruff's rule PLW1514 sees only what it knows to be a path.
    lacking = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and opens_text_without_encoding(node)
    ]
    assert not lacking
