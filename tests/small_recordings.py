"""One small recording in every format that is read, made up."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import scipy.io

_rng = np.random.default_rng(0)


def _text(joints: int, end: str = "\n") -> bytes:
    lines = ["6"]
    for frame in range(6):
        n_bodies = (1, 2, 0)[frame % 3]
        lines.append(str(n_bodies))
        for body in range(n_bodies):
            lines += [f"{72057594037931690 + body} 0 1 1 1 1 0 0.02 0.05 2", str(joints)]
            lines += [" ".join(f"{x:.5g}" for x in _rng.normal(size=12)) for _ in range(joints)]
    return (end.join(lines) + end).encode()


def _smarthome() -> bytes:
    person = {"pose2d": _rng.normal(size=26).tolist(), "pose3d": _rng.normal(size=39).tolist()}
    return json.dumps({"frames": [[person], [person, person], []], "K": 1}).encode()


def _matlab() -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, {"d_skel": _rng.normal(size=(20, 3, 5))}, do_compression=True)
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, keypoints=_rng.normal(size=(1, 5, 17, 2)))
    return file.getvalue()


def _csv() -> bytes:
    file = io.StringIO()
    table = csv.writer(file)
    table.writerow(["frame", "joint", "x", "y"])
    table.writerows([frame, joint, 1.5 * joint, 2.5 * frame] for frame in range(3) for joint in range(17))
    return file.getvalue().encode()


VALID: dict[str, tuple[str, str, bytes]] = {
    "ntu60": ("ntu60", "S001C001P001R001A001.skeleton", _text(25)),
    "ntu60 crlf": ("ntu60", "S001C001P001R001A001.skeleton", _text(25, " \r\n")),
    "uav": ("uav", "P000S00G10B10H10UC022000LC021000A000R0_08241716.txt", _text(17)),
    "smarthome": ("smarthome", "Walk_p03_r00_v01_c01.json", _smarthome()),
    "smarthome2d": ("smarthome2d", "Walk_p03_r00_v01_c01.json", _smarthome()),
    "nwucla": (
        "nwucla",
        "a01_s01_e00_v01.json",
        json.dumps({"skeletons": _rng.normal(size=(4, 20, 3)).round(4).tolist(), "label": 1}).encode(),
    ),
    "utdmhad": ("utdmhad", "a1_s1_t1_skeleton.mat", _matlab()),
    "custom npz": ("custom", "clip.npz", _npz()),
    "custom csv": ("custom", "clip.csv", _csv()),
    "custom json": (
        "custom",
        "clip.json",
        json.dumps({"keypoints": _rng.normal(size=(3, 17, 2)).tolist()}).encode(),
    ),
}


def put(folder: Path, kind: str, content: bytes) -> str:
    """Write the file as part of a folder of its kind; returns the corpus."""
    corpus, name, _ = VALID[kind]
    (folder / name).write_bytes(content)
    if corpus == "custom":
        (folder / "corpus.yml").write_text("layout: coco17\nunits: pixels\n")
        (folder / "clips.csv").write_text(f"file,action,split\n{name},wave,train\n")
    return corpus
