"""The whole recogniser on a tiny model: the evaluation's answers, and folders that are whole or refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_recordings import VALID
from tiny_llm import CLASS_NAMES
from tiny_recognizer import NORMALIZATION, write_recognizer, write_vqvae

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.demo.recordings import DemoConfig, generate_recordings
from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.answers import answer_clips, model_fingerprint
from llmar_pipeline.evaluation.config import EvaluationConfig
from llmar_pipeline.ingestion.ingest import IngestionConfig, ingest
from llmar_pipeline.language.samples import naive_bayes
from llmar_pipeline.language.trained_model import load_model, save_model
from llmar_pipeline.recognition.stage1_answers import Encoded, code_chances
from llmar_pipeline.recognizer import Recognizer
from llmar_pipeline.recognizer_folder import complete_recognizer
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.normalization import normalize_store
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.topology import KINECT20, NTU25, Body
from llmar_pipeline.vqvae.config import TokenizationConfig
from llmar_pipeline.vqvae.tokenize import tokenize_clips

NO_AUGMENTATION = AugmentationConfig(min_crop=1, rotation=0, tilt=0, scale=0, noise=0, mirror=False)
BLOCKED = (
    "kedro,kedro_datasets,mlflow,pandas,pyarrow,plotly,matplotlib,sklearn,scipy,joblib,omegaconf,geoopt,gguf,"
    "kedro_viz,jinja2,PIL"
)
VARIANTS = {
    "paper": {},
    "parts and levels": {"body_parts": True, "residual_levels": 2},
    "features": {"input": "features"},
    "all weights tuned": {"method": "full"},
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Made-up recordings of one and of two persons."""
    folder = tmp_path_factory.mktemp("recordings")
    config = DemoConfig(subjects=(1, 3), cameras=(1,), setups=(1,), actions=(8, 59), damaged_files=0)
    generate_recordings(folder, config)
    return folder


@pytest.fixture(scope="module")
def stored(recordings, tmp_path_factory):
    """The same as the pipelines store them."""
    folder = tmp_path_factory.mktemp("stored")
    settings = IngestionConfig(workers=1, max_quarantined_share=0)
    ingest(CORPORA["ntu60"], recordings, folder / "recordings", settings)
    return normalize_store(folder / "recordings", folder / "sequences", NORMALIZATION)


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request, stored, tiny_llm_folder, tmp_path_factory):
    """A recogniser's folder, and whether it reads features."""
    folder = tmp_path_factory.mktemp("models")
    settings = dict(VARIANTS[request.param])
    language = {key: settings.pop(key) for key in ("input", "method") if key in settings}
    write_vqvae(folder / "vqvae", SequenceStore.open(stored).body, **settings)
    made = write_recognizer(
        folder / "recognizer", folder / "vqvae", tiny_llm_folder, CORPORA["ntu60"], **language
    )
    return made, "input" in language


@pytest.fixture
def folder(stored, tiny_llm_folder, tmp_path):
    write_vqvae(tmp_path / "vqvae", SequenceStore.open(stored).body)
    return write_recognizer(tmp_path / "recognizer", tmp_path / "vqvae", tiny_llm_folder, CORPORA["ntu60"])


