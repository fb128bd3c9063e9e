"""What is made again and what is reused after an edit, and that the result is that of a fresh folder."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from workplaces import Workplace, make_tiny

from llmar_pipeline import code_digest
from llmar_pipeline.language import instructions

pytestmark = pytest.mark.slow

STAGES = {
    "recordings": "02_intermediate/demo/recordings/recordings/shard-00000.bin",
    "sequences": "03_primary/demo/recordings/sequences/shard-00000.bin",
    "vqvae": "06_models/demo/xsub/llm_ar-tiny/vqvae_checkpoints/checkpoint-12/model.safetensors",
    "sentences": "04_feature/demo/xsub/llm_ar-tiny/kept_sentences/from_0000000.npy",
    "lora": "06_models/demo/xsub/llm_ar-tiny/lora_checkpoints/checkpoint-12/model.safetensors",
    "scores": "07_model_output/demo/xsub/llm_ar-tiny/scores/test/from_0000000.npy",
}
"""A file of what each stage keeps, under the data folder."""


@dataclass
class Place:
    """A copy of everything that can be edited, and a folder in which a whole run was made."""

    workplace: object
    package: Path
    prompts: Path
    llm: Path
    kedro: Callable
    log: pytest.LogCaptureFixture | None = None

    def stamps(self) -> dict[str, tuple[int, int]]:
        stats = {stage: (self.data / file).stat() for stage, file in STAGES.items()}
        return {stage: (stat.st_ino, stat.st_mtime_ns) for stage, stat in stats.items()}

    @property
    def data(self) -> Path:
        return self.workplace.folder / "data"

    def run(self, data: str = "data") -> str:
        self.log.clear()
        code, output = self.kedro("--pipelines=full", data=data)
        assert code == 0, output
        return output + self.log.text

    def edit(self, file: Path, old: str, new: str) -> None:
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    @property
    def size(self) -> Path:
        return self.workplace.conf / "sizes" / "tiny.yml"


@pytest.fixture
def place(whole_run, caplog):
    whole_run.log = caplog
    return whole_run


@pytest.fixture(scope="module")
def whole_run(workplace, kedro, project, tiny_llm_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("edited")
    package = shutil.copytree(project / "src" / "llmar_pipeline", folder / "llmar_pipeline")
    llm = shutil.copytree(tiny_llm_folder, folder / "llm")
    made = Place(workplace, package, package / "language" / "prompts", llm, kedro)
    made.edit(made.size, str(tiny_llm_folder), str(llm))
    made.edit(made.size, "schedule: cosine", "schedule: constant")
    with pytest.MonkeyPatch.context() as patch:
        # The digests are those of the copy; the code that runs is the project's own.
        patch.setattr(code_digest, "_ROOT", package)
        patch.setattr(instructions, "files", lambda _: package / "language")
        assert kedro("--pipelines=full")[0] == 0
        yield made


def comment_and_wording(place):
    file = place.package / "vqvae" / "losses.py"
    file.write_text(f"# A comment.\n{file.read_text()}")
    place.edit(place.package / "vqvae" / "model.py", "expected motion", "wanted motion")


def loss(place):
    place.edit(place.package / "training" / "losses.py", "def total_loss(", "SPARE = 1\n\n\ndef total_loss(")


def reader(place):
    place.edit(place.package / "corpora" / "ntu.py", "_CLASSES = ", "_SPARE = 1\n_CLASSES = ")


def another_reader(place):
    place.edit(place.package / "corpora" / "uav.py", "import re", "import re\n\n_SPARE = 1")


def scoring(place):
    place.edit(
        place.package / "language" / "label_trie.py", "class LabelTrie", "SPARE = 1\n\n\nclass LabelTrie"
    )


def report(place):
    file = place.package / "reporting" / "report.py"
    file.write_text(file.read_text() + "\n\nSPARE = 1\n")


def moved(place):
    shutil.move(place.package / "vqvae" / "losses.py", place.package / "training" / "losses.py")
    for file in place.package.rglob("*.py"):
        text = file.read_text().replace("llmar_pipeline.vqvae.losses", "llmar_pipeline.training.losses")
        alone = re.sub(r"(from llmar_pipeline.vqvae import .*)\blosses\b", r"\1__name__", text)
        file.write_text(alone if alone == text else f"from llmar_pipeline.training import losses\n{alone}")


def often(place):
    place.edit(place.size, "save_every: 1, log_every: 2", "save_every: 4, log_every: 3")


def prompt(place):
    place.edit(place.prompts / "recognize.txt", "corresponding", "matching")


def readings(place):
    place.edit(place.size, "readings: 1", "readings: 2")


def swapped_llm(place):
    file = place.llm / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in sorted(weights) if "mlp" in name)
    save_file(weights | {name: weights[name] + 0.01}, file, metadata={"format": "pt"})


def renamed_llm(place):
    new = place.llm.rename(place.llm.with_name("renamed"))
    place.edit(place.size, str(place.llm), str(new))
    place.llm = new


def renamed_data(place):
    """The data folder goes away and comes back: as if it were on another disk."""
    copy = place.data.with_name("moved")
    shutil.copytree(place.data, copy)
    shutil.rmtree(place.data)
    copy.rename(place.data)


EDITS = [
    # (edit, what is made again, what the log must name)
    (comment_and_wording, set(), []),
    (report, set(), []),
    (another_reader, set(), []),
    (moved, set(), []),
    (often, set(), []),
    (renamed_llm, set(), []),
    (scoring, {"scores"}, ["the code of language/answer.py changed"]),
    (prompt, {"lora", "scores"}, ["instruction changed from"]),
    (readings, {"sentences", "lora", "scores"}, ["tokenization.readings changed from 1 to 2"]),
    (swapped_llm, {"lora", "scores"}, ["llm.weights changed from"]),  # its words are the same
]


def assert_as_from_a_fresh_folder(place):
    place.run(data="fresh")
    fresh = place.workplace.folder / "fresh"
    for name in ("predictions", "predictions_val", "predictions_shuffled"):
        file = f"07_model_output/demo/xsub/llm_ar-tiny/{name}.parquet"
        pd.testing.assert_frame_equal(
            pd.read_parquet(place.data / file), pd.read_parquet(fresh / file), check_exact=True
        )
    for stage in ("vqvae", "lora"):
        ours, theirs = (load_file(folder / STAGES[stage]) for folder in (place.data, fresh))
        assert all((ours[key] == value).all() for key, value in theirs.items()), stage
    shutil.rmtree(fresh)


def test_an_edit_makes_again_what_it_changes_and_nothing_else(place):
    for edit, again, said in EDITS:
        before = place.stamps()
        edit(place)
        output = place.run()
        after = place.stamps()
        changed = {stage for stage in STAGES if before[stage] != after[stage]}
        # A model trained again may come out the same to the last bit, and then its scores still count.
        certain = again - {"scores"} if "lora" in again else again
        assert certain <= changed <= again, (edit.__name__, output)
        for text in said:
            assert text in output, edit.__name__
        assert ("set aside" in output) == bool(again), (edit.__name__, output)
        if again - {"scores"}:
            assert_as_from_a_fresh_folder(place)


def test_a_changed_reader_or_loss_makes_all_behind_it_again(place):
    before = place.stamps()
    loss(place)
    output = place.run()
    after = place.stamps()
    # The weights come out the same here, since the edit only looks like one: the sentences know.
    assert {stage for stage in STAGES if before[stage] != after[stage]} == {"vqvae", "sentences"}
    assert "the code of training/losses.py changed" in output  # where `moved` put it
    assert list(place.data.rglob("vqvae.before-1"))
    before = after
    reader(place)
    output = place.run()
    after = place.stamps()
    assert {stage for stage in STAGES if before[stage] != after[stage]} == {"recordings"}
    assert "the code of corpora/ntu.py changed" in output


def test_a_moved_data_folder_is_continued(place):
    before = {file: (place.data / file).stat().st_mtime_ns for file in STAGES.values()}
    renamed_data(place)
    output = place.run()
    assert {file: (place.data / file).stat().st_mtime_ns for file in before} == before
    assert "set aside" not in output


def test_a_longer_training_goes_on_where_the_schedule_allows_and_a_shorter_one_starts_over(place):
    first = place.data / STAGES["vqvae"]
    before = first.stat().st_mtime_ns
    place.edit(place.size, "max_steps: 12, batch_size: 8", "max_steps: 14, batch_size: 8")
    place.run()
    longer = first.parents[1] / "checkpoint-14"
    assert longer.is_dir()
    assert first.stat().st_mtime_ns == before
    assert_as_from_a_fresh_folder(place)
    place.edit(place.size, "max_steps: 14, batch_size: 8", "max_steps: 12, batch_size: 8")
    output = place.run()
    assert "they go to step 14, max_steps is 12; set aside" in output
    assert not longer.exists()


def test_a_loss_that_is_really_edited_trains_as_in_a_fresh_folder(project, tiny_llm_folder, tmp_path):
    copy = tmp_path / "project"
    for name in ("src", "conf"):
        shutil.copytree(
            project / name, copy / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
        )
    shutil.copy(project / "pyproject.toml", copy)
    make_tiny(copy / "conf", tiny_llm_folder)
    edited = Workplace(copy, copy)

    def stage1(data: str) -> tuple[dict[str, torch.Tensor], str]:
        code, output = edited.kedro("--pipelines=stage1", data=data)
        assert code == 0, output
        return load_file(edited.file("06_models", "vqvae/model.safetensors", data)), output

    before, _ = stage1("data")
    losses = copy / "src" / "llmar_pipeline" / "vqvae" / "losses.py"
    code = losses.read_text()
    losses.write_text(
        f"{code}\n\n_whole = total_loss\n\n\ndef total_loss(*terms):\n    return 2 * _whole(*terms)\n"
    )
    again, output = stage1("data")
    fresh, _ = stage1("fresh")
    assert "the code of vqvae/losses.py changed" in output
    assert any((before[name] != value).any() for name, value in again.items())
    assert again.keys() == fresh.keys()
    assert all((again[name] == value).all() for name, value in fresh.items())
    aside = edited.file("06_models", "vqvae.before-1/model.safetensors")
    assert all((before[name] == value).all() for name, value in load_file(aside).items())
