"""Where the time of `kedro predict` goes, from a cold start to a further clip, part by part.

    python benchmarks/predict.py data/06_models/demo/xsub/llm_ar-demo/recognizer \
        data/01_raw/demo/S001C001P001R001A008.skeleton

Seconds of the clock and of the processor, of a process of its own; whole calls stand below the parts.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "Kedro and our commands": """
from kedro.framework.startup import bootstrap_project
bootstrap_project(Path.cwd())
import llmar_pipeline.cli
from llmar_pipeline.machine import prepare_process
prepare_process()
""",
    "torch": "import torch",
    "transformers": "from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel",
    "the recogniser's modules": """
import llmar_pipeline.commands.predict, llmar_pipeline.language.trained_model, llmar_pipeline.language.answer
from llmar_pipeline.recognizer import Recognizer
""",
    "the trained model and its language model": "recognizer = Recognizer.load(folder)",
    "reading the file": "sequence = recognizer.read(file)",
    "the first answer": "recognizer.predict(sequence)",
    "a further one": "recognizer.predict(sequence)",
    "one of eight at once, times eight": "list(recognizer.predict_all([sequence] * 8))",
}


def parts(folder: str, file: str) -> None:
    """Run the parts one after the other in this process."""
    names = {"folder": folder, "file": file, "Path": Path}
    for title, program in PARTS.items():
        wall, processor = time.perf_counter(), time.process_time()
        exec(program, names)
        line(title, time.perf_counter() - wall, time.process_time() - processor)


def line(title: str, wall: float, processor: float) -> None:
    """One row of the table."""
    print(f"{title:42} {wall:6.2f} s  {processor:6.2f} s of the processor", flush=True)


def whole(folder: str, *files: str, read: str = "llm") -> None:
    """A call of the command."""
    kedro = Path(sys.executable).with_name("kedro")
    wall, before = time.perf_counter(), os.times()
    command = [kedro, "predict", f"--model={folder}", f"--read={read}", *files]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    line(f"kedro predict --read={read}, {len(files)} file(s)", time.perf_counter() - wall, processor)


if __name__ == "__main__":
    model, recording = (str(Path(argument).resolve()) for argument in sys.argv[1:3])
    os.chdir(ROOT)
    if sys.argv[3:] == ["parts"]:
        parts(model, recording)
    else:
        subprocess.run([sys.executable, __file__, model, recording, "parts"], check=True)
        for files in ([recording], [recording] * 9):
            whole(model, *files)
        whole(model, recording, read="codes")
