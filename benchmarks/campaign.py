"""An attack on the whole package that anyone can repeat: nothing crashes, hangs, grows, is lost or doubled.

    python benchmarks/campaign.py [--files 10000] [--requests 1000] [--checkpoints 200] [--reads 20]
        [--downloads 20] [--trainings 10] [--jobs 10] [--seed 0] [--first 0] [--keep FOLDER]

Each part runs in a process of its own. The random numbers of an input come from the seed and its own number, so that
`--files 1 --first 1922` repeats one:

- files: mutated photos, PDFs and TIFFs, with polygons of all kinds found on them, read as `clip4str read` does;
- requests: damaged, endless and misleading requests to a `clip4str serve`, with honest ones among them; a traceback in
  its log counts as a crash;
- checkpoints: mutated configurations and weight files, and pickles that would run code;
- reads: `clip4str read --output` ended by kill -9 at random moments, each time over a good file;
- downloads: a download ended so, again and again, until one goes through: the file must be what the server has;
- trainings: `clip4str train` ended so, then run to its end: the weights must be those of a run that nobody ended;
- jobs: jobs of Ray ended so, every other time one of their workers in their place, then started again over the same
  folder: each page must be there once, as a job that nobody ended reads it, and what others put there must stay.

Prints a table; exits with status 1 if anything in it is not as it should be. Crashes are unexpected exceptions, answers
with status 500 and processes that end. Slow is an input that takes longer than --limit seconds by the clock; it is a
hang if it does so without the time for which a thread of it waited for a processor that other programs had, and does
so again at a second try. Memory is that of the process and its children: after a tenth of the inputs (start), at most,
and what stays, the last two over the first.
"""

import argparse
import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.hostile_files import good_files, hostile_polygons, jpeg_of_many_scans, mutate, pdf_that_never_ends  # noqa: E402
from tests.word_sets import SMALL_MODEL, draw_word, write_folder  # noqa: E402

CLI = [sys.executable, "-m", "clip4str_plugin.cli"]
ENDLESS = [pdf_that_never_ends, jpeg_of_many_scans]
QUERIES = ["?x", "?dpi=nan", "?dpi=1e9", "?format=%00", "?a=&a"]
HEADERS = [
    {"Host": "evil.example"},
    {"Origin": "null"},
    {"Content-Type": "multipart/form-data; boundary=x"},
    {"Content-Encoding": "gzip"},
]
TWO_LENGTHS = (
    b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)
LONG = b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"
CHARSETS = ["utf-8", "idna", "punycode", "raw_unicode_escape", "undefined", "utf-16", "x" * 9999]
NAMES = [b"a.png", b"..", b"a\\ud800", b"\xed\xa0\x80", b"a\0b", b"\x1b[2J", b"=1+1", b"n" * 9999, b'"', b""]
# In place of the values of a configuration.
VALUES = [None, True, -1, 0, 7, 10**9, 10**30, 1.5, float("nan"), "", "x" * 10**5, "../..", "hf-hub:a/b", [], [0, 0]]
VALUES += [[10**6] * 2, {}, {"trust_remote_code": True}, [[[]]]]


