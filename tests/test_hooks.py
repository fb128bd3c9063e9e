from types import SimpleNamespace

import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.hooks import TrackingHook, _all_inputs
from llmar_pipeline.io import tracking
from llmar_pipeline.io.known_names import check_read
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


def test_a_parameter_that_nothing_reads_is_refused_and_one_that_another_pipeline_reads_is_not():
    check_read(["lora_training", "vqvae", "run"], _all_inputs())
    with pytest.raises(UserError, match=r"'vqvae_trainnig' .* nothing reads: did you mean 'vqvae_training'"):
        check_read(["vqvae", "vqvae_trainnig"], _all_inputs())
