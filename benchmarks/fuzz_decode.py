"""Feed the decoder damaged files: each must give its frames or one `VideoError`, and cost no memory or open file.

Usage: python benchmarks/fuzz_decode.py [--count 10000] [--seed 0] [--jobs 2] [--clips FOLDER] [--keep FOLDER] [--write]
       python benchmarks/fuzz_decode.py --only 1234 --keep FOLDER   (one mutation again, and its file)

What is read without an error is held against libavcodec's own decoding of the same damaged file, from its first key
frame on, picture by picture: where no damage is told, the pictures are those that any player shows. Some damaged files
make libavcodec give pictures with parts that it never wrote, which hold whatever was in memory before: these are
counted as undefined, and the rest of such a file is not compared.

Mutation number i is a function of the seed, i and the source clips alone (see `damaged_files.py`). The sources are
small clips that the script encodes itself, and real ones from --clips (or PKD_CLIPS, or ../../shared/clips) where there
are any; the first line printed has their checksum. Each job is a child process that reads one file after the other,
with limited time and memory; one that dies or hangs is a finding, and is replaced. At the end a block of mutations is
replayed several times to see whether memory grows. The exit status is 1 if anything was found. Needs Linux's /proc.
"""

import argparse
import contextlib
import csv
import ctypes
import faulthandler
import inspect
import json
import os
import queue
import random
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from damaged_files import KINDS, Mutation, gather_sources, mutate

from pkdlib.video import transcode
from pkdlib.video.reader import CompressedVideo, VideoError

TABLES = Path(__file__).resolve().parents[1] / "results" / "fuzz"

ADDRESS_SPACE = 4 << 30  # bytes; a file that asks for more shows as a MemoryError
OPEN_FILES = 1024  # the usual limit, so that the answers do not depend on the machine's
GROWTH = 30  # MiB that the replays may add to a process
PASSES = 6
PATIENCE = 30  # seconds that may pass for each second of processor time, on a busy machine

# ---- What each file goes through, in the child -----------------------------------------------------------------------


def attempt(path, task):
    """Return what a task returns, or the text of its VideoError."""
    try:
        return task()
    except VideoError as error:
        text = str(error)
        assert text.startswith(f"{path}: ") and len(text.splitlines()) == 1, f"ill-formed message: {text!r}"
        assert "Too many open files" not in text, "the file makes the reader open files without end"
        return text


def accepted(**options):
    """Keep the options that this version of the decoder knows."""
    known = inspect.signature(CompressedVideo).parameters
    return {name: value for name, value in options.items() if name in known}


def check_array(video, array, depth, dtype):
    """Hold one array against what the documentation says of it."""
    assert array.shape == (video.height, video.width, depth) and array.dtype == dtype, (array.shape, array.dtype)


class Undefined(Exception):
    """A picture with parts that libavcodec never wrote."""


def plain_pass(path, kept=None):
    """Decode a file as the simplest PyAV program does; give its pictures from the first key frame on.

    A list can keep the decoder's frames, so that none of their memory is used again.
    """
    from pkdlib.video import container  # what only some runs need; the tests put another package in this one's place

    begun = False
    with container.open_stream(path) as (opened, stream):
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= Flags.unaligned
        for packet in chain(container.packets(opened, stream), [None]):
            begun = begun or (packet is not None and packet.is_discard)  # its picture is a key frame that is not shown
            with contextlib.suppress(av.FFmpegError):  # what cannot be decoded is left out, as players do
                for frame in stream.codec_context.decode(packet):
                    if kept is not None:
                        kept.append(frame)
                    begun = begun or frame.key_frame
                    if begun:
                        yield frame.to_ndarray(format="rgb24")


def is_undefined(path, number):
    """Tell whether libavcodec itself gives another picture where it has other memory for it."""
    one, other = (next(islice(plain_pass(path, kept), number, None), None) for kept in (None, []))
    return not np.array_equal(one, other)


