import shutil
import textwrap
from pathlib import Path

import pytest

from llmar_pipeline import code_digest
from llmar_pipeline.code_digest import changed_modules, code_of

FILES = {
    "train.py": """
        '''Trains.'''
        from llmar_pipeline import losses
        from llmar_pipeline.parts.encoder import encode as make
        from llmar_pipeline.errors import UserError

        STEPS = 3  # few


        def train(x):
            '''Train.'''
            from llmar_pipeline.late import late

            return losses.total(make(x)) + late(STEPS)
    """,
    "losses.py": """
        def total(x):
            return 2 * x
    """,
    "parts/__init__.py": "",
    "parts/encoder.py": """
        import math


        class Encoder:
            '''Encodes.'''

            width = 2
            '''In joints.'''


        def encode(x):
            if x < 0:
                raise ValueError(f"expected 0 or more, saw {x}")
            return math.sqrt(x)


        def encode_differently(x):
            return x
    """,
    "late.py": """
        def late(x):
            return x
    """,
    "errors.py": "class UserError(Exception): ...",
    "elsewhere.py": "from llmar_pipeline.train import train",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))
    monkeypatch.setattr(code_digest, "_ROOT", tmp_path)
    return tmp_path


def edit(package: Path, name: str, old: str, new: str) -> list[str]:
    """Modules that count as changed after an edit."""
    before = code_of("train")
    text = (package / name).read_text()
    assert old in text
    (package / name).write_text(text.replace(old, new))
    return changed_modules(before, code_of("train"))


def test_a_module_stands_with_all_that_it_imports_of_ours_and_no_more(package: Path) -> None:
    assert list(code_of("train")) == ["late", "losses", "parts.encoder", "train"]
    assert list(code_of("losses")) == ["losses"]
    with pytest.raises(ModuleNotFoundError, match="no module nowhere"):
        code_of("nowhere")


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("losses.py", "2 * x", "3 * x", ["losses.py"]),
        ("parts/encoder.py", "width = 2", "width = 4", ["parts/encoder.py"]),
        ("late.py", "return x", "return -x", ["late.py"]),
        ("losses.py", "def total", "def spare(x):\n    return x\n\n\ndef total", ["losses.py"]),
        # The same name stands for another thing.
        ("train.py", "import encode as", "import encode_differently as", ["train.py"]),
        ("parts/encoder.py", "raise ValueError", "raise KeyError", ["parts/encoder.py"]),
        (
            "parts/encoder.py",
            'raise ValueError(f"expected 0 or more, saw {x}")',
            "pass",
            ["parts/encoder.py"],
        ),
        ("parts/encoder.py", "expected 0 or more, saw {x}", "below 0", []),
        ("train.py", "# few", "# many", []),
        ("train.py", "'''Train.'''", "'''Trains it all.'''", []),
        ("parts/encoder.py", "'''In joints.'''", "'''In numbers of joints.'''", []),
        ("parts/encoder.py", "def encode(x):\n", "def encode(x):\n\n", []),
        ("errors.py", "...", "code = 3", []),
        ("elsewhere.py", "import train", "import train as go", []),
    ],
)
def test_what_decides_counts_and_what_does_not_does_not(package, name, old, new, changed):
    assert edit(package, name, old, new) == changed


def test_a_file_or_a_function_that_is_only_moved_keeps_what_was_made(package: Path) -> None:
    before = code_of("train")
    shutil.move(package / "losses.py", package / "parts" / "losses.py")
    train = package / "train.py"
    train.write_text(
        train.read_text().replace("llmar_pipeline import losses", "llmar_pipeline.parts import losses")
    )
    assert list(code_of("train")) == ["late", "parts.encoder", "parts.losses", "train"]
    assert changed_modules(before, code_of("train")) == []

    late = (package / "late.py").read_text()
    (package / "parts" / "losses.py").write_text((package / "parts" / "losses.py").read_text() + late)
    (package / "late.py").write_text("from llmar_pipeline.parts.losses import late\n")
    assert changed_modules(before, code_of("train")) == []


def test_the_project_s_own_trainings_do_not_hang_on_what_only_speaks_or_draws() -> None:
    code = code_of("vqvae.train")
    assert {"vqvae.losses", "vqvae.model", "training.trainer", "skeletons.store"} <= set(code)
    assert not [name for name in code if name.split(".")[0] in {"evaluation", "io", "language", "corpora"}]
    assert not {"training.callbacks", "errors"} & set(code)
    assert not [name for name in code_of("language.lora") if name.startswith("vqvae")]
    assert not {"corpora.uav", "corpora.ntu"} & set(code_of("corpora.own.custom", "ingestion.ingest"))
