from types import SimpleNamespace

import pytest

from llmar_pipeline.hooks import TrackingHook
from llmar_pipeline.io import tracking
from llmar_pipeline.language.llm_name import BUNDLED


@pytest.mark.parametrize(("model", "name"), [("smollm2", BUNDLED), ("someone/model", "someone/model")])
def test_mlflow_calls_the_language_model_what_it_is(monkeypatch, model, name):
    opened = []

    def start(uri, experiment, title, tags):
        opened.append(tags)
        return SimpleNamespace(log_params=lambda params: None)

    monkeypatch.setattr(tracking.TrackedRun, "start", start)
    monkeypatch.setattr(tracking, "set_current", lambda run: None)
    names = ("dataset", "protocol", "experiment", "size", "unseen", "fold", "run")
    configuration = {
        "mlflow": {"tracking_uri": "sqlite://"},
        "globals": dict.fromkeys(names, "one"),
        "parameters": {"llm": {"model": model}},
    }
    hook = TrackingHook()
    hook.after_context_created(SimpleNamespace(config_loader=configuration))
    hook.before_pipeline_run({"pipeline_names": None}, None, None)
    assert [tags["language_model"] for tags in opened] == [name]
