"""`kedro predict` on a tiny model: what is printed, what is refused, and what goes on all the same."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from small_recordings import VALID
from tiny_llm import CLASS_NAMES

from llmar_pipeline.cli import cli
from llmar_pipeline.command_line import models
from llmar_pipeline.command_line.program import Program
from llmar_pipeline.commands.predict import Asked, Prediction, class_list, load
from llmar_pipeline.corpora import corpus
from llmar_pipeline.corpora.formats.pyskl import forget
from llmar_pipeline.errors import UserError
from llmar_pipeline.progress import Progress
from llmar_pipeline.recognizer import Recognizer
from llmar_pipeline.recognizer_folder import newest_recognizer

ALL = Asked(None, 5, "llm", None, False)
KINECTS = ("ntu60", "nwucla", "utdmhad")


@pytest.fixture(scope="module")
def recognizer(tiny_recognizer_folder, tmp_path_factory):
    return Recognizer.load(tiny_recognizer_folder, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def predict(recognizer, capsys):
    """Answers, and gives how many had none, and what went to stdout and to stderr."""

    def run(*places, asked=ALL, **settings):
        prediction = Prediction(recognizer, asked, **settings)
        prediction.run(places)
        printed = capsys.readouterr()
        return prediction.failed, printed.out, printed.err

    return run


def put(folder, *kinds):
    """The small recordings of those kinds."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        (folder / VALID[kind][1]).write_bytes(VALID[kind][2])
    return [folder / VALID[kind][1] for kind in kinds]


def test_a_table_for_each_recording(predict, recognizer, tmp_path):
    (file,) = put(tmp_path, "ntu60")
    failed, out, err = predict(file, asked=ALL._replace(top=2))
    answer = recognizer.predict(file, top_k=2)
    assert (failed, err) == (0, "")
    assert out.splitlines() == [str(file), *str(answer).splitlines()[1:], ""]
    _, out, _ = predict(file, asked=ALL._replace(classes=("jump", "fall", "sit")))
    assert {line.split(maxsplit=1)[1] for line in out.splitlines()[1:4]} == {"jump", "fall", "sit"}


def test_json_lines_of_a_folder(predict, tmp_path):
    put(tmp_path / "deep", *KINECTS)
    failed, out, err = predict(tmp_path, as_json=True)
    assert (failed, err) == (0, "")
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["file"] for answer in answers] == sorted(
        str(tmp_path / "deep" / VALID[kind][1]) for kind in KINECTS
    )
    for answer in answers:
        assert sorted(answer["names"]) == sorted(CLASS_NAMES)
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=0.01)
        assert answer["sentence"].split()[0] == f"<a{answer['codes'][0]}>"
        assert ("remark" in answer) == ("skeleton" not in answer["file"][-9:])


def test_every_clip_of_a_pickle_gets_an_answer(predict, tmp_path):
    points = np.random.default_rng(0).normal(size=(1, 4, 25, 3)).astype(np.float32)
    clips = [{"frame_dir": f"clip{i}", "total_frames": 4, "keypoint": points + i} for i in range(3)]
    clips.append({"frame_dir": "other", "total_frames": 4, "keypoint": points[..., :2]})
    (tmp_path / "many.pkl").write_bytes(pickle.dumps({"split": {}, "annotations": clips}))
    forget()
    failed, out, err = predict(tmp_path / "many.pkl", as_json=True)
    assert [json.loads(line)["clip"] for line in out.splitlines()] == ["clip0", "clip1", "clip2"]
    assert failed == 1
    assert "3 coordinates, as of ntu25, saw 2 (openpose25)" in err
    _, out, _ = predict(tmp_path / "many.pkl")
    assert out.splitlines()[0] == f"{tmp_path / 'many.pkl'}: clip0"


