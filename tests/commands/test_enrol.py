"""`kedro enrol` and `kedro threshold` on a tiny model: what is typed, what is answered before and after."""

import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from tiny_llm import CLASS_NAMES
from tiny_recognizer import NORMALIZATION, write_recognizer, write_vqvae

from llmar_pipeline.cli import cli
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.demo.recordings import DemoConfig, generate_recordings
from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.refusals import CONTENT_FREE, HELD_OUT, RANDOM, SENTENCES, TEST, UNSEEN
from llmar_pipeline.evaluation.unknown import find_unknown
from llmar_pipeline.ingestion.ingest import IngestionConfig, ingest
from llmar_pipeline.recognition.known_classes import learn_known
from llmar_pipeline.recognizer import Recognizer
from llmar_pipeline.recognizer_folder import complete_recognizer
from llmar_pipeline.records import check_recorded, record
from llmar_pipeline.skeletons.normalization import normalize_store
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.vqvae.features import mean_features
from llmar_pipeline.vqvae.trained import load_vqvae


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Made-up recordings of one person (action 8) and of two (action 59)."""
    folder = tmp_path_factory.mktemp("recordings")
    config = DemoConfig(subjects=(1, 2, 3), cameras=(1,), setups=(1,), actions=(8, 59), damaged_files=0)
    generate_recordings(folder, config)
    return folder


@pytest.fixture(scope="module")
def trained(recordings, tiny_llm_folder, tmp_path_factory):
    """A model of one class, action 8, of which two subjects were held out; its store and its splits."""
    folder = tmp_path_factory.mktemp("trained")
    settings = IngestionConfig(workers=1, max_quarantined_share=0)
    ingest(CORPORA["ntu60"], recordings, folder / "recordings", settings)
    stored = normalize_store(folder / "recordings", folder / "sequences", NORMALIZATION)
    vqvae = write_vqvae(folder / "vqvae", SequenceStore.open(stored).body)
    model = write_recognizer(folder / "recognizer", folder / "vqvae", tiny_llm_folder, CORPORA["ntu60"])
    splits = pd.DataFrame({"name": SequenceStore.open(stored).names})
    acts = splits["name"].str.endswith("A008")
    splits["action"] = acts.map({True: CLASS_NAMES[0], False: "walk"})
    splits["split"] = "train"
    splits.loc[~splits["name"].str.endswith("P001R001A008"), "split"] = "test"
    held = splits[acts & (splits["split"] == "test")]
    learn_known(model, folder / "vqvae", stored, splits[splits["split"] == "train"], held)
    complete_recognizer(model, folder / "vqvae", NORMALIZATION, CorpusFacts.of(CORPORA["ntu60"]))
    return model, stored, splits, vqvae.settings.codes


@pytest.fixture
def model(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "recognizer")


def kedro(*arguments):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, result.output


def test_features_of_recordings_are_those_of_the_store(trained, recordings, tmp_path):
    folder, stored, splits, _ = trained
    recognizer = Recognizer.load(folder, cache=tmp_path)
    files = [recordings / f"{name}.skeleton" for name in splits["name"]]
    expected = mean_features(
        load_vqvae(folder / "vqvae"), SequenceStore.open(stored), splits["name"].tolist()
    )
    assert len(np.unique(expected, axis=0)) == len(files)
    for size in (4, 32):
        np.testing.assert_allclose(recognizer.features(files, batch_size=size), expected, atol=1e-9)
    assert recognizer.features([]).shape == (0, 32)


def test_a_class_is_enrolled_ranked_shown_and_removed(model, recordings, tmp_path):
    walks, (known,) = sorted(recordings.glob("*A059.skeleton")), recordings.glob("*P003*A008.skeleton")
    before = Recognizer.load(model, cache=tmp_path)
    asked = before.predict(walks[-1], top_k=99)
    assert asked.none_of_these
    assert str(asked).splitlines()[1] == f"none of these (nearest: {asked.names[0]})"
    assert not before.predict(known).none_of_these
    assert not before.predict(walks[-1], classes=["sit", "stand"]).none_of_these

    code, output = kedro("enrol", "--name", "walk on", "--model", model, *walks[:2])
    assert (code, output) == (0, f"walk on: enrolled by 2 recordings, beside {model}\n")
    after = Recognizer.load(model, cache=tmp_path)
    answer = after.predict(walks[-1], top_k=99)
    assert answer.names[0] == "walk on"
    assert answer.probabilities[0] > 0.5
    assert set(answer.names) == {*CLASS_NAMES, "walk on"}
    assert sum(answer.probabilities) == pytest.approx(1)
    assert [name for name in answer.names if name != "walk on"] == list(asked.names)
    for own in (["sit", "stand"], after.class_names):  # as it is, also where it is that of the training
        assert "walk on" not in after.predict(walks[-1], classes=own, top_k=99).names

    assert kedro("enrol", "--list", "--model", model) == (
        0,
        f"walk on: 2 ({walks[0].stem}, {walks[1].stem})\n",
    )
    code, output = kedro("enrol", "--remove", "walk on", "--model", model)
    assert (code, output) == (0, f"walk on: no longer enrolled beside {model}\n")
    assert kedro("enrol", "--list", "--model", model)[1] == f"no class is enrolled beside {model}\n"
    assert Recognizer.load(model, cache=tmp_path).predict(walks[-1], top_k=99) == asked


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "expected one of --name NAME FILE..., --list and --remove NAME, saw none or several"),
        (["--list", "--remove=walk"], "saw none or several of them"),
        (["--list", "a.skeleton"], "expected files with --name alone, saw a.skeleton"),
        (["--name=walk"], "expected recordings of 'walk' to learn it from, saw none"),
        (["--name=walk", "a.skeleton", "./a.skeleton"], "saw one of them twice"),
        (
            ["--name=walk", "a.skeleton"],
            "a.skeleton: expected a recording that can be read, saw No such file",
        ),
        (["--name=throw", "a.skeleton"], "expected the name of a class that the model does not have"),
        (["--remove=walk"], "expected the name of an enrolled class, saw 'walk'"),
    ],
)
def test_what_is_typed_wrongly_is_refused_in_one_line(trained, arguments, line):
    code, output = kedro("enrol", "--model", trained[0], *arguments)
    assert code == 1
    assert line in output
    assert len(output.splitlines()) == 1


def test_a_model_from_before_models_knew_their_classes_is_refused_in_one_line(model, tmp_path):
    (model / "known_classes.safetensors").unlink()
    complete_recognizer(model, model / "vqvae", NORMALIZATION, CorpusFacts.of(CORPORA["ntu60"]))
    for command in (["enrol", "--name=walk", "a.skeleton"], ["threshold"]):
        code, output = kedro(command[0], "--model", model, *command[1:])
        assert (code, output.count("\n")) == (1, 1)
        assert "saw none: it is from before models had it; run `kedro run --pipelines=lora`" in output
    assert Recognizer.load(model, cache=tmp_path).class_names == CLASS_NAMES


def test_without_a_model_it_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (["enrol", "--list"], ["threshold"]):
        code, output = kedro(*command)
        assert (code, output.count("\n")) == (1, 1)
        assert "expected a trained model below data/06_models, saw none; train one by `kedro run`" in output


def test_a_threshold_is_chosen_anew_and_kept_beside_the_model(model, trained, recordings, tmp_path):
    twin = shutil.copytree(trained[0], tmp_path / "twin")
    held_out = sorted(recordings.glob("*P00[23]*A008.skeleton"))
    code, output = kedro("threshold", "--model", model, "--keep=0.5", twin)
    assert code == 0
    assert f"keeps 50 % of {len(held_out)} held-out clips" in output
    recognizer = Recognizer.load(model, cache=tmp_path)
    assert sorted(recognizer.predict(file).none_of_these for file in held_out) == [False, True]
    code, output = kedro("threshold", "--model", model, "--keep=nan", twin)
    assert (code, "share to be kept above 0 and at most 1, saw nan" in output) == (1, True)
    path = model / "added" / "threshold.json"
    path.write_text(path.read_text().replace("0.5", "0.6"))
    with pytest.raises(UserError, match=r"threshold.json as it was written, saw another.*kedro threshold"):
        Recognizer.load(model, cache=tmp_path)


def test_recordings_of_other_actions_are_asked_and_change_nothing(model, trained, recordings, tmp_path):
    twin = shutil.copytree(trained[0], tmp_path / "twin")
    others, known = tmp_path / "others", tmp_path / "known"
    for folder, action in ((others, "A059"), (known, "A008")):
        folder.mkdir()
        for file in recordings.glob(f"*{action}.skeleton"):
            shutil.copy(file, folder)
    (others / "S001C001P001R001A060.skeleton").write_text("nothing")
    code, output = kedro(
        "threshold", "--model", model, "--keep=1", twin, f"--others={others}", f"--others={known}"
    )
    assert code == 1  # one cannot be read
    recognizer = Recognizer.load(model, cache=tmp_path)
    files = [*sorted(others.glob("*A059*")), *sorted(known.iterdir())]
    refused = [recognizer.predict(file).none_of_these for file in files]
    assert "A060.skeleton, line 1: expected" in output
    assert "keeps 100 %" in output
    assert f"others: {np.mean(refused):.1%} of {len(files)} recordings are none of these; area" in output
    before = (model / "added" / "threshold.json").read_bytes()
    code, output = kedro("threshold", "--model", model, f"--others={known}")
    assert (code, "keeps" in output) == (0, False)
    assert (model / "added" / "threshold.json").read_bytes() == before
    code, output = kedro("threshold", "--model", model, "--others=nothing.skeleton", twin)
    assert code == 1
    assert "expected recordings of other actions with --others, saw none that can be read" in output


def test_a_model_trained_anew_has_nothing_that_was_added_to_the_earlier_one(model, trained, recordings):
    facts, aside = CorpusFacts.of(CORPORA["ntu60"]), model.parent / "recognizer-added" / "enrolled"
    other = shutil.copytree(model / "vqvae", model.parent / "other")
    weights = load_file(other / "model.safetensors")
    first = next(iter(weights))
    save_file(weights | {first: weights[first] + 1}, other / "model.safetensors")
    kedro("enrol", "--name", "walk", "--model", model, next(recordings.glob("*A059.skeleton")))
    record(model)
    complete_recognizer(model, trained[0] / "vqvae", NORMALIZATION, facts)
    assert kedro("enrol", "--remove", "walk", "--model", model)[0] == 0  # the same stage 1: it has stayed
    check_recorded(model, "what is added is no part of what was written")
    kedro("enrol", "--name", "walk", "--model", model, next(recordings.glob("*A059.skeleton")))
    complete_recognizer(model, other, NORMALIZATION, facts)
    assert not (model / "added").exists()
    assert len(list(aside.glob("*.json"))) == 1


def test_test_clips_and_sentences_that_are_no_action_are_asked(trained):
    model, stored, splits, codes = trained
    tested = splits[splits["split"] == "test"]
    drawn = np.random.default_rng(0).integers(0, codes, (len(tested), 4))
    made = find_unknown(model, stored, splits, tested.assign(reading=0, codes=list(drawn)))
    known = int((tested["action"] == CLASS_NAMES[0]).sum())
    assert made["kind"].value_counts().to_dict() == {
        **dict.fromkeys((HELD_OUT, TEST, SENTENCES, CONTENT_FREE, RANDOM), known),
        UNSEEN: int((splits["action"] == "walk").sum()),
    }
    told = made.groupby("kind")["distance"].apply(sorted)
    assert told[TEST] == pytest.approx(told[HELD_OUT], rel=1e-4)
    assert made["threshold"].iloc[0] == pytest.approx(max(told[HELD_OUT]), rel=1e-4)
    assert min(told[UNSEEN]) > max(told[TEST])
