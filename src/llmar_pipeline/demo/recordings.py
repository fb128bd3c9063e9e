"""Synthetic recordings for the demonstration, as NTU RGB+D `.skeleton` text files.

No person was recorded: the motion comes from `skeletons.movements`, seen by three made-up sensors. The files
have official names and the official layout, flaws included (sensor noise, frames without a body, short-lived
spurious bodies, CRLF line ends, a few damaged files), so the ordinary NTU reader reads them.
"""

import json
import re
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy  # its parts are imported where they are first used
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from llmar_pipeline.code_digest import CODE, code_of
from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.ntu import NTU60
from llmar_pipeline.demo.kinematics import Performer
from llmar_pipeline.demo.movements import ACTIONS, perform
from llmar_pipeline.demo.sensor import TOWARD, record
from llmar_pipeline.errors import UserError
from llmar_pipeline.files import differences, write_json
from llmar_pipeline.progress import Progress

DAMAGE = ("truncated", "joint count", "text in a number", "empty")
TRAINING_SUBJECTS = NTU60.protocols["xsub"].train
README = """SYNTHETIC RECORDINGS. Nobody was recorded, and nothing here is part of the NTU RGB+D dataset.

A kinematic model wrote these files for the demonstration of llmar-pipeline. They copy the file names and the
text layout of NTU RGB+D so that the same reader reads them. Accuracies reached on them say nothing about real
people. manifest.json lists the files, and which are damaged on purpose. New settings rewrite the folder.
"""


