import pytest

from llmar_pipeline import machine
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.settings import CONFIG_LOADER_ARGS


@pytest.fixture
def configured(tmp_path, project, monkeypatch):
    monkeypatch.setattr(machine, "gpu", lambda: None)

    def load(env="demo", **runtime):
        runtime = {"data_dir": str(tmp_path / "data"), "llm": {"precision": "float32"}, **runtime}
        loader = StackedConfigLoader(str(project / "conf"), env, runtime, **CONFIG_LOADER_ARGS)
        return dict(loader["globals"]), loader["parameters"]

    return load