def test_answers_are_those_of_the_evaluation(variant, recordings, stored, tmp_path):
    folder, features = variant
    names = SequenceStore.open(stored).names
    table = pd.DataFrame({"name": names, "split": "test", "label": 0, "action": CLASS_NAMES[0]})
    config = TokenizationConfig(readings=0, batch_size=3, seed=0)
    file = tmp_path / "features.npy" if features else None
    sentences = tokenize_clips(folder / "vqvae", stored, table, config, NO_AUGMENTATION, file)
    evaluation = EvaluationConfig(batch_size=3, seed=0, table_rows=1, film_strips=0)
    predictions = answer_clips(folder, sentences, tmp_path, tmp_path, evaluation).test.set_index("name")

    recognizer = Recognizer.load(folder, cache=tmp_path)
    firsts = set()
    files = [recordings / f"{name}.skeleton" for name in sentences["name"]]
    together = list(recognizer.predict_all(files, top_k=100, batch_size=3))
    for name, codes, one in zip(sentences["name"], sentences["codes"], together, strict=True):
        answer = recognizer.predict(recordings / f"{name}.skeleton", top_k=100)
        assert (one.clip, one.names, one.codes) == (answer.clip, answer.names, answer.codes)
        np.testing.assert_allclose(one.probabilities, answer.probabilities, rtol=0, atol=1e-5 + 2e-3)
        row = predictions.loc[name]
        assert answer.clip == name
        assert answer.codes == tuple(codes)
        assert answer.names[0] == row["predicted"]
        assert sorted(answer.names) == sorted(CLASS_NAMES)
        assert list(answer.probabilities) == sorted(answer.probabilities, reverse=True)
        expected = [row[f"p:{name}"] for name in answer.names]
        assert answer.bound <= 1e-3
        np.testing.assert_allclose(answer.probabilities, expected, rtol=0, atol=1e-5 + row["bound"])
        firsts.add((answer.names, answer.codes))
    assert len(firsts) > 1


def test_what_comes_before_a_recording_that_cannot_be_read_is_answered(folder, recordings, tmp_path):
    recognizer = Recognizer.load(folder, cache=tmp_path)
    good = sorted(recordings.glob("*.skeleton"))[:2]
    answers = recognizer.predict_all([*good, tmp_path / "none.skeleton", *good], batch_size=4)
    assert [next(answers).clip for _ in good] == [file.stem for file in good]
    with pytest.raises(UserError, match=r"none\.skeleton"):
        next(answers)
    assert list(recognizer.predict_all([])) == []
    with pytest.raises(UserError, match="batch_size=0; correct the call"):
        recognizer.predict_all(good, batch_size=0)


def test_what_is_printed(folder, recordings, tmp_path):
    recognizer = Recognizer.load(folder, cache=tmp_path)
    answer = recognizer.predict(str(recordings / "S001C001P001R001A059.skeleton"), top_k=2)
    lines = str(answer).splitlines()
    assert lines[0] == "S001C001P001R001A059"
    assert lines[1] == f"{answer.probabilities[0]:7.1%}  {answer.names[0]}"
    assert len(lines) == 4
    assert lines[3] == f"sentence: {answer.sentence}"
    assert answer.sentence.split()[0] == f"<a{answer.codes[0]}>"
    assert (recognizer.body.topology.name, recognizer.class_names) == ("ntu25", CLASS_NAMES)


def test_a_file_of_any_name_a_sequence_and_an_array_are_one(folder, recordings, tmp_path):
    recognizer = Recognizer.load(folder, cache=tmp_path)
    file = recordings / "S001C001P001R001A059.skeleton"
    shutil.copyfile(file, tmp_path / "my own.skeleton")
    known = recognizer.predict(file)
    sequence = CORPORA["ntu60"].load(file)
    padded = np.concatenate(
        [sequence.data, np.full((2 - len(sequence.data), *sequence.data.shape[1:]), np.nan)]
    )
    for recording in (tmp_path / "my own.skeleton", sequence, sequence.data, padded):
        answer = recognizer.predict(recording)
        assert (answer.names, answer.probabilities) == (known.names, known.probabilities)
        assert answer.codes == known.codes
    assert recognizer.predict(sequence.data).clip == "array"