def read_all(path, wanted, options, oracle=None, **parts):
    """Read a file's frames, checking each; return their number, the text of the error, and the wanted ones."""
    with CompressedVideo(path, **options) as video:
        gops, kept, count = video.gops, {}, 0
        assert gops[0].start == 0 and sum(gop.length for gop in gops) == video.num_frames and video.frame_rate > 0

        def collect():
            nonlocal count
            for frame in video.frames(**parts):
                assert (frame.index, type(frame.time)) == (count, float), (frame.index, count, frame.time)
                assert frame.index == gops[frame.gop].start + frame.position
                check_array(video, frame.motion, 2, np.int16)
                if frame.image is not None:
                    check_array(video, frame.image, 3, np.uint8)
                    check_array(video, frame.residual, 3, np.int16)
                if oracle is not None:
                    expected = next(oracle, None)
                    assert expected is not None, f"frame {count} is one that libavcodec does not give"
                    if not np.array_equal(frame.image, expected):
                        assert is_undefined(path, count), f"frame {count} is not libavcodec's"
                        raise Undefined
                count += 1
                if (frame.gop, frame.position) in wanted(gops):
                    kept[frame.gop, frame.position] = frame.image, frame.motion, frame.residual
            assert count == video.num_frames, f"{count} of {video.num_frames} frames, and no error"
            assert oracle is None or next(oracle, None) is None, f"libavcodec gives more than {count} frames"

        return count, attempt(path, collect), kept


def read_some(path, places, accumulate):
    """Read samples at some places; return their image, motion and residual, or the texts of the errors."""
    with CompressedVideo(path) as video:

        def read(place):
            sample = video.sample(*place, accumulate)
            check_array(video, sample.iframe, 3, np.uint8)
            check_array(video, sample.motion, 2, np.int16)
            check_array(video, sample.residual, 3, np.int16)
            return video.image(*place), sample.motion, sample.residual

        return {place: attempt(path, lambda place=place: read(place)) for place in places}


def describe(path, **options):
    """Say what opening a file tells."""
    with CompressedVideo(path, **options) as video:
        return video.codec, video.width, video.height, video.num_frames, video.frame_rate, video.gops


def re_encode(path, target):
    """Transcode a file; a target must appear if and only if that works, and nothing else beside it."""
    before = set(path.parent.iterdir())
    error = attempt(path, lambda: transcode.transcode(path, target, width=64, height=48))
    assert set(path.parent.iterdir()) == before | (set() if error else {target}), "transcode left something else"


def exercise(path, seed):
    """Read a file in every way; return the outcome, and whether random access gives another picture than the pass."""
    rng = random.Random(f"{seed}:{path.name}")
    places, accumulate = [], rng.random() < 0.5

    def wanted(gops):
        if not places:
            spots = [rng.randrange(len(gops)) for _ in range(2)]
            drawn = [(gop, rng.randrange(gops[gop].length)) for gop in spots]
            places.extend([(0, 0), (len(gops) - 1, gops[-1].length - 1), *drawn])
        return places

    if rng.random() < 0.2:
        re_encode(path, path.with_name("transcoded.mp4"))
    opened = attempt(path, lambda: describe(path))
    if cache := accepted(cache=path.parent / "cache"):
        cache["cache"].mkdir()
        for _ in range(2):
            again = attempt(path, lambda: describe(path, **cache))
            assert again == opened, f"with a kept index {again}, without {opened}"
    if keep := accepted(on_error="keep"):
        attempt(path, lambda: read_all(path, lambda gops: (), keep))
    if isinstance(opened, str):
        return "not opened: " + opened, False
    try:
        count, error, frames = read_all(path, wanted, {}, plain_pass(path), accumulate=accumulate)
    except Undefined:
        return "undefined: libavcodec gives a picture that it did not write whole", False
    alone = read_all(path, lambda gops: (), {}, image=False, residual=False)[:2]
    assert alone == (count, error), f"the pass for motion alone gave {alone}, the other {(count, error)}"
    samples = read_some(path, places, accumulate)
    if error:
        return "stopped: " + error, False
    given = {place: sample for place, sample in samples.items() if not isinstance(sample, str)}
    same = all(all(map(np.array_equal, sample, frames[place])) for place, sample in given.items())
    return "read whole" if len(given) == len(samples) else "read whole, in one pass alone", not same


