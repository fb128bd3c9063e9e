"""Stage 1 as a whole on a few made-up clips."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_training import schedule

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import json_checksum
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import NTU25
from llmar_pipeline.training.stream import SampleStream
from llmar_pipeline.vqvae import train as train_module
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.train import Language, train_vqvae

NAMES = [f"clip {i}" for i in range(6)]
WORDS = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
LANGUAGE = Language(words=WORDS, class_texts=WORDS[:3])
TRAINING = schedule(max_steps=6, micro_batch_size=4, save_every=6, log_every=3)


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("sequences"), np.random.default_rng(0)
    with StoreWriter(folder, 2, NTU25) as store, store.shard("all") as shard:
        for name in NAMES:
            shard.append(Sequence(name, rng.normal(0, 0.1, (2, 20, 25, 3)).cumsum(1).astype(np.float32)))
    return folder


def run(sequences, folder, language=LANGUAGE, training=None, **changes):
    return train_vqvae(
        sequences,
        NAMES,
        [0, 1, 2, 0, 1, 2],
        VQVAEConfig(**{"code_dim": 16, "codes": 32, "width": 16, "frames": 16, "mmd_words": 20} | changes),
        AugmentationConfig(min_crop=0.5, rotation=0.3, tilt=0.1, scale=0.1, noise=0.0, mirror=False),
        TRAINING.model_copy(update=training or {}),
        folder,
        language,
    )


def test_the_history_has_every_term_and_the_health_of_the_codes(sequences, tmp_path):
    model, history = run(sequences, tmp_path, auxiliary="text")
    assert not model.training
    terms = [
        f"{name}_loss" for name in ("reconstruction", "embedding", "commitment", "zipf", "context", "mmd")
    ]
    health = ["auxiliary_loss", "codes_in_use", "perplexity", "dead_codes", "zipf_js", "error"]
    assert [record["step"] for record in history] == [3, 6]
    assert all(np.isfinite(record[name]) for record in history for name in [*terms, *health])


@pytest.mark.parametrize("term", ["zipf", "context", "mmd"])
def test_a_term_of_weight_zero_is_gone(term, sequences, tmp_path):
    _, history = run(sequences, tmp_path, **{f"{term}_weight": 0})
    present = {name for name in ("zipf", "context", "mmd") if f"{name}_loss" in history[-1]}
    assert present == {"zipf", "context", "mmd"} - {term}


@pytest.mark.parametrize(("changes", "term"), [({}, "mmd_weight"), ({"auxiliary": "text"}, "auxiliary=text")])
def test_terms_that_need_the_language_model_say_so(changes, term, sequences, tmp_path):
    language = Language(words=WORDS if changes else None)
    with pytest.raises(UserError, match=term):
        run(sequences, tmp_path, language, **changes)


def test_other_words_start_over(sequences, tmp_path, caplog):
    run(sequences, tmp_path)
    run(sequences, tmp_path, Language(words=WORDS + 1))
    assert "language.words changed" in caplog.text


@pytest.mark.parametrize("changed", ["other", "clip 3"])
def test_only_a_clip_that_trains_starts_it_over(changed, tmp_path, caplog):
    """The clips lie in another shard, too."""
    rng = np.random.default_rng(0)
    data = {name: rng.normal(0, 0.1, (1, 9, 25, 3)).astype(np.float32) for name in [*NAMES, "other"]}
    for folder, names in (("before", list(data)), ("after", list(data)[::-1])):
        with StoreWriter(tmp_path / folder, 2, NTU25) as store:
            for shard_names in (names[:3], names[3:]):
                with store.shard(folder) as shard:
                    for name in shard_names:
                        shard.append(Sequence(name, data[name]))
        data[changed] = data[changed] + 1
    before, _ = run(tmp_path / "before", tmp_path / "checkpoints")
    after, _ = run(tmp_path / "after", tmp_path / "checkpoints")
    again = changed in NAMES
    assert ("data changed" in caplog.text) is again
    same = all(torch.equal(one, after.state_dict()[name]) for name, one in before.state_dict().items())
    assert same is not again


@pytest.mark.parametrize(("balance", "expected"), [("none", None), ("classes", [0, 1, 2, 0, 1, 2])])
def test_the_stream_knows_the_classes_where_they_are_balanced(
    balance, expected, sequences, tmp_path, monkeypatch
):
    given = []

    def stream(*arguments):
        given.append(arguments[4])
        return SampleStream(*arguments)

    monkeypatch.setattr(train_module, "SampleStream", stream)
    run(sequences, tmp_path, training={"balance": balance, "max_steps": 1})
    assert given == [expected]
    labels = json.loads((tmp_path / "fingerprint.json").read_text())["labels"]
    assert labels == json_checksum(expected or [])


def test_mixed_precision_stays_near_float32(sequences, tmp_path):
    """Weights stay float32; the terms differ by bfloat16's three digits, no more."""
    (model, mixed), (_, exact) = (
        run(sequences, tmp_path / precision, training={"precision": precision, "log_every": 1})
        for precision in ("bfloat16", "float32")
    )
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert mixed[0]["reconstruction_loss"] != exact[0]["reconstruction_loss"]
    for name in ("reconstruction_loss", "zipf_loss", "mmd_loss"):
        assert mixed[0][name] == pytest.approx(exact[0][name], rel=0.02), name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_networks_train_alike(sequences, tmp_path):
    (model, compiled), (_, plain) = (
        run(sequences, tmp_path / str(on), training={"compile": on}) for on in (True, False)
    )
    assert [r["loss"] for r in compiled] == pytest.approx([r["loss"] for r in plain], rel=1e-3)
    model.save(tmp_path / "model")
    assert not any("_orig_mod" in name for name in model.state_dict())