def test_other_classes_replace_the_list(folder, recordings, tmp_path):
    recognizer = Recognizer.load(folder, cache=tmp_path)
    file = recordings / "S001C001P001R001A059.skeleton"
    answer = recognizer.predict(file, classes=["jump", "throw", "fall"])
    assert sorted(answer.names) == ["fall", "jump", "throw"]
    assert sum(answer.probabilities) == pytest.approx(1)
    everything = recognizer.predict(file, top_k=99)
    assert len(everything.names) == len(CLASS_NAMES)
    assert sum(everything.probabilities) == pytest.approx(1)
    for mistake in ({"classes": "throw"}, {"top_k": 0}):
        with pytest.raises(
            UserError, match="expected classes as a list of names, top_k and batch_size from 1 on"
        ):
            recognizer.predict(file, **mistake)
    with pytest.raises(UserError, match="at least one class name"):
        recognizer.predict(file, classes=[])


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (
            np.ones((1, 9, 20, 3), np.float32),
            r"a recording of ntu25 .*2 persons at most, saw \[1, 9, 20, 3\]",
        ),
        (np.ones((3, 9, 25, 3), np.float32), r"at most, saw \[3, 9, 25, 3\]"),
        (np.ones((9, 25, 3), np.float32), "array .person, frame, joint, coordinate."),
        (np.full((1, 9, 25, 3), np.nan, np.float32), "not all missing"),
        (np.full((1, 9, 25, 3), np.inf), "coordinates that are numbers"),
        ("no such file.skeleton", "expected a recording that can be read, saw No such file"),
        ("no such\0file", "saw .*null"),
    ],
)
def test_what_cannot_be_recognised(folder, tmp_path, data, seen):
    with pytest.raises(UserError, match=seen) as caught:
        Recognizer.load(folder, cache=tmp_path).predict(data)
    assert "\n" not in str(caught.value)


def test_users_own_recordings_are_read_as_their_folder_said(tiny_llm_folder, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 400, (2, 9, 17, 2)).round(3)
    np.savez(raw / "a.npz", keypoints=keypoints)
    rows = [
        f"{frame},{person},{joint},{x},{y}"
        for (person, frame, joint), (x, y) in zip(np.ndindex(2, 9, 17), keypoints.reshape(-1, 2), strict=True)
    ]
    (tmp_path / "b.csv").write_text("\n".join(["frame,person,joint,x,y", *rows]))
    (raw / "corpus.yml").write_text("{layout: coco17, units: pixels, classes: [sit, stand], persons: 3}")
    (raw / "clips.csv").write_text("file,action\na.npz,sit\n")
    corpus = CORPORA["custom"].open(raw)
    settings = IngestionConfig(workers=1, max_quarantined_share=0)
    ingest(corpus, raw, tmp_path / "recordings", settings)
    stored = normalize_store(tmp_path / "recordings", tmp_path / "sequences", NORMALIZATION)
    write_vqvae(tmp_path / "vqvae", SequenceStore.open(stored).body)
    table = pd.DataFrame({"name": ["a"], "split": "test", "label": 0, "action": "sit"})
    expected = tokenize_clips(
        tmp_path / "vqvae", stored, table, TokenizationConfig(readings=0), NO_AUGMENTATION
    )["codes"][0]
    folder = write_recognizer(tmp_path / "recognizer", tmp_path / "vqvae", tiny_llm_folder, corpus)
    shutil.move(raw / "a.npz", tmp_path / "a.npz")
    shutil.rmtree(raw)
    recognizer = Recognizer.load(folder, cache=tmp_path)
    for file in ("a.npz", "b.csv"):
        assert recognizer.predict(tmp_path / file).codes == tuple(expected)


FILES = [
    "action_tokens.safetensors",
    "adapter_config.json",
    "adapter_model.safetensors",
    "language_model.json",
    "vqvae/config.json",
    "vqvae/model.safetensors",
]


def test_the_folder_names_its_files(folder):
    assert sorted(json.loads((folder / "recognizer.json").read_text())["files"]) == FILES
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*FILES, "recognizer.json"}  # peft's README.md knows of adapters alone