# ---- The child: one mutation number in, one line of JSON out ---------------------------------------------------------


def open_files():
    """Count this process's open files."""
    return len(os.listdir("/proc/self/fd"))


def processor_time(process):
    """Return the seconds that a process has computed; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def memory():
    """Return this process's resident memory, in bytes, less what is merely not yet given back."""
    with contextlib.suppress(AttributeError):  # not every C library has it
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * resource.getpagesize()


def judge(mutation, seed, folder):
    """Exercise one mutation in a folder of its own; return the outcome as a dictionary."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / mutation.name
        path.write_bytes(mutation.data)
        try:
            outcome, differs = exercise(path, seed)
            outcome = re.sub(r"\d+", "N", outcome.replace(str(path), "FILE"))[:160]
            if mutation.kind == "renamed" and (differs or outcome.endswith("alone")):
                return {"finding": "promise", "detail": "a sample of an intact file differs from the pass"}
            return {"outcome": outcome, "differs": differs}
        except AssertionError as error:
            return {"finding": "promise", "detail": str(error) or traceback.format_exc(limit=-2)}
        except Exception:
            return {"finding": "exception", "detail": traceback.format_exc()}


def serve(folder, seed):
    """Answer mutation numbers from standard input, until it ends."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else writes to standard output must not mix with the answers
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, limit) if limit > 0 else OPEN_FILES, limit))
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    sources = load(folder)
    judge(Mutation("renamed", "", "warm.avi", sources["own-mpeg4_b.avi"]), seed, folder)  # imports, codecs' tables
    files = open_files()
    print("{}", file=channel, flush=True)
    for line in sys.stdin:
        began = time.process_time()
        answer = judge(mutate(seed, int(line), sources), seed, folder)
        answer |= {"seconds": time.process_time() - began, "memory": memory()}
        now = open_files()
        if now > files and "finding" not in answer:
            answer |= {"finding": "files", "detail": f"{now} open files, {files} before"}
        files = max(now, files)  # told once
        print(json.dumps(answer), file=channel, flush=True)


def load(folder):
    """Read the source clips: a dictionary of name to bytes."""
    return {path.name: path.read_bytes() for path in sorted((folder / "sources").iterdir())}


# ---- The parent ------------------------------------------------------------------------------------------------------


class Worker:
    """A child process that is replaced when it dies or takes too long."""

    def __init__(self, folder, args):
        """Start the child."""
        self._folder, self._args = folder, args
        self._log = tempfile.TemporaryFile("a+b", dir=folder)  # noqa: SIM115
        self._start()

    def _start(self):
        self._log_start = self._log.seek(0, os.SEEK_END)
        command = [sys.executable, __file__, "--serve", str(self._folder), "--seed", str(self._args.seed)]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, encoding="utf-8"
        )
        if "finding" in (answer := self._answer(60)):
            raise RuntimeError(f"the child does not start: {answer}")

    def _answer(self, limit):
        child = self._child
        if not self._comes(limit):
            child.send_signal(signal.SIGUSR1)  # it writes where it is
            time.sleep(0.2)
            child.kill()
            child.wait()
            return {"finding": "hang", "detail": self._tail()}
        line = child.stdout.readline()
        if line:
            return json.loads(line)
        return {"finding": "crash", "detail": f"exit status {child.wait()}\n{self._tail()}"}

    def _comes(self, limit):
        """Wait for an answer: for `limit` seconds of the child's processor time, and PATIENCE times that in all."""
        before, seconds = processor_time(self._child.pid), 0
        # Seconds are counted one by one, so that those in which all of this was stopped are not.
        while not select.select([self._child.stdout], [], [], 1)[0]:
            seconds += 1
            if seconds >= PATIENCE * limit or processor_time(self._child.pid) - before > limit:
                return False
        return True

    def _tail(self):
        self._log.seek(self._log_start)
        return self._log.read()[-3000:].decode(errors="replace")

    def run(self, number):
        """Return the answer to a mutation."""
        self._log_start = self._log.seek(0, os.SEEK_END)
        with contextlib.suppress(BrokenPipeError):  # a child that has died is told below
            self._child.stdin.write(f"{number}\n")
            self._child.stdin.flush()
        answer = self._answer(self._args.limit)
        if answer.get("finding") in ("hang", "crash"):
            self.close()
            self._start()
        return {"number": number, **answer}

    def close(self):
        """End the child."""
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait()