class DemoConfig(BaseModel):
    """What to generate: every subject performs every action `replications` times before every camera.

    Attributes:
        seed: Seed of everything random. A file depends on it, on its own name, `noise` and
            `dropped_frame_share`, never on the other files.
        subjects: Performers. By default eight who train and four who test in the official X-Sub protocol.
        cameras: 1 stands between 2 and 3, 45 degrees from each. A single performer faces camera 2 in odd
            replications and camera 3 in even ones: camera 1 sees a half profile, the third camera a profile.
        setups: Heights and distances of the sensors; subject p is recorded in `setups[p % len(setups)]`.
        replications: Performances of an action by a subject.
        actions: Official action numbers (1-based), keys of `movements.ACTIONS`.
        noise: Standard deviation of a coordinate in metres, 3 m away; it grows with the distance squared.
        dropped_frame_share: Share of frames in which the sensor sees nobody.
        damaged_files: How many files of training subjects are damaged, in the ways of `DAMAGE` by turns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0)
    subjects: tuple[int, ...] = (1, 2, 4, 5, 8, 9, 13, 14, 3, 6, 7, 10)
    cameras: tuple[int, ...] = (1, 2, 3)
    setups: tuple[int, ...] = (2, 1)
    replications: int = Field(1, ge=1, le=999)  # as names of files have room for
    actions: tuple[int, ...] = tuple(ACTIONS)
    noise: float = Field(0.004, ge=0)
    dropped_frame_share: float = Field(0.01, ge=0, le=0.5)
    damaged_files: int = Field(4, ge=0)

    @field_validator("subjects", "setups", "cameras", "actions")
    @classmethod
    def _known(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        known = {"cameras": list(TOWARD), "actions": list(ACTIONS)}.get(info.field_name or "", range(1, 1000))
        if not value or not set(value) <= set(known):
            raise ValueError(f"expected one or more of {known}, saw {list(value)}")
        return value

    @model_validator(mode="after")
    def _enough_to_damage(self) -> "DemoConfig":
        trained = len(self._names(TRAINING_SUBJECTS))
        if self.damaged_files > trained:
            raise ValueError(f"expected at most {trained} damaged_files, as many as training subjects have")
        return self

    @property
    def names(self) -> list[str]:
        """File stems, sorted, without those that the NTU reader passes over as officially missing."""
        return self._names(frozenset(self.subjects))

    @property
    def damage(self) -> dict[str, str]:
        """File stem and kind of damage of the files to spoil."""
        rng = np.random.default_rng([self.seed, 0])
        chosen = rng.permutation(self._names(TRAINING_SUBJECTS))[: self.damaged_files].tolist()
        return {name: DAMAGE[index % len(DAMAGE)] for index, name in enumerate(chosen)}

    def _names(self, among: frozenset[int]) -> list[str]:
        names = {
            f"S{self.setups[p % len(self.setups)]:03d}C{c:03d}P{p:03d}R{r + 1:03d}A{a:03d}"
            for p in among.intersection(self.subjects)
            for c in self.cameras
            for r in range(self.replications)
            for a in self.actions
        }
        return sorted(names - NTU60.excluded)


def generate_recordings(folder: Path, config: DemoConfig) -> pd.DataFrame:
    """Writes the synthetic recordings, unless they are there already.

    Args:
        folder: Where the `.skeleton` files, README.txt and manifest.json go; made if absent. Synthetic
            recordings of other settings are replaced.
        config: What to generate.

    Returns:
        One row a file: `name` (without suffix), `damaged`, `damage` (one of `DAMAGE`, or "").

    Raises:
        UserError: The folder holds `.skeleton` files of another origin.

    Source: ours.
    """
    damage = config.damage
    files = [{"name": n, "damaged": n in damage, "damage": damage.get(n, "")} for n in config.names]
    wanted = {
        "synthetic": True,
        CODE: code_of(__name__),
        "config": config.model_dump(mode="json"),
        "files": files,
    }
    manifest, readme = folder / "manifest.json", folder / "README.txt"
    found: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError):  # one that is damaged is made again, with all that it says
        found = dict(json.loads(manifest.read_text(encoding="utf-8")))
    present = {path.stem for path in folder.glob("*.skeleton")}
    if not differences(found, wanted) and present == set(config.names):
        return pd.DataFrame(files)

    ours: set[str] = set()
    if readme.exists() and readme.read_text(encoding="utf-8").startswith(README[:20]):
        ours = {row["name"] for row in found.get("files", [])} | set(config.names)
    if present - ours:
        raise UserError(
            f"{folder}: expected no files but synthetic recordings of these settings, saw "
            f"{min(present - ours)}.skeleton; empty the folder or name another one."
        )
    manifest.unlink(missing_ok=True)
    for name in present:
        (folder / f"{name}.skeleton").unlink()
    folder.mkdir(parents=True, exist_ok=True)
    readme.write_text(README, encoding="utf-8")
    with Progress(config.names, title="making recordings up") as names:
        for name in names:
            text = _recording(name, config)
            if name in damage:
                text = _damaged(text, damage[name])
            (folder / f"{name}.skeleton").write_bytes(text.encode("ascii"))
    write_json(manifest, wanted)
    return pd.DataFrame(files)


def demo_corpus(config: DemoConfig) -> Corpus:
    """NTU RGB+D with the numbers of the made-up recordings, for `completeness.compare`.

    Args:
        config: What was generated. Files damaged on purpose belong into the quarantine: they do not count.

    Source: ours.
    """
    whole = sorted(set(config.names) - set(config.damage))
    index = pd.DataFrame([{"name": name, **NTU60.parse_name(name)} for name in whole])
    clips = Counter(index["action"])
    protocols = {}
    for name, protocol in NTU60.protocols.items():
        counts = protocol(index, val_share=0).value_counts()
        protocols[name] = replace(
            protocol,
            train=protocol.train & frozenset(index[protocol.by]),
            counts=(int(counts.get("train", 0)), int(counts.get("test", 0))),
        )
    return replace(
        NTU60,
        name="demo",
        protocols=protocols,
        clips=len(whole),
        clip_frames=77.6,  # counted in 60 files
        class_clips=tuple(clips[label] for label in range(len(NTU60.class_names))),
        captured=lambda _: set(whole),
        excluded=frozenset(),
    )


def _recording(name: str, config: DemoConfig) -> str:
    """The text of one undamaged file."""
    s, c, p, r, a = (int(digits) for digits in re.findall(r"\d{3}", name))
    # The performance is the same for all cameras: only the last generator knows which camera looks on.
    people = [
        Performer.draw(np.random.default_rng([config.seed, 1, p, actor]))
        for actor in range(ACTIONS[a].actors)
    ]
    world = perform(a, people, np.random.default_rng([config.seed, 2, s, p, r, a]))
    facing = np.deg2rad(0.0 if len(people) == 2 else TOWARD[3 if r % 2 == 0 else 2])
    world = world @ scipy.spatial.transform.Rotation.from_euler("Y", facing).as_matrix().T
    sensor_rng = np.random.default_rng([config.seed, 3, s, c, p, r, a])
    place = np.random.default_rng([config.seed, 4, s]).uniform([3.0, 1.0], [3.9, 1.4])
    return record(world, c, place, config.noise, config.dropped_frame_share, sensor_rng)


def _damaged(text: str, damage: str) -> str:
    """The text of a file spoilt in one of the ways of `DAMAGE`."""
    lines = text.splitlines(keepends=True)
    joint_counts = [index for index, line in enumerate(lines) if line.strip() == "25"]
    middle = joint_counts[len(joint_counts) // 2]
    if damage == "truncated":
        return "".join(lines[: middle + 12]) + lines[middle + 12][:30]
    if damage == "joint count":
        lines[middle] = lines[middle].replace("25", "24")
    elif damage == "text in a number":
        lines[middle + 3] = lines[middle + 3].replace(".", "o", 1)
    else:
        lines = []
    return "".join(lines)