@pytest.mark.parametrize("name", [*FILES, "recognizer.json"])
def test_a_missing_or_altered_part_is_refused_by_name(folder, tmp_path, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{Path(name).name}.*run `kedro run --pipelines=stage2`") as caught:
        Recognizer.load(folder, cache=tmp_path)
    assert "\n" not in str(caught.value)
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name}.* saw (none|an incomplete one).*{folder}") as caught:
        Recognizer.load(folder, cache=tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="saw no such folder"):
        Recognizer.load(folder / "nowhere", cache=tmp_path)


def test_an_edited_setting_is_refused(folder, tmp_path):
    manifest = folder / "recognizer.json"
    manifest.write_text(manifest.read_text().replace('"center": true', '"center": false'))
    with pytest.raises(UserError, match=r"the content of recognizer\.json is not that of its checksum"):
        Recognizer.load(folder, cache=tmp_path)


def test_another_language_model_is_refused_and_one_that_moved_is_found(folder, tmp_path, tiny_llm_folder):
    moved = shutil.copytree(tiny_llm_folder, tmp_path / "moved")
    settings = folder / "language_model.json"
    settings.write_text(settings.read_text().replace(str(tiny_llm_folder), str(tmp_path / "gone")))
    facts = CorpusFacts.of(CORPORA["ntu60"])
    complete_recognizer(folder, tmp_path / "vqvae", NORMALIZATION, facts)
    with pytest.raises(UserError, match=f"saw nothing at {tmp_path / 'gone'}"):
        Recognizer.load(folder, cache=tmp_path)
    Recognizer.load(folder, llm=str(moved), cache=tmp_path)
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    with pytest.raises(UserError, match=f"another checksum.* at llm.model={moved}"):
        Recognizer.load(folder, llm=str(moved), cache=tmp_path)


def test_what_is_added_later_is_no_part_of_the_fingerprint(folder, tmp_path):
    model = load_model(folder, tmp_path)
    before = model_fingerprint(folder, model)
    assert set(before) >= {"adapter_model.safetensors", "language_model.json", "adapter_config.json"}
    assert "recognizer.json" not in before
    (folder / "notes.json").write_text("{}")
    (folder / "more.safetensors").write_bytes(b"")
    assert model_fingerprint(folder, model) == before
    Recognizer.load(folder, cache=tmp_path)


def test_a_folder_whose_model_is_written_anew_is_not_whole(folder, tmp_path):
    save_model(load_model(folder, tmp_path), folder)
    with pytest.raises(UserError, match=r"with recognizer\.json, saw an incomplete one"):
        Recognizer.load(folder, cache=tmp_path)


@pytest.mark.slow
def test_it_needs_neither_kedro_nor_pandas_nor_plots(folder, recordings, tmp_path):
    elsewhere = tmp_path / "empty"
    elsewhere.mkdir()
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from llmar_pipeline.recognizer import Recognizer\n"
        f"r = Recognizer.load({str(folder)!r}, cache={str(tmp_path)!r})\n"
        f"print(r.predict({str(recordings / 'S001C001P001R001A059.skeleton')!r}))\n"
        f"loaded = {{name.partition('.')[0] for name in sys.modules}} & set({BLOCKED.split(',')!r})\n"
        "print('loaded:', sorted(loaded))\n"
    )
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("without_packages.py"), BLOCKED, program],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = Recognizer.load(folder, cache=tmp_path).predict(recordings / "S001C001P001R001A059.skeleton")
    assert done.stdout == f"{answer}\nloaded: []\n"
    assert not list(elsewhere.iterdir())


def test_sequences_that_the_pipelines_normalise_alike(folder, recordings, stored, tmp_path):
    """A recording with an absent second person is stored padded, and normalised without."""
    recognizer = Recognizer.load(folder, cache=tmp_path)
    sequence = CORPORA["ntu60"].load(recordings / "S001C001P001R001A008.skeleton")
    absent = np.concatenate([sequence.data, np.full_like(sequence.data, np.nan)])[:2]
    assert recognizer.predict(Sequence("a", absent)).codes == recognizer.predict(sequence).codes


