import signal
import threading
from types import SimpleNamespace

import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.holders import hold
from llmar_pipeline.hooks import FolderHook, TrackingHook
from llmar_pipeline.hooks import tracking as of_runs
from llmar_pipeline.interruption import Interrupted
from llmar_pipeline.io import tracking
from llmar_pipeline.io.known_names import check_read
from llmar_pipeline.language.llm_name import BUNDLED
from llmar_pipeline.pipeline_registry import all_inputs


@pytest.fixture
def opened(monkeypatch):
    """Tags of the MLflow runs that were opened."""
    runs = []

    def start(uri, experiment, title, tags, kept):
        runs.append({"name": title, **tags})
        return SimpleNamespace(log_params=lambda params: None)

    monkeypatch.setattr(tracking.TrackedRun, "start", start)
    monkeypatch.setattr(tracking, "set_current", lambda run: None)
    return runs


def track(
    data_dir="one",
    model="someone/model",
    pipelines=None,
    seeds=(0, 0),
    inputs=(),
    catalog=None,
    register=True,
):
    names = (
        "dataset",
        "corpus",
        "protocol",
        "experiment",
        "size",
        "unseen",
        "generalized",
        "fold",
        "shots",
        "run",
    )
    stages = {"vqvae_training": {"seed": seeds[0]}, "lora_training": {"seed": seeds[1]}}
    configuration = {
        "mlflow": {"tracking_uri": "sqlite://", "register_models": register},
        "globals": {**dict.fromkeys(names, "one"), "data_dir": str(data_dir), "synthetic": False},
        "parameters": {"llm": {"model": model}, **stages},
    }
    hook, pipeline = TrackingHook(), SimpleNamespace(all_outputs=lambda: set(), inputs=lambda: set(inputs))
    hook.after_context_created(SimpleNamespace(config_loader=configuration))
    hook.before_pipeline_run({"pipeline_names": pipelines}, pipeline, catalog)


@pytest.mark.parametrize(("model", "name"), [("smollm2", BUNDLED), ("someone/model", "someone/model")])
def test_mlflow_calls_the_language_model_what_it_is(opened, model, name):
    track(model=model)
    assert [tags["language_model"] for tags in opened] == [name]


def test_a_run_is_named_so_that_a_person_finds_it(opened):
    track()
    track(pipelines=["stage1"], seeds=(3, 3))
    track(seeds=(0, 1))
    assert [tags["name"] for tags in opened] == [
        "one one one seed 0",
        "one one one seed 3 stage1",
        "one one one seed 0/1",
    ]
    assert [tags["seed"] for tags in opened] == ["0", "3", "0/1"]


def test_the_splits_that_a_run_only_reads_are_its_inputs_too(opened, monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(tracking, "tell", lambda name, dataset, file: told.append((name, file)))
    dataset = SimpleNamespace(_filepath=tmp_path / "splits.parquet")
    track(inputs=["splits", "sequences"], catalog={"splits": dataset})
    assert told == [("splits", tmp_path / "splits.parquet")]


def test_a_model_is_registered_by_name_unless_it_is_one_of_many_or_nobody_wants_it(opened, monkeypatch):
    runs = []
    monkeypatch.setattr(tracking, "set_current", runs.append)
    track()
    track(register=False)
    monkeypatch.setenv("LLMAR_PARENT_RUN", "of ablations")
    track()
    assert [getattr(run, "registered", None) for run in runs] == ["one-one-one", None, None]


def test_a_run_with_nothing_to_do_is_tracked_as_part_of_another_or_where_something_waits(
    opened, monkeypatch, tmp_path
):
    monkeypatch.setattr(of_runs, "idle", lambda: True)
    track(tmp_path)
    assert opened == []
    monkeypatch.setenv("LLMAR_PARENT_RUN", "of ablations")
    track(tmp_path)
    assert len(opened) == 1
    monkeypatch.delenv("LLMAR_PARENT_RUN")
    waiting = tracking.kept_folder({"data_dir": tmp_path}) / "run.jsonl"
    waiting.parent.mkdir(parents=True)
    waiting.touch()
    track(tmp_path)
    assert len(opened) == 2


@pytest.fixture
def run_of_two_nodes(tmp_path):
    places = {"sequences": "shared/sequences", "splits": "split/splits.parquet", "model": "run/model"}
    catalog = {name: SimpleNamespace(_filepath=tmp_path / place) for name, place in places.items()}
    pipeline = SimpleNamespace(all_outputs=lambda: set(places))
    context = SimpleNamespace(config_loader={"globals": {"run": "run"}})

    def start():
        hook = FolderHook()
        hook.after_context_created(context)
        hook.before_pipeline_run({}, pipeline, catalog)
        return hook

    return start


def node(*outputs):
    return SimpleNamespace(outputs=list(outputs))


def test_of_two_runs_in_one_folder_the_second_is_refused_before_it_works(run_of_two_nodes, tmp_path):
    first = run_of_two_nodes()
    with pytest.raises(UserError, match="run, saw one at work: process"):
        run_of_two_nodes()
    first.before_node_run(node("sequences"))
    first.on_pipeline_error()
    run_of_two_nodes().after_pipeline_run()


def test_a_shared_folder_is_held_only_while_a_node_writes_there(run_of_two_nodes, tmp_path):
    run = run_of_two_nodes()
    hold(tmp_path / "shared").close()
    run.before_node_run(node("sequences"))
    with pytest.raises(UserError, match="shared, saw one at work"):
        hold(tmp_path / "shared")
    run.before_node_run(node("splits"))
    hold(tmp_path / "shared").close()
    with pytest.raises(UserError, match="split, saw one at work"):
        hold(tmp_path / "split")
    run.before_node_run(node("model"))
    hold(tmp_path / "split").close()
    with pytest.raises(UserError, match="run, saw one at work"):
        hold(tmp_path / "run")
    run.after_pipeline_run()
    hold(tmp_path / "run").close()


def test_in_a_shared_folder_a_run_that_has_begun_waits_for_another(run_of_two_nodes, tmp_path):
    run = run_of_two_nodes()
    other = hold(tmp_path / "shared")
    threading.Timer(0.2, other.close).start()
    run.before_node_run(node("sequences"))
    assert other.closed
    run.after_pipeline_run()


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("a bug"), "FAILED"), (Interrupted(signal.SIGTERM), "KILLED")]
)
def test_a_run_that_fails_or_is_asked_to_end_is_closed_in_mlflow(monkeypatch, error, status):
    ended = []
    monkeypatch.setattr(tracking, "_current", SimpleNamespace(end=ended.append))
    wrapped = RuntimeError("a node failed")
    wrapped.__cause__ = error
    TrackingHook().on_pipeline_error(wrapped, None, None, None)
    assert ended == [status]
    assert tracking.current() is None


def test_a_parameter_that_nothing_reads_is_refused_and_one_that_another_pipeline_reads_is_not():
    check_read(["lora_training", "vqvae", "run"], all_inputs())
    with pytest.raises(UserError, match=r"'vqvae_trainnig' .* nothing reads: did you mean 'vqvae_training'"):
        check_read(["vqvae", "vqvae_trainnig"], all_inputs())
