"""A served model: latency, throughput and memory of `kedro serve`, written to benchmarks/results/serve.md.

Requests of made-up recordings go to real servers on this machine, some at once: one that forms batches
across requests, and one that answers one by one, in turns, so that their ratio does not depend on how busy
the machine is. Then damaged requests, of which each must be answered or refused in one line, and the same
with an error planted in our own code.

    python benchmarks/serve.py [--model FOLDER | --llm smollm2] [--requests 1000] [--damaged 10000]

Without a folder the model has random weights, adapters too, on the demo's language model or a tiny one.
"""

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from damages import DAMAGES
from measuring import ROOT, machine, take_turns, times, write_page

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.llm import ensure_llm
from llmar_pipeline.language.llm_cache import llm_cache
from llmar_pipeline.skeletons.topology import Body

ROUNDS = 3
SHORT = 4  # frames of the recordings that are damaged
LONG = 60
TRACES = re.compile(r"Traceback|File \\?\"|\.py\b|\n")


@dataclass(frozen=True)
class Server:
    """A process that answers, and where."""

    process: psutil.Process
    port: int

    def ask(self, body: bytes) -> tuple[int, str]:
        """Status and text of the answer; on a connection of its own, as of another client."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def memory(self) -> float:
        """MiB that it holds."""
        return self.process.memory_info().rss / 2**20

    def seconds(self) -> float:
        """Of the processor, so far."""
        used = self.process.cpu_times()
        return used.user + used.system


@contextmanager
def running(*command: str) -> Iterator[Server]:
    """A server until the context is left; its log goes where ours goes."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        for line in process.stdout or ():
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                yield Server(psutil.Process(process.pid), int(found[1]))
                break
        else:
            raise SystemExit(f"expected a server, saw it end with exit code {process.wait()}")
    finally:
        process.terminate()
        process.wait(60)