@pytest.fixture
def with_head(stored, tiny_llm_folder, tmp_path):
    """A recogniser with a class head and votes of its codes, whose language model is gone."""
    place, names = tmp_path / "with head", len(CLASS_NAMES)
    llm = shutil.copytree(tiny_llm_folder, place / "llm")
    write_vqvae(place / "vqvae", SequenceStore.open(stored).body, classes=names, auxiliary="class")
    votes = torch.from_numpy(naive_bayes(np.random.default_rng(0).integers(0, 9, (16, names))))
    made = write_recognizer(place / "recognizer", place / "vqvae", llm, CORPORA["ntu60"], votes=votes)
    shutil.rmtree(llm)
    return made, votes


def test_the_class_head_answers_as_in_the_evaluation(with_head, recordings, stored, tmp_path):
    folder, _ = with_head
    recognizer = Recognizer.load(folder, read="head")
    there = sorted(recordings.glob("*.skeleton"))
    files = [there[number % len(there)] for number in range(len(CLASS_NAMES))]
    table = pd.DataFrame({"name": [file.stem for file in files], "split": "train", "action": CLASS_NAMES})
    table["label"] = range(len(CLASS_NAMES))
    config = TokenizationConfig(readings=0)
    told = tokenize_clips(folder / "vqvae", stored, table, config, NO_AUGMENTATION)
    for answer, head, codes in zip(
        recognizer.predict_all(files, top_k=99), told["head"], told["codes"], strict=True
    ):
        order = np.argsort(-head)
        assert answer.names == tuple(CLASS_NAMES[label] for label in order)
        np.testing.assert_allclose(answer.probabilities, np.exp(head[order]), rtol=1e-4)
        assert (answer.codes, answer.bound) == (tuple(codes), 0)
    some = recognizer.predict(files[0], classes=CLASS_NAMES[:2])
    assert set(some.names) == set(CLASS_NAMES[:2])
    assert sum(some.probabilities) == pytest.approx(1)


def test_codes_answer_by_what_was_counted_in_training(with_head, recordings):
    folder, votes = with_head
    recognizer = Recognizer.load(folder, read="codes")
    answer = recognizer.predict(sorted(recordings.glob("*.skeleton"))[0], top_k=99)
    shares = np.exp(votes.numpy().astype(float))
    likelihood = np.prod([shares[code] / shares.max() for code in answer.codes], axis=0)
    expected = dict(zip(CLASS_NAMES, likelihood / likelihood.sum(), strict=True))
    assert dict(zip(answer.names, answer.probabilities, strict=True)) == pytest.approx(expected, rel=1e-4)


def test_who_cannot_answer_says_so(with_head, folder, recordings, tmp_path):
    with pytest.raises(
        UserError, match=r"expected a class head .*--read=llm, or train one with --params=exp"
    ):
        Recognizer.load(folder, read="head")
    with pytest.raises(UserError, match="what each code says of the classes"):
        Recognizer.load(folder, read="codes")  # neither votes nor a head that has some
    with pytest.raises(UserError, match="expected read as one of llm, codes, head, saw 'oracle'"):
        Recognizer.load(folder, read="oracle")
    recognizer = Recognizer.load(with_head[0], read="head")
    file = min(recordings.glob("*.skeleton"))
    with pytest.raises(UserError, match="expected the language model, saw it not loaded"):
        recognizer.predict(file, read="llm")
    for classes, seen in ((["sit", "levitate"], "'sit'"), ([], "none"), (CLASS_NAMES[:1] * 2, "twice")):
        with pytest.raises(UserError, match=f"classes of the training with --read=codes.*saw .*{seen}"):
            recognizer.predict(file, classes=classes, read="codes")