class Account:
    """Counts what befalls the inputs of one part, and the memory of a process with its children."""

    def __init__(self, total, limit, process=None):
        self.inputs = self.crashes = self.slow = self.hangs = self.lost = self.start = self.peak = 0
        self.notes, self.total, self.limit, self.process = [], total, limit, process or os.getpid()

    def take(self, name, function, *values, expected=()):
        """Call a function with one input; what it raises beyond the expected is a crash. Return whether all is well."""
        noted = len(self.notes)
        for again in (False, True):
            begin, cpu, waits = time.monotonic(), self.processor_seconds(), self.waits()
            try:
                function(*values)
            except expected:
                pass
            except Exception as error:
                self.crashes += 1
                self.notes.append(f"{name}: {type(error).__name__}: {str(error)[:150]}")
            seconds = time.monotonic() - begin
            if seconds <= self.limit:
                break
            self.slow += not again
            waited = max((late - waits.get(thread, 0) for thread, late in self.waits().items()), default=0)
            took = f"{seconds:.1f} s, {self.processor_seconds() - cpu:.1f} of processors, {waited:.1f} waited for one"
            say(f"{name}: {took}")
            if seconds - waited <= self.limit:
                break
            self.hangs += again
            self.notes += [f"{name}: {took}"] * again
        self.inputs += 1
        memory = self.memory()
        self.start = memory if self.inputs <= max(1, self.total // 10) else self.start
        self.peak = max(self.peak, memory)
        return len(self.notes) == noted

    def memory(self):
        """Resident megabytes of the process and all below it."""
        total = 0
        for process in [self.process, *below(self.process)]:
            with suppress(OSError, IndexError):  # it may end meanwhile
                total += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return total * os.sysconf("SC_PAGE_SIZE") / 1e6

    def processor_seconds(self):
        """Seconds that the process and all below it have computed, those included that have ended."""
        ticks = 0
        for process in [self.process, *below(self.process)]:
            with suppress(OSError):
                ticks += sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def waits(self):
        """Seconds that each of their threads has waited for a processor that others had."""
        found = {}
        for process in [self.process, *below(self.process)]:
            with suppress(OSError):
                for thread in Path(f"/proc/{process}/task").iterdir():
                    found[thread.name] = int((thread / "schedstat").read_text().split()[1]) / 1e9
        return found

    def result(self):
        """Sum up."""
        peak, stays = self.peak - self.start, self.memory() - self.start
        return {"inputs": self.inputs, "crashes": self.crashes, "slow": self.slow, "hangs": self.hangs,
                "start MB": round(self.start), "peak MB": round(peak), "stays MB": round(stays),
                "lost or doubled": self.lost, "notes": self.notes[:20]}  # fmt: skip


def below(process):
    """Give the processes that a process started, and those that they started."""
    processes = [process]
    for each in processes:
        with suppress(OSError):  # it may end meanwhile
            for task in Path(f"/proc/{each}/task").iterdir():
                processes += map(int, (task / "children").read_text().split())
    return processes[1:]


def random_of(args, number):
    """The random numbers of one input."""
    return random.Random(f"{args.seed} {args.first + number}")


def files(args, folder):
    from clip4str_plugin import Detections, Reader
    from clip4str_plugin.io.images import PageImage, read_pages

    polygons_of = random_of(args, 0)

    def detect(pages):
        # Fewer than four points are refused as a detector's mistake, and the page with them.
        found = [[each for each in hostile_polygons(polygons_of, page) if len(each) >= 4] for page in pages]
        return [Detections(polygons, np.ones(len(polygons), np.float32)) for polygons in found]

    reader, words = Reader(detect, orientation="off", min_confidence=0.0), 0
    seeds, account = good_files(), Account(args.files, args.limit)

    def read(path):
        nonlocal words, polygons_of
        polygons_of = random.Random(f"{args.seed} {path.name}")  # the same at a second try
        found = list(read_pages(path, max_pixels=2_000_000))
        pixels = [page.pixels for page in found if isinstance(page, PageImage)]
        pages = list(reader.stream(iter(pixels)))
        words += sum(len(page.words) for page in pages)
        if lost := next((page.error for page in pages if page.error), None):
            raise RuntimeError(lost)  # whatever could be decoded can be read
        if not found or len(pages) != len(pixels):
            account.lost += 1
            account.notes.append(f"{path}: {len(found)} pages, {len(pixels)} decoded, {len(pages)} read")

    for number in range(args.files):
        rng = random_of(args, number)
        kind = rng.choice(list(seeds))
        path = folder / f"{kind}-{args.first + number}"
        path.write_bytes(mutate(rng, seeds[kind]))
        if not account.take(path.name, read, path) and args.keep:
            shutil.copy(path, args.keep)
        path.unlink()
    account.notes.insert(0, f"{words} words read")
    return account.result()


def requests(args, folder):
    import httpx

    seeds, timeout = good_files(), args.limit
    options = ["--port", "0", "--timeout", str(timeout), "--max-pixels", "2000000", "--max-upload", "3000000"]
    options += ["--detector", "rapidocr"]  # the lightest one
    log = folder / "log"
    with log.open("w") as stream:
        service = subprocess.Popen([*CLI, "serve", *options], stdout=subprocess.PIPE, stderr=stream, text=True)
    address = httpx.URL(service.stdout.readline().split()[2])
    account = Account(args.requests, 2 * timeout, service.pid)
    client = httpx.Client(base_url=address, timeout=3 * timeout, trust_env=False)
    photo = (ROOT / "examples" / "photos" / "railroad_crossing.png").read_bytes()

    def texts():
        for _ in range(10):
            answer = client.post("/read", content=photo)
            if answer.status_code == 200:
                return [word["text"] for page in answer.json() for word in page["words"]]
            time.sleep(0.5)
        raise TimeoutError(f"an honest request gets status {answer.status_code}")

    expected = texts()

    def honest():
        if texts() != expected:
            account.lost += 1
            account.notes.append("an honest request was answered wrongly")

    def post(content, query="", **headers):
        status = client.post(f"/read{query}", content=content, headers=headers).status_code
        if status >= 500 and status not in (503, 504):
            raise RuntimeError(f"status {status}")

    def raw(content):
        with suppress(OSError), socket.create_connection((address.host, address.port), 5) as connection:
            connection.sendall(content)
            connection.recv(1000)

    def hostile(number):
        rng = random_of(args, number)
        kind = rng.randrange(12)
        if kind < 6:
            name = rng.choice(list(seeds))
            account.take(name, post, mutate(rng, seeds[name]), rng.choice(["", "?format=text", "?format=pdf"]))
        elif kind == 6 and number % 4 == 0:
            account.take("endless", post, rng.choice(ENDLESS)())
        elif kind == 7:
            account.take("query", post, seeds["PNG"], rng.choice(QUERIES))
        elif kind == 8:
            account.take("headers", lambda: post(seeds["PNG"], **rng.choice(HEADERS)))
        elif kind == 9:
            account.take("honest", honest)
        elif kind == 10:
            content, headers = form(rng, seeds["PNG"])
            account.take("form", lambda: post(content, rng.choice(["", "?format=csv", "?format=alto"]), **headers))
        else:
            account.take("raw", raw, rng.choice([rng.randbytes(300), TWO_LENGTHS, mutate(rng, TWO_LENGTHS), LONG]))

    for number in range(args.requests):
        hostile(number)
    account.take("honest", honest)
    result = account.result()
    service.terminate()
    try:
        service.wait(args.limit)
    except subprocess.TimeoutExpired:
        service.kill()
        result["hangs"] += 1
        result["notes"].append("the service does not end at SIGTERM")
    said = log.read_text()
    if tracebacks := said.count("Traceback"):
        result["crashes"] += tracebacks
        result["notes"].append(f"{tracebacks} tracebacks in the log, the last: {said.rstrip().splitlines()[-1]}")
    return result


def form(rng, content):
    """A form with a file, its names and parts in disorder: the body and its headers."""
    name, field = rng.choice(NAMES), rng.choice([b"file", b"file", b"file", b"f", b""])
    head = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n' % (field, name)
    body = (head + content + b"\r\n") * rng.choice([1, 1, 2, 40]) + b"--x--\r\n"
    kind = f"multipart/form-data; boundary=x; charset={rng.choice(CHARSETS)}"
    return mutate(rng, body, head=True) if rng.random() < 0.5 else body, {"Content-Type": kind}


def checkpoints(args, folder):
    from clip4str_plugin.errors import CheckpointError
    from clip4str_plugin.model import CLIP4STR, CLIP4STRConfig, load_model, save_pretrained

    save_pretrained(CLIP4STR(CLIP4STRConfig.from_dict(SMALL_MODEL)), folder / "good")
    config = json.loads((folder / "good" / "config.json").read_text())
    weights = (folder / "good" / "model.safetensors").read_bytes()
    account, mark = Account(args.checkpoints, args.limit), folder / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    for number in range(args.checkpoints):
        rng = random_of(args, number)
        changed, content = json.loads(json.dumps(config)), weights
        place = rng.choice([changed, changed, changed["vision"], changed["text"]])
        path, kind = folder / "bad", rng.randrange(5)
        if kind < 3:
            place[rng.choice([*place, "surprise", "hf_tokenizer_name", "timm_model_name"])] = rng.choice(VALUES)
        elif kind == 3:
            content = mutate(rng, weights, head=rng.random() < 0.7)
        else:
            path = folder / "bad.ckpt"
            path.write_bytes(mutate(rng, pickle.dumps({"state_dict": Evil()})) if rng.random() < 0.8 else
                             pickle.dumps({"state_dict": {}, "hyper_parameters": Evil()}))  # fmt: skip
        if kind < 4:
            path.mkdir(exist_ok=True)
            (path / "config.json").write_text(json.dumps(changed))
            (path / "model.safetensors").write_bytes(content)
        account.take(f"checkpoint {number}, kind {kind}", load_model, path, expected=CheckpointError)
        if mark.exists():
            account.crashes += 1
            account.notes.append("code of a file was run")
            mark.rmdir()
    return account.result()


def say(what):
    print(f"    {what}", file=sys.stderr, flush=True)


def end(process, seconds):
    """Kill a process after some seconds, if it is still there."""
    try:
        process.wait(seconds)
        say(f"ended by itself before {seconds:.2f} s")
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        say(f"killed after {seconds:.2f} s")


def reads(args, folder):
    (folder / "in").mkdir()
    for number in range(24):
        Image.fromarray(draw_word("killed", number)).save(folder / "in" / f"{number:03}.png")
    output = folder / "out.json"
    command = [*CLI, "read", str(folder / "in"), "--format", "json", "--output", str(output), "--detector", "rapidocr"]
    begin = time.monotonic()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    whole, account = time.monotonic() - begin, Account(args.reads, 10**6)
    names = [page["image"] for page in json.loads(output.read_text())]

    def kill(number):
        output.write_text(old := json.dumps([{"image": name} for name in names]))
        seconds = random_of(args, number).uniform(0.2, 1.05) * whole
        end(subprocess.Popen(command, stderr=subprocess.DEVNULL), seconds)
        text = output.read_text()
        if text != old and [page["image"] for page in json.loads(text)] != names:
            account.lost += 1

    for number in range(args.reads):
        account.take(f"read {number}", kill, number)
    return account.result()


FETCH = """
import sys
from clip4str_plugin.model.download import fetch
from clip4str_plugin.model.published import PublishedModel
url, digits = sys.argv[1:]
fetch(PublishedModel("campaign", "base16", "", "", url, f"campaign_{digits}.ckpt", digits, {}), progress=False)
"""


def downloads(args, folder):
    from tests.test_download import Server

    server, account = Server(), Account(args.downloads, 10**6)
    server.handle_error = lambda *_: None  # whoever asked is dead
    server.content = random_of(args, 0).randbytes(1_000_000) * 150
    digest = hashlib.sha256(server.content).hexdigest()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [sys.executable, "-c", FETCH, server.url, digest[:10]]
    whole = 0.0

    def fetch(number):
        nonlocal whole
        rng = random_of(args, number)
        environment = {**os.environ, "CLIP4STR_CACHE": str(folder / str(number))}
        for _ in range(3 if whole else 0):
            end(subprocess.Popen(command, cwd=ROOT, env=environment), rng.uniform(0.3, 1.05) * whole)
        begin = time.monotonic()
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        whole = whole or time.monotonic() - begin
        files = [path for path in (folder / str(number)).iterdir() if path.suffix != ".lock"]
        account.lost += len(files) != 1 or hashlib.sha256(files[0].read_bytes()).hexdigest() != digest
        shutil.rmtree(folder / str(number))

    for number in range(args.downloads):
        account.take(f"download {number}", fetch, number)
    return account.result()


def trainings(args, folder):
    from clip4str_plugin.model import load_model

    words = write_folder(folder / "words", [f"word{number}" for number in range(48)])
    (folder / "config.yaml").write_text(json.dumps({
        "model": {"config": SMALL_MODEL},
        "data": {"train": {str(words): 1.0}, "synthetic": 0.0},
        "run": {"steps": 30, "batch_size": 4, "accelerator": "cpu", "precision": "32-true", "log_every": 1,
                "checkpoint_every": 5},
    }))  # fmt: skip
    account, whole = Account(args.trainings, 10**6), 0.0

    def command(output):
        return [*CLI, "train", "--config", str(folder / "config.yaml"), "--output", str(output)]

    def weights(output):
        subprocess.run(command(output), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return load_model(output / "final").state_dict()

    def train(number):
        output = folder / str(number)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        end(subprocess.Popen(command(output), **quiet), random_of(args, number).uniform(0.3, 1.05) * whole)
        found = weights(output)
        account.lost += any(not value.equal(expected[name]) for name, value in found.items())
        shutil.rmtree(output)

    begin = time.monotonic()
    expected = weights(folder / "whole")
    whole = time.monotonic() - begin
    for number in range(args.trainings):
        account.take(f"training {number}", train, number)
    return account.result()


JOB = """
import sys
import numpy as np
from clip4str_adapters.ray import read_folder
from clip4str_plugin import Detections
def whole(pages):
    sizes = [page.shape[1::-1] for page in pages]
    return [Detections([np.float32([(0, 0), (w, 0), (w, h), (0, h)])], [0.9]) for w, h in sizes]
print(read_folder(*sys.argv[1:], detector=whole, min_confidence=0.0), flush=True)
"""
CLUSTER = """
import ray
context = ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=200_000_000)
print(context.address_info["gcs_address"], flush=True)
input()
"""


def jobs(args, folder):
    account, environment = Account(args.jobs, 10**6), {**os.environ, "RAY_AUTH_MODE": "disabled"}
    environment["RAY_worker_niceness"] = "0"
    cluster = subprocess.Popen([sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment)  # fmt: skip
    environment["RAY_ADDRESS"] = cluster.stdout.readline().strip()
    sheets = folder / "sheets"
    sheets.mkdir()
    for number in range(60):
        first, *others = [Image.fromarray(draw_word(f"page{number}", sheet)) for sheet in range(1 + number % 3)]
        first.save(sheets / f"{number}.tiff", save_all=True, append_images=others)
    foreign = {"notes.txt": b"mine", "cut.parquet": b"PAR1 and no end"}

    def start(output):
        command = [sys.executable, "-c", JOB, str(sheets), str(output)]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)  # fmt: skip

    def finish(output):
        if status := start(output).wait():
            raise RuntimeError(f"a job ends with status {status}")
        return sorted(rows(output))

    def kill(number):
        output, rng = folder / str(number), random_of(args, number)
        output.mkdir()
        for name, content in foreign.items():
            (output / name).write_bytes(content)
        job = start(output)
        if number % 2 == 0:
            end(job, rng.uniform(0.5, 1.05) * whole)
        else:
            begin, pause = time.monotonic(), rng.uniform(0.0, 0.4) * whole
            while job.poll() is None and not any(map(is_worker, below(cluster.pid))):
                time.sleep(0.1)
            with suppress(subprocess.TimeoutExpired):
                job.wait(pause)
            if workers := [process for process in below(cluster.pid) if is_worker(process)]:
                os.kill(victim := rng.choice(workers), signal.SIGKILL)
                say(f"worker {victim} of {len(workers)} killed after {time.monotonic() - begin:.2f} s")
            if status := job.wait():
                raise RuntimeError(f"a job that lost a worker ends with status {status}")
        written = len(list(output.glob("clip4str-*.parquet")))
        found = finish(output)
        say(f"{written} files were there, {len(list(output.glob('clip4str-*.parquet')))} are now")
        if found != expected:
            account.lost += 1
            account.notes.append(f"job {number}: {len(found)} pages, not {len(expected)}, or others")
        if any((output / name).read_bytes() != content for name, content in foreign.items()):
            account.lost += 1
            account.notes.append(f"job {number}: other files are gone")
        shutil.rmtree(output)

    try:
        begin = time.monotonic()
        expected = finish(folder / "whole")
        whole = time.monotonic() - begin
        for number in range(args.jobs):
            account.take(f"job {number}", kill, number)
    finally:
        cluster.kill()
    return account.result()


def rows(folder):
    """Give the pages that the files of a Ray job hold: name, number, error and words."""
    from pyarrow.parquet import read_table

    for path in folder.glob("clip4str-*.parquet"):
        for row in read_table(path).to_pylist():
            words = [word["text"] for word in row["words"] or []]
            yield Path(row["image"]).name, row["page"], row["error"] or "", words


def is_worker(process):
    """Whether a process is one of Ray's that work for a job; its agents belong to the machine."""
    with suppress(OSError):
        name = Path(f"/proc/{process}/cmdline").read_text()
        return name.startswith("ray::") and "IDLE" not in name and "Agent" not in name
    return False


PARTS = {"files": files, "requests": requests, "checkpoints": checkpoints}
KILLS = {"reads": reads, "downloads": downloads, "trainings": trainings, "jobs": jobs}
PARTS |= KILLS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in zip(PARTS, (10_000, 1000, 200, 20, 20, 10, 10)):
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first input")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for files that crash or hang")
    parser.add_argument("--limit", type=float, default=15.0, help="seconds that one input may take")
    parser.add_argument("--growth", type=float, default=200.0, help="megabytes that may stay")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(PARTS[args.part](args, Path(folder))))
        return 0
    bad, columns = False, ["inputs", "crashes", "slow", "hangs", "start MB", "peak MB", "stays MB", "lost or doubled"]
    print("| part | " + " | ".join(columns) + " |\n|---" + "|---:" * len(columns) + "|")
    for name in PARTS:
        if count := getattr(args, name):
            patience = 300 + count * max(2 * args.limit, 180 if name in KILLS else 0)
            try:
                child = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--part", name], timeout=patience,
                                       stdout=subprocess.PIPE, text=True)  # fmt: skip
                result = json.loads(child.stdout.splitlines()[-1])
            except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
                result = {"crashes": 1, "notes": [f"the part itself ended: {type(error).__name__}"]}
            print(f"| {name} | " + " | ".join(str(result.get(column, "?")) for column in columns) + " |", flush=True)
            for note in result["notes"]:
                print(f"    {note}", file=sys.stderr)
            bad |= any(result.get(column) for column in ("crashes", "hangs", "lost or doubled"))
            bad |= result.get("stays MB", 0) > args.growth
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