def run_all(numbers, folder, args):
    """Give the mutations to the jobs; return the answers."""
    waiting, answers, told = queue.SimpleQueue(), [], time.monotonic()
    for number in numbers:
        waiting.put(number)

    def job(_):
        nonlocal told
        worker = Worker(folder, args)
        while not waiting.empty():
            try:
                answers.append(worker.run(waiting.get_nowait()))
                if "finding" in answers[-1]:
                    print("{number}: {finding}, {detail:.200}".format(**answers[-1]), file=sys.stderr, flush=True)
            except queue.Empty:
                break
            if sys.stderr.isatty() and time.monotonic() > told + 2:
                told = time.monotonic()
                print(f"\r{len(answers)}/{len(numbers)}", end="", file=sys.stderr, flush=True)
        worker.close()

    with ThreadPoolExecutor(args.jobs) as jobs:
        list(jobs.map(job, range(args.jobs)))
    return sorted(answers, key=lambda answer: answer["number"])


def replay(numbers, folder, args):
    """Read the same files several times in one process; return the findings, memory that grows among them."""
    worker, levels, findings = Worker(folder, args), [], []
    for _ in range(PASSES):
        answers = [worker.run(number) for number in numbers]
        findings += [answer for answer in answers if "finding" in answer]
        levels.append(answers[-1].get("memory", 0))
    worker.close()
    levels = [level >> 20 for level in levels]
    print("memory after each replay, MiB:", *levels)
    if levels[-1] - levels[1] > GROWTH:
        findings.append({"number": numbers[0], "finding": "memory", "detail": f"{levels} MiB after each replay"})
    return findings, levels


def cause(finding):
    """Tell findings of one cause by the line that they have in common: the innermost call, or the exception."""
    detail = re.sub(r"/tmp\S*/|\d+", "", finding["detail"].strip())
    where = detail.partition("(most recent call first):\n")[2] or detail.splitlines()[-1]
    return finding["finding"], where.splitlines()[0]


def report_findings(findings, seed, sources):
    """Print each cause once, with all mutations that have it."""
    causes = {}
    for finding in findings:
        causes.setdefault(cause(finding), {})[finding["number"]] = finding
    for (name, _), cases in causes.items():
        print(f"\n{name}, {len(cases)} times:")
        for number in cases:
            mutation = mutate(seed, number, sources)
            print(f"  mutation {number}: {mutation.kind}, {mutation.source}")
        first = next(iter(cases.values()))
        print("    " + first["detail"].strip().replace("\n", "\n    "))


def tabulate(answers, seed, sources):
    """Count the outcomes of each kind of mutation."""
    table = {kind: Counter() for kind in KINDS}
    for answer in answers:
        outcome = answer.get("finding") or answer["outcome"].split(":")[0]
        table[mutate(seed, answer["number"], sources).kind].update([outcome] + ["differs"] * answer.get("differs", 0))
    return table