def random_model(folder: Path, llm: str) -> Path:
    """A model of random weights for NTU's joints, as the tests have it."""
    sys.path.insert(0, str(ROOT / "tests"))
    from tiny_llm import write_tiny_llm
    from tiny_recognizer import write_recognizer, write_vqvae

    place, width = folder / "llm", 32
    if llm == "tiny":
        write_tiny_llm(place)
    else:
        place = ensure_llm(LLMConfig(model=llm, precision="float32"), llm_cache(folder))
        width = json.loads((place / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    corpus = CORPORA["ntu60"]
    write_vqvae(folder / "vqvae", Body(corpus.topology, corpus.persons), code_dim=width, frames=64)
    return Path(write_recognizer(folder / "recognizer", folder / "vqvae", place, corpus))


def requests(model: Path, frames: int, number: int = 64) -> list[bytes]:
    """Bodies of one made-up recording each: bodies that move at random."""
    body = json.loads((model / "vqvae" / "config.json").read_text(encoding="utf-8"))["body"]["topology"]
    made = []
    for seed in range(number):
        rng = np.random.default_rng(seed)
        pose = rng.normal(0, 0.3, (len(body["joints"]), body["coordinates"]))
        steps = rng.normal(0, 0.01, (frames, *pose.shape)).cumsum(0)
        asked = {"inputs": [{"keypoints": [(pose + steps).round(4).tolist()]}], "params": {"top_k": 5}}
        made.append(json.dumps(asked).encode())
    return made


def load(server: Server, bodies: list[bytes], number: int, at_once: int) -> tuple[np.ndarray, float]:
    """Ask so many times, so many at once; seconds of each, and of all."""

    def one(which: int) -> float:
        started = time.perf_counter()
        status, text = server.ask(bodies[which % len(bodies)])
        if status != 200:
            raise SystemExit(f"expected an answer, saw {status}: {text}")
        return time.perf_counter() - started

    started = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        each = list(pool.map(one, range(number)))
    return np.array(each), time.perf_counter() - started


def measure(model: Path, number: int, at_once: int) -> list[str]:
    """The page's part about requests that are in order."""
    bodies = requests(model, LONG)
    serve = ("-m", "llmar_pipeline", "serve", str(model), "--port=0")
    with running(*serve) as together, running(*serve, "--batch=1") as alone:
        servers = {"together": together, "one by one": alone}
        latency: dict[str, list[float]] = {name: [] for name in servers}

        def turn(name: str) -> Callable[[], float]:
            def ask() -> float:
                before = servers[name].seconds()
                each, _ = load(servers[name], bodies, 2 * at_once, at_once)
                latency[name] += each.tolist()
                return servers[name].seconds() - before

            return ask

        used = take_turns({name: turn(name) for name in servers}, ROUNDS)
        single, _ = load(together, bodies, 2 * at_once, 1)
        memory = [together.memory()]
        seconds, whole = [], 0.0
        for _ in range(5):
            each, took = load(together, bodies, number // 5, at_once)
            seconds.append(each)
            whole += took
            memory.append(together.memory())
    lines = [
        f"{number:,} requests of one recording each ({LONG} frames), {at_once} at a time: all answered.",
        "",
        "| requests | at once | median, s | 95 %, s | 99 %, s | answers a second |",
        "|---:|---:|---:|---:|---:|---:|",
        _row(single, 1, float(single.sum())),
        _row(np.concatenate(seconds), at_once, whole),
        "",
        "Memory of the server, MiB, before them and after each fifth: "
        f"{', '.join(f'{mebibytes:,.0f}' for mebibytes in memory)}.",
        "",
        f"Batches across requests against one by one, {ROUNDS} rounds of {2 * at_once} requests in turns, "
        f"{at_once} at a time:",
        "",
        "| | processor seconds a request | times | median latency, s | times |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in servers:
        share = float(np.median(used[name])) / (2 * at_once)
        wait = float(np.median(latency[name]))
        base = float(np.median(latency["one by one"]))
        ratio = times(used, name, "one by one")
        lines.append(f"| {name} | {share:.3f} | {ratio:.2f} | {wait:.2f} | {wait / base:.2f} |")
    return [*lines, ""]


def _row(each: np.ndarray, at_once: int, whole: float) -> str:
    middle, most, nearly = np.percentile(each, [50, 95, 99])
    return f"| {len(each)} | {at_once} | {middle:.2f} | {most:.2f} | {nearly:.2f} | {len(each) / whole:.1f} |"


def damage(model: Path, number: int, at_once: int, seed: int) -> list[str]:
    """The page's part about damaged requests."""
    good = requests(model, SHORT, 8)
    kinds = list(DAMAGES)

    def damaged(which: int) -> tuple[str, bytes]:
        rng = np.random.default_rng([seed, which])
        kind = kinds[rng.integers(len(kinds))]
        return kind, DAMAGES[kind](good[rng.integers(len(good))], ".json", rng)

    def judged(server: Server, which: int) -> tuple[str, str]:
        kind, body = damaged(which)
        status, text = server.ask(body)
        content = json.loads(text)
        if status == 200 and len(content["predictions"]) == 1:
            return kind, "answered"
        if 400 <= status < 500 and content["message"] and not TRACES.search(content["message"]):
            return kind, "refused"
        return kind, f"fault {status} at {which}: {text[:200]}"

    with (
        running("-m", "llmar_pipeline", "serve", str(model), "--port=0") as server,
        ThreadPoolExecutor(at_once) as pool,
    ):
        counts = Counter(pool.map(lambda which: judged(server, which), range(number)))
        status, text = server.ask(good[0])
    if status != 200:
        raise SystemExit(f"expected a server that is up, saw {status}: {text}")
    faults = [verdict for _, verdict in counts if verdict.startswith("fault")]
    with running(__file__, "--planted", "--model", str(model)) as server:
        planted = Counter(server.ask(body)[0] for body in (good[0], b"{", good[1]))
    if faults or planted != {500: 2, 400: 1}:
        raise SystemExit("\n".join([*faults, f"planted: {dict(planted)}"]))
    return [
        f"{number:,} damaged requests, {at_once} at a time: none was answered with 5xx, a trace or a closed",
        "connection, and the server was up afterwards. *Answered* are those that the damage left a request.",
        "With an error planted in the recogniser, a good request gets 500, and a bad one 400.",
        "",
        "| damage | refused with 4xx and a reason | answered |",
        "|---|---:|---:|",
        *(f"| {kind} | {counts[kind, 'refused']} | {counts[kind, 'answered']} |" for kind in kinds),
        "",
    ]


def serve_planted(model: Path) -> None:
    """A server whose recogniser fails."""
    from llmar_pipeline.commands.serve import serve
    from llmar_pipeline.recognition.request import Limits
    from llmar_pipeline.recognizer import Recognizer

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    Recognizer.predict_all = fail  # type: ignore[assignment, method-assign]
    serve(str(model), "127.0.0.1", 0, Limits(), 32, None, lambda line: print(line, flush=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a trained model")
    parser.add_argument("--llm", default="smollm2", choices=("smollm2", "tiny"), help="of random weights")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=10)
    parser.add_argument("--damaged", type=int, default=0, help="how many damaged requests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--planted", action="store_true", help="only serve, with an error in our code")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "serve.md")
    given = parser.parse_args()
    if given.planted:
        serve_planted(given.model)
        return
    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as folder:
        model = (given.model or random_model(Path(folder), given.llm)).resolve()
        what = given.model or f"a model of random weights on the language model {given.llm}"
        lines = ["# Serving a model", "", f"Of {what}.", ""]
        lines += measure(model, given.requests, given.at_once) if given.requests else []
        lines += damage(model, given.damaged, given.at_once, given.seed) if given.damaged else []
    command = " ".join(["python benchmarks/serve.py", *sys.argv[1:]])
    write_page(given.output, [*lines, *machine(command, str(given.seed))])


if __name__ == "__main__":
    main()
