"""The grid: what Snakemake would run by each profile, and that a killed grid goes on with what is missing alone."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.extent import nightly

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ("machine", "slurm", "kubernetes")
STEPS = ("backbones", "flatness", "early_exits", "teachers", "wise", "leaving_early", "protocol")


def command(profile, *words):
    place = ROOT / "workflow"
    own = ["-s", place / "Snakefile", "--workflow-profile", place / "profiles" / profile]
    return [sys.executable, "-m", "snakemake", *own, *words]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_dry_run_lists_the_paper_s_whole_grid(tmp_path, profile):
    config = ["profile=paper", "datasets=ucf101,hmdb51", "root_ucf101=/data/u", "root_hmdb51=/data/h"]
    done = subprocess.run(
        command(profile, "--config", *config, "--dry-run", "-p"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    counts = dict(re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE))
    assert counts == {**dict.fromkeys(STEPS, "30"), "pages": "2", "all": "1", "total": "213"}
    assert "pkd reproduce --profile paper --backbone coviar --dataset hmdb51 --root '/data/h'" in text
    cell = "runs/grid/paper-coviar/hmdb51/split2/seed4"
    assert f"{cell} --split 2 --seed 4 --only 07_leaving_early\n" in text
    assert f"{cell}/notebooks/07_leaving_early.ipynb" in text


STUB = """#!/bin/bash
while [[ $# -gt 0 ]]; do
  [[ $1 == --target ]] && target=$2
  [[ $1 == --only ]] && notebook=$2
  shift
done
began=$(date +%s%N)
sleep 0.5
echo "$CUDA_VISIBLE_DEVICES $began $(date +%s%N)" >> {log}
mkdir -p $target/notebooks && touch $target/notebooks/$notebook.ipynb
"""


@pytest.mark.slow
def test_each_gpu_has_one_job_at_a_time(tmp_path):
    stub, log = tmp_path / "bin" / "pkd", tmp_path / "log"
    stub.parent.mkdir()
    stub.write_text(STUB.replace("{log}", str(log)), encoding="utf-8")
    stub.chmod(0o755)
    env = os.environ | {"PATH": f"{stub.parent}:{os.environ['PATH']}"}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    made = [f"runs/grid/smoke-coviar/marionette/split0/seed{seed}/notebooks/03_flatness.ipynb" for seed in range(4)]
    words = command("machine", "--config", "profile=smoke", "splits=1", "seeds=4", "gpus=2", "--cores", "3", *made)
    subprocess.run(words, cwd=tmp_path, env=env, check=True, stderr=subprocess.DEVNULL)
    spans = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        gpu, began, ended = map(int, line.split())
        spans.setdefault(gpu, []).append((began, ended))
    assert spans.keys() == {0, 1} and sum(map(len, spans.values())) == 8
    for own in spans.values():
        assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(sorted(own)))


TINY = ("marionette_actors=6", "marionette_actions=2", "input_size=32", "backbone_epochs=1")


@pytest.mark.slow
@nightly
def test_a_killed_grid_goes_on_with_what_is_missing_to_the_same_bits(tmp_path):
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    grid, plain = tmp_path / "grid", tmp_path / "plain"
    for folder in (grid, plain):
        folder.mkdir()
    cell = "runs/grid/smoke-coviar/marionette/split0/seed{}/notebooks/02_backbones.ipynb"
    config = ["--config", "profile=smoke", "splits=1", "seeds=2", f"set={' '.join(TINY)}"]
    words = command("machine", *config, "--cores", "1", cell.format(0), cell.format(1))

    process = subprocess.Popen(words, cwd=grid, env=env, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(seeds := {path.parts[-3] for path in finished(grid)}) < 2:  # within the second cell
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    stopped = finished(grid)
    (made,) = [grid / cell.format(seed) for seed in (0, 1) if (grid / cell.format(seed)).is_file()]
    before = made.stat().st_mtime_ns

    subprocess.run(words, cwd=grid, env=env, check=True, stderr=subprocess.DEVNULL)
    assert all((grid / cell.format(seed)).is_file() for seed in (0, 1))
    assert made.stat().st_mtime_ns == before
    assert stopped.items() <= finished(grid).items() and len(stopped) < len(finished(grid))

    (second,) = seeds - {made.parts[-3]}
    own = ["--profile", "smoke", "--set", f"cache={grid / 'cache'}", "--split", "0"]
    own += [word for value in TINY for word in ("--set", value)]
    plainly = ["pkd", "reproduce", *own, "--seed", second.removeprefix("seed"), "--only", "02"]
    subprocess.run(plainly, cwd=plain, env=env, check=True, stdout=subprocess.DEVNULL)
    expected = computed(plain, second)
    assert {"curves.json", "logits.safetensors"} <= {path.name for path in expected}
    assert computed(grid, second) == expected


def finished(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("runs/smoke-*/marionette/split0/*/*/run.json")}


def computed(folder, seed):
    (cell,) = folder.glob(f"runs/smoke-*/marionette/split0/{seed}")
    files = [path for path in cell.rglob("*") if path.is_file() and path.name not in ("run.json", "timings.json")]
    return {path.relative_to(cell): path.read_bytes() for path in files}