def test_votes_of_a_head_are_averaged_over_the_codes():
    encoded = Encoded(torch.zeros(2, 1, 1, 1), torch.tensor([[[0, 1]], [[1, 1]]]), torch.zeros(2, 4, 1))
    logits = torch.tensor([[2.0, 0.0, 5.0], [0.0, 1.0, 5.0]])
    chances = code_chances(logits, encoded, [0, 1])
    expected = np.exp([[1.0, 0.5], [0.0, 1.0]])
    np.testing.assert_allclose(chances, expected / expected.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("kind", ["nwucla", "utdmhad"])
def test_recordings_of_another_kinect_are_read(folder, tmp_path, kind):
    _, name, content = VALID[kind]
    (tmp_path / name).write_bytes(content)
    recognizer = Recognizer.load(folder, cache=tmp_path)
    sequence = recognizer.read(tmp_path / name)
    assert sequence.data.shape[2:] == (25, 3)
    hand, tip, thumb = (NTU25.joints.index(f"left {name}") for name in ("hand", "hand tip", "thumb"))
    for missing in (tip, thumb):  # lies at the hand
        np.testing.assert_array_equal(sequence.data[:, :, missing], sequence.data[:, :, hand])
    assert sequence.remark.endswith("taken for those of ntu25")
    assert recognizer.predict(tmp_path / name).names


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("uav", r"3 coordinates, as of ntu25, saw 2 \(coco17\)"),
        ("custom npz", r"saw 2 \(coco17\)"),
        ("smarthome", r"three quarters of the joints of ntu25, .*in a recording of lcrnet13"),
    ],
)
def test_recordings_that_are_none_of_the_models_are_refused(folder, tmp_path, kind, reason):
    _, name, content = VALID[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: expected .*{reason}") as caught:
        Recognizer.load(folder, cache=tmp_path).read(tmp_path / name)
    assert "\n" not in caught.value.message


def test_each_person_and_each_pair_is_read(folder, recordings, tmp_path):
    recognizer = Recognizer.load(folder, cache=tmp_path)
    file = recordings / "S001C001P001R001A059.skeleton"
    ids = sorted({line.split()[0] for line in file.read_text().splitlines() if len(line.split()) == 10})
    people = recognizer.read_people(Source(file.stem, str(file)))
    one, other, pair = people
    assert {*one, *other} == set(pair) == set(ids)
    assert [body.decision for body in people[pair].bodies] == ["actor 1", "actor 2"]
    np.testing.assert_array_equal(people[pair].data, recognizer.read(file).data)
    for who, row in ((one, 0), (other, 1)):
        np.testing.assert_array_equal(people[who].data[0], people[pair].data[row])
    answers = list(recognizer.predict_all(people.values()))
    assert [answer.clip for answer in answers] == [
        f"{file.stem}, {' and '.join(who)}" for who in (one, other, pair)
    ]
    assert answers[2].probabilities == pytest.approx(recognizer.predict(file).probabilities, abs=2e-3)


def test_of_more_people_than_the_model_knows_the_first_are_read(tiny_llm_folder, recordings, tmp_path):
    write_vqvae(tmp_path / "vqvae", Body(KINECT20, 1))
    folder = write_recognizer(tmp_path / "recognizer", tmp_path / "vqvae", tiny_llm_folder, CORPORA["nwucla"])
    recognizer = Recognizer.load(folder, cache=tmp_path)
    file = recordings / "S001C001P001R001A059.skeleton"
    sequence = recognizer.read(file)
    assert sequence.n_persons == 1
    assert sequence.remark == "joints of ntu25 taken for those of kinect20; 1 of 2 people are read"
    assert [len(who) for who in recognizer.read_people(Source(file.stem, str(file)))] == [1, 1]


def test_a_recording_can_be_seen_as_its_codes_bring_it_back(folder, recordings, tmp_path):
    recognizer = Recognizer.load(folder, cache=tmp_path)
    before, after = recognizer.reconstruct(recognizer.read(recordings / "S001C001P001R001A059.skeleton"))
    assert before.shape == after.shape == (2, 16, 25, 3)
    assert np.isnan(before).sum() == np.isnan(after).sum() < before.size / 2
    assert recognizer.tokens_a_step == 1
