"""docs/own_keypoints.md, typed as it stands, on keypoints that are made up."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from workplaces import make_tiny

WIDTH, HEIGHT, FRAMES = 640, 480, 40
ACTIONS = {"wave": (16, 0), "clap": (15, 0), "jump": (0, 1)}  # which joint moves along which axis


def landmarks_of(action, person):
    """Made-up image landmarks [frame, joint, 2] of somebody whose one joint swings."""
    rng = np.random.default_rng(person)
    found = np.tile(rng.uniform(0.3, 0.6, (33, 2)), (FRAMES, 1, 1)) + rng.normal(0, 0.002, (FRAMES, 33, 2))
    joint, axis = ACTIONS[action]
    found[:, joint, axis] += 0.1 * np.sin(np.arange(FRAMES) / 3)
    return found


@pytest.fixture
def page(project):
    text = (project / "docs/own_keypoints.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(project, tmp_path, tiny_llm_folder, monkeypatch):
    """A project of its own, whose runs take seconds."""
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(project / name, tmp_path)
    for name in ("src", "conf"):
        left_out = shutil.ignore_patterns("local", "__pycache__", "*.egg-info")
        shutil.copytree(project / name, tmp_path / name, ignore=left_out)
    make_tiny(tmp_path / "conf", tiny_llm_folder)
    (tmp_path / "data/01_raw/custom").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(line):
    line = line.replace("size=laptop", "size=tiny").replace("kedro", f"{sys.executable} -m kedro", 1)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "KEDRO_DISABLE_TELEMETRY": "1", "PYTHONPATH": "src"}
    return subprocess.run(
        line, shell=True, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_the_page_is_typed_from_the_first_step_to_the_last(page, folder):
    raw = folder / "data/01_raw/custom"
    by_language = {language: text for language, text in page if language}
    (raw / "corpus.yml").write_text(by_language["yaml"])
    (raw / "clips.csv").write_text(by_language["csv"])
    for row in by_language["csv"].splitlines()[1:]:
        file, action, _ = row.split(",")
        values = {"landmarks": landmarks_of(action, int(file[4])), "width": WIDTH, "height": HEIGHT}
        exec(by_language["python"].replace("wave1.npz", file), values)
    for number in range(1, 5):
        jumping = landmarks_of("jump", number) * [WIDTH, HEIGHT]
        np.savez(folder / f"jump{number}.npz", keypoints=jumping, fps=30)
    frames = landmarks_of("wave", 9) * [WIDTH, HEIGHT]
    lines = [json.dumps({"keypoints": [frame.tolist()]}) for frame in np.tile(frames, (3, 1, 1))]
    (folder / "frames.jsonl").write_text("\n".join(lines))

    said = {}
    for line in "".join(text for language, text in page if not language).splitlines():
        done = typed(line)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        said[line] = done.stdout
    trained = next(folder.glob("data/06_models/custom/*/*/recognizer"))
    assert (trained / "added" / "enrolled").is_dir()
    first, everyone, _, *_ = [text for line, text in said.items() if line.startswith("kedro predict")]
    assert "wave" in first
    assert "clap" in first
    assert len(everyone.splitlines()) == 8
    assert "jump" in said["kedro predict jump4.npz"]
    assert "<a" in first
    assert (folder / "out.html").stat().st_size > 10_000
    assert said["kedro watch --fps=30 --all < frames.jsonl"]
