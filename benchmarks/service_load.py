"""How `clip4str serve` bears load: several clients at once, clients that hang, thousands of bad uploads.

    python benchmarks/service_load.py examples/photos [--clients 8] [--minutes 10] [--hanging 50] [--bad 1000]

While the clients read, four others send damaged and endless files and what is no HTTP, as fast as they are answered.
Starts the service in a process of its own, or takes the one at --address, and prints, from one run: requests a second
of one client and of several at once, whether each answer is what one client alone gets, and the memory of the service's
process after each step. Exits with status 1 if an answer is wrong, the service is gone, or memory grows by more than
--growth megabytes while it is fed bad uploads.
"""

import argparse
import random
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.hostile_files import good_files, jpeg_of_many_scans, mutate, pdf_that_never_ends

_ATTACKERS = 4


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2, help="how often each client sends every photo")
    parser.add_argument("--minutes", type=float, help="go on for so long, in place of --rounds")
    parser.add_argument("--hanging", type=int, default=50, help="clients that stop in the middle of an upload")
    parser.add_argument("--bad", type=int, default=1000, help="bad uploads")
    parser.add_argument("--growth", type=float, default=20.0, help="megabytes that bad uploads may cost")
    parser.add_argument("--serve", default="--queue 64 --timeout 600", help="options of `clip4str serve`")
    parser.add_argument("--address", help="of a service that runs already, in place of a new one")
    args = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(args.photos.iterdir()) if path.suffix in (".jpg", ".png")]
    if args.address:
        return finish(run(httpx.URL(args.address), photos, args))
    process = subprocess.Popen(
        [sys.executable, "-m", "clip4str_plugin.cli", "serve", "--port", "0", *args.serve.split()],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = httpx.URL(process.stdout.readline().split()[2])
        failures = run(address, photos, args)
        if process.poll() is not None:
            failures.append(f"the service ended with status {process.returncode}")
    finally:
        begin = time.perf_counter()
        process.terminate()
        process.wait()
    print(f"stopped in {time.perf_counter() - begin:.1f} s with status {process.returncode}")
    return finish(failures)


def run(address, photos, args):
    with httpx.Client(base_url=address, timeout=1200, trust_env=False) as client:
        return measure(client, address, photos, args)


def finish(failures):
    for failure in failures:
        print(f"FAILED: {failure}")
    return bool(failures)


def measure(client, address, photos, args):
    failures = []

    def number(name, default=None):
        found = re.search(rf"^{re.escape(name)} (.*)$", client.get("/metrics").text, re.MULTILINE)
        return default if found is None else float(found[1])

    def given_up():  # in time, or at once where there is no place for another upload
        return sum(number(f'clip4str_requests_total{{status="{status}"}}', 0) for status in (408, 429))

    def memory():
        return number("process_resident_memory_bytes") / 1e6

    def read(photo):
        begin = time.perf_counter()
        answer = client.post("/read", content=photo)
        answer.raise_for_status()
        (page,) = answer.json()
        return [(word["text"], word["polygon"], word["confidence"]) for word in page["words"]], begin

    print(f"memory at the start: {memory():.0f} MB")
    expected = [read(photo)[0] for photo in photos]
    begin = time.perf_counter()
    cpu = number("process_cpu_seconds_total")
    for photo in photos:
        read(photo)
    alone = len(photos) / (time.perf_counter() - begin)
    alone_cpu = (number("process_cpu_seconds_total") - cpu) / len(photos)
    print(f"one client: {alone:.2f} requests/s, {alone_cpu:.2f} s of CPU a request, memory {memory():.0f} MB")

    batches, crops = number("clip4str_batch_crops_count"), number("clip4str_batch_crops_sum")
    shared = number('clip4str_batch_requests_bucket{le="1.0"}'), number("clip4str_batch_requests_count")
    begin, cpu = time.perf_counter(), number("process_cpu_seconds_total")

    def honest(first):
        found, index = [], first
        while len(found) < args.rounds * len(photos) if args.minutes is None else time.perf_counter() < until:
            try:
                found.append((index % len(photos), *read(photos[index % len(photos)]), time.perf_counter()))
            except httpx.HTTPStatusError as error:
                if error.response.status_code not in (429, 503, 504):
                    raise
                refused.append(error.response.status_code)  # an answer too: the machine is too slow for so many
            index += 1
        return found

    until = begin + 60 * (args.minutes or 0)
    done, peak, refused = threading.Event(), [], []
    with ThreadPoolExecutor(args.clients + _ATTACKERS) as threads:
        seeds = range(_ATTACKERS)
        attacks = [threads.submit(hostile, address, done, seed, lambda: peak.append(memory())) for seed in seeds]
        try:
            answers = [answer for found in threads.map(honest, range(args.clients)) for answer in found]
            together = len(answers) / (time.perf_counter() - begin)
        finally:
            done.set()
    todo = len(answers)
    cpu = (number("process_cpu_seconds_total") - cpu) / todo
    seconds = sorted(end - start for _, _, start, end in answers)
    batches, crops = number("clip4str_batch_crops_count") - batches, number("clip4str_batch_crops_sum") - crops
    single = number('clip4str_batch_requests_bucket{le="1.0"}') - shared[0]
    total = number("clip4str_batch_requests_count") - shared[1]
    print(
        f"{args.clients} clients: {together:.2f} requests/s ({together / alone:.2f} times one client), {cpu:.2f} s "
        f"of CPU a request ({cpu / alone_cpu:.2f} times), {todo} requests, "
        f"median {statistics.median(seconds):.1f} s, longest {seconds[-1]:.1f} s, memory {memory():.0f} MB"
    )
    print(f"honest requests that found no room or time: {len(refused)}")
    attack = sum((found.result() for found in attacks), Counter())
    print(f"hostile requests beside them, by answer: {dict(attack)}; most memory meanwhile {max(peak):.0f} MB")
    if not set(attack) <= {"none", 200, 400, 403, 408, 413, 422, 429, 503, 504}:
        failures.append(f"hostile requests were answered {dict(attack)}")
    print(f"batches: {crops / batches:.1f} crops each, {100 * (1 - single / total):.0f} % shared by several requests")
    largest = 0.0
    for index, words, *_ in answers:
        if [word[:2] for word in words] != [word[:2] for word in expected[index]]:
            failures.append(f"photo {index} was read as {[word[0] for word in words]}")
        else:
            differences = (abs(a[2] - b[2]) for a, b in zip(words, expected[index]))
            largest = max(largest, *differences, 0.0)
    print(f"answers unlike those of one client: {len(failures)}; confidences differ by at most {largest:.1e}")

    before, hanging = given_up(), []
    for _ in range(args.hanging):
        hanging.append(socket.create_connection((address.host, address.port)))
        hanging[-1].sendall(
            b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + bytes(100_000)
        )
    begin, most = time.perf_counter(), 0.0
    while given_up() < before + args.hanging:
        most = max(most, number("clip4str_requests_receiving"))
        time.sleep(0.2)
    print(
        f"{args.hanging} clients hang in the middle of an upload, {most:.0f} at a time: all given up or refused after "
        f"{time.perf_counter() - begin:.0f} s, memory {memory():.0f} MB"
    )
    if [word[:2] for word in read(photos[0])[0]] != [word[:2] for word in expected[0]]:
        failures.append("photo 0 was read differently after clients hung")
    for connection in hanging:
        connection.close()

    bad = [
        b"x",
        b"%PDF-1.7",
        photos[0][:-1000],
        photos[-1][: len(photos[-1]) // 2],
        b"\x89PNG\r\n\x1a\n" + bytes(10_000),
    ]
    statuses = {}
    before = None
    for index in range(args.bad):
        if index == min(100, args.bad // 10):
            before = memory()
        status = client.post("/read", content=bad[index % len(bad)]).status_code
        statuses[status] = statuses.get(status, 0) + 1
    grown = memory() - before
    print(f"{args.bad} bad uploads: answered {statuses}, memory {memory():.0f} MB, grown by {grown:+.1f} MB")
    if grown > args.growth:
        failures.append(f"bad uploads cost {grown:.0f} MB")
    if not set(statuses) <= {400, 413, 422}:
        failures.append(f"bad uploads were answered {statuses}")
    if [word[:2] for word in read(photos[0])[0]] != [word[:2] for word in expected[0]]:
        failures.append("photo 0 was read differently after bad uploads")
    return failures


def hostile(address, done, seed, after_each):
    """Send what does harm until done; return how often each status came, and "none" for closed connections."""
    rng, seeds, statuses, number = random.Random(seed), good_files(), Counter(), 0
    with httpx.Client(base_url=address, timeout=1200, trust_env=False) as client:
        while not done.is_set():
            number += 1
            try:
                if number % 2 == 0:
                    with socket.create_connection((address.host, address.port), 10) as connection:
                        connection.sendall(b"POST /read HTTP/1.1\r\nHost: localhost\r\n\r\n" + rng.randbytes(300))
                        statuses[int(connection.recv(100).split()[1])] += 1
                else:
                    content = mutate(rng, rng.choice(list(seeds.values())))
                    if number % 8 == 3:
                        content = rng.choice([pdf_that_never_ends, jpeg_of_many_scans])()
                    statuses[client.post("/read", content=content).status_code] += 1
            except (OSError, httpx.HTTPError, IndexError, ValueError):
                statuses["none"] += 1
            after_each()
    return statuses


if __name__ == "__main__":
    sys.exit(main())