def test_persons_and_pairs(predict, tmp_path):
    (file,) = put(tmp_path, "ntu60")
    failed, out, _ = predict(file, asked=ALL._replace(persons=True), as_json=True)
    answers = [json.loads(line) for line in out.splitlines()]
    one, other = "72057594037931690", "72057594037931691"
    assert failed == 0
    assert [set(answer["persons"]) for answer in answers] == [{one}, {other}, {one, other}]
    assert {decision for answer in answers for decision in answer["bodies"]} == {
        "actor 1",
        "dropped: seen in fewer than 12 frames",
    }
    _, out, _ = predict(file, asked=ALL._replace(persons=True))
    titles = [line for line in out.splitlines() if line.startswith(str(file))]
    assert [title.count("actor 1") + title.count("dropped") for title in titles] == [1, 1, 0]


def huge(path):
    with path.open("wb") as file:
        file.write(b"1\n")
        file.truncate(corpus.LARGEST_FILE + 1)


def being_written(path):
    content = VALID["ntu60"][2]
    path.write_bytes(content[: len(content) // 2])


BAD = {
    "damaged.skeleton": lambda path: path.write_bytes(VALID["ntu60"][2].replace(b"25\n", b"24\n", 1)),
    "empty.json": lambda path: path.write_bytes(b""),
    "huge.skeleton": huge,
    "foreign.csv": lambda path: path.write_text("name,price\ntea,3\n"),
    "picture.npz": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)),
    "written.skeleton": being_written,
    "flat.txt": lambda path: path.write_bytes(VALID["uav"][2]),
    "pipe.mat": os.mkfifo,
    "link.json": lambda path: path.symlink_to("nowhere.json"),
    "evil.pkl": lambda path: path.write_bytes(pickle.dumps(os.getcwd)),
    "\x1b[2Jred.json": lambda path: path.write_text("{}"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line(predict, tmp_path, name):
    path = tmp_path / name
    BAD[name](path)
    failed, out, err = predict(path)
    assert (failed, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert name.removeprefix("\x1b") in err
    assert "\x1b" not in err


def test_all_of_them_in_one_folder_and_the_rest_is_answered(predict, tmp_path):
    (tmp_path / "notes.md").write_text("x")
    for name, make in BAD.items():
        make(tmp_path / name)
    put(tmp_path, *KINECTS)
    failed, out, err = predict(tmp_path)
    assert failed == len(BAD)
    assert out.count("sentence: ") == len(KINECTS)
    assert len(err.splitlines()) == len(BAD) + 1
    assert "1 files passed over, no recordings by their names: notes.md" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="to root every file is readable")
def test_no_permission_is_one_line(predict, tmp_path):
    (file,) = put(tmp_path, "ntu60")
    file.chmod(0)
    failed, out, err = predict(file, *put(tmp_path / "other", "nwucla"))
    assert (failed, out.count("sentence: ")) == (1, 1)
    assert err.splitlines() == [
        f"{file}: expected a readable file, saw Permission denied; replace or remove the file."
    ]


def test_no_permission_is_one_line_whoever_asks(predict, tmp_path, monkeypatch):
    """As root tests read all; so the system's answer is made up."""
    (file,) = put(tmp_path, "ntu60")
    opened = type(file).open

    def refuse(path, *arguments, **settings):
        if path == file:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **settings)

    monkeypatch.setattr(type(file), "open", refuse)
    failed, out, err = predict(file, *put(tmp_path / "other", "nwucla"))
    assert (failed, out.count("sentence: ")) == (1, 1)
    assert err.splitlines() == [
        f"{file}: expected a readable file, saw Permission denied; replace or remove the file."
    ]


def test_a_subfolder_without_permission_is_one_line_and_the_rest_is_answered(predict, tmp_path, monkeypatch):
    """As root all folders can be read; so the system's answer is made up."""
    put(tmp_path, "ntu60")
    closed = tmp_path / "closed"
    put(closed, "nwucla")
    listed = os.scandir

    def refuse(path):
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    failed, out, err = predict(tmp_path)
    assert (failed, out.count("sentence: ")) == (1, 1)
    assert err == f"{closed}: expected a folder that can be read, saw Permission denied.\n"


def test_places_that_are_none(predict, tmp_path):
    (tmp_path / "empty").mkdir()
    failed, out, err = predict(tmp_path / "empty", tmp_path / "none", *put(tmp_path / "good", "ntu60"))
    assert (failed, out.count("sentence: ")) == (2, 1)
    first, second = err.splitlines()
    assert "empty: expected recordings (" in first
    assert "none: expected a recording that can be read, saw No such file or directory" in second


def test_an_animation(predict, tmp_path):
    (file,) = put(tmp_path, "ntu60")
    gif = tmp_path / "made" / "out.gif"
    failed, _, err = predict(file, gif=gif)
    assert (failed, err) == (0, f"drawn: {gif}\n")
    assert gif.read_bytes()[:6] == b"GIF89a"
    for places, asked in (([file, file], ALL), ([file], ALL._replace(persons=True))):
        with pytest.raises(UserError, match=r"--gif=.*expected one recording, of all its people, saw"):
            predict(*places, asked=asked, gif=gif)


def test_the_newest_whole_model_is_the_default(tiny_recognizer_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"a trained model below data/06_models, .*`kedro run`, or name its folder"
    ):
        newest_recognizer()
    made = []
    for number, run in enumerate(["old", "newer", "begun"]):
        made.append(tmp_path / "data" / "06_models" / "ntu60" / "xsub" / run / "recognizer")
        shutil.copytree(tiny_recognizer_folder, made[-1])
        os.utime(made[-1] / "recognizer.json", (0, number))
    (made[-1] / "recognizer.json").unlink()
    assert newest_recognizer().resolve() == made[1]
    loaded = load(None, ALL)
    assert loaded.class_names == CLASS_NAMES
    said = "model: data/06_models/ntu60/xsub/newer/recognizer (the newest; --model names another)\n"
    assert capsys.readouterr().err == said


def test_a_class_list():
    assert class_list(None) is None
    assert class_list(' a, "b, c" ,d,') == ("a", "b, c", "d")
    with pytest.raises(UserError, match='--classes= , : expected names such as "wave, clap", saw none'):
        class_list(" , ")


def test_a_bar_leaves_lines_beside_it_alone(monkeypatch, capsys):
    with Progress(total=3, title="recognising") as progress:
        progress.update()
        Progress.write("an answer")
    assert capsys.readouterr() == ("an answer\n", "")


@pytest.fixture
def command(monkeypatch, tiny_recognizer_folder):
    """The whole command, without what it does to its process."""
    monkeypatch.setattr(Program, "invoke", super(Program, Program).invoke)
    monkeypatch.setattr(models, "only_answers_on_stdout", lambda: None)

    def run(*arguments):
        return CliRunner().invoke(cli, ["predict", f"--model={tiny_recognizer_folder}", *arguments])

    return run


def test_the_exit_code_says_whether_all_were_answered(command, tmp_path):
    (good,) = put(tmp_path, "ntu60")
    (tmp_path / "bad.json").write_text("{}")
    done = command(str(good), "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["file"] == str(good)
    done = command(str(good), str(tmp_path / "bad.json"))
    assert done.exit_code == 1
    assert "sentence" in done.stdout
    assert "bad.json: expected an object with keypoints" in done.stderr


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--format=ntu61", "unknown format 'ntu61': choose one of ntu60, ntu120,"),
        ("--read=head", "Error: expected a class head of stage 1"),
        ("--model=nowhere", "Error: expected the folder of a trained recogniser"),
        ("--classes=,", "Error: --classes=,: expected names"),
        ("--classes=jump,jump", "Error: "),
        ("--top=0", "Invalid value for '--top'"),
        ("--fps=30", "Error: --fps: expected --segments or --timeline with it, saw neither; add one"),
        ("--window=1", "Error: --window: expected --segments or --timeline with it"),
        ("--step=1", "Error: --step: expected --segments or --timeline with it"),
        ("--enter=0.5", "Error: --enter: expected --segments or --timeline with it"),
        ("--exit=0.2", "Error: --exit: expected --segments or --timeline with it"),
        ("--top=3 --segments", "Error: --top: expected it without --segments and --timeline, saw both"),
    ],
)
def test_what_is_typed_wrongly_is_refused_before_any_answer(command, tmp_path, option, reason):
    done = command(*map(str, put(tmp_path, "ntu60")), *option.split())
    assert done.exit_code != 0
    assert done.stdout == ""
    assert reason in done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit)