def report(answers, table):
    """Print the outcomes by kind and by wording, and the slowest files."""
    wordings = Counter(answer.get("outcome", "a finding") for answer in answers)
    columns = [*sorted({outcome for row in table.values() for outcome in row} - {"differs"}), "differs"]
    print(f"{'':<18}", *(f"{column:>10}" for column in columns))
    for kind, row in table.items():
        print(f"{kind:<18}", *(f"{row[column]:>{max(len(column), 10)}}" for column in columns))
    print("(differs: read whole, but a sample is not the pass's frame; that is no fault in a damaged file)")
    print("differing mutations:", *(answer["number"] for answer in answers if answer.get("differs")), end="\n\n")
    for wording, count in wordings.most_common(40):
        print(f"{count:6} {wording}")
    slowest = sorted(answers, key=lambda answer: -answer.get("seconds", 0))[:5]
    print("\nslowest:", ", ".join(f"{answer['number']} ({answer.get('seconds', 0):.1f} s)" for answer in slowest))


def write(table, told):
    """Keep the table, with the record of its run."""
    from pkdlib import _files
    from pkdlib.companion.runs import store

    TABLES.mkdir(parents=True, exist_ok=True)
    outcomes = sorted({outcome for row in table.values() for outcome in row})
    with open(TABLES / "outcomes.csv", "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["mutation", *outcomes])
        lines.writerows([kind, *(row[outcome] for outcome in outcomes)] for kind, row in table.items())
    _files.write_json(TABLES / store.RECORD, {**told, **store.provenance()})


def main():
    """Run the mutations asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10000, help="mutations 0 to COUNT - 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--limit", type=float, default=10, help="seconds of processor time for all that one file goes through"
    )
    parser.add_argument("--only", type=int, nargs="+", help="these mutations alone")
    parser.add_argument("--replay", type=int, default=60, help="mutations in the block that is replayed")
    parser.add_argument("--keep", type=Path, help="where to write the files of --only, or else of all findings")
    shared = Path(__file__).resolve().parents[2] / "shared" / "clips"
    parser.add_argument("--write", action="store_true", help="keep the outcomes in results/fuzz")
    parser.add_argument("--clips", type=Path, default=Path(os.environ.get("PKD_CLIPS", shared)))
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.seed)
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz_decode_") as folder:
        return run(Path(folder), args)


def run(folder, args):
    """Do the run in a folder; return the exit status."""
    (folder / "sources").mkdir()
    gather_sources(args.clips, folder / "sources")
    sources = load(folder)
    checksum = f"{zlib.crc32(b''.join(sources.values())):08x}"
    print(f"{len(sources)} sources, checksum {checksum}; seed {args.seed}", flush=True)
    answers = run_all(args.only or range(args.count), folder, args)
    findings = [answer for answer in answers if "finding" in answer]
    sound = [answer["number"] for answer in answers if "finding" not in answer][: args.replay]
    levels = []
    if sound and not args.only:
        more, levels = replay(sound, folder, args)
        findings += more
    table = tabulate(answers, args.seed, sources)
    report(answers, table)
    report_findings(findings, args.seed, sources)
    print(f"\n{len(answers)} mutations, {len(findings)} findings")
    if args.write:
        slowest = max(answer.get("seconds", 0) for answer in answers)
        told = {"command": f"python benchmarks/fuzz_decode.py --count {args.count} --seed {args.seed} --write"}
        told |= {"clips": len(sources), "checksum": checksum, "mutations": len(answers), "findings": len(findings)}
        told |= {"slowest_seconds": round(slowest, 1), "memory_mib": levels, "ffmpeg": av.ffmpeg_version_info}
        write(table, told)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for number in args.only or {finding["number"] for finding in findings}:
            mutation = mutate(args.seed, number, sources)
            (args.keep / mutation.name).write_bytes(mutation.data)
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
