import json
import time

import huggingface_hub.constants
import pytest
from pydantic import ValidationError

from llmar_pipeline.errors import UserError
from llmar_pipeline.language import bundled_llm
from llmar_pipeline.language import llm as llm_module
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.llm import ensure_llm, hidden_size
from llmar_pipeline.language.llm_check import check_llm
from llmar_pipeline.language.loading import attach_lora, load_llm


def config_of(model):
    return LLMConfig(model=str(model), precision="float32")


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError):
        LLMConfig(model="smollm2", precision="float16")
    with pytest.raises(ValidationError):
        AdapterConfig(ranks=3)


def test_the_hidden_size_is_read_without_weights(tiny_llm_folder, tmp_path):
    (tmp_path / "config.json").write_text((tiny_llm_folder / "config.json").read_text())
    assert hidden_size(config_of(tmp_path), tmp_path) == 32
    check_llm(config_of(tiny_llm_folder), tmp_path, code_dim=32)
    with pytest.raises(UserError, match=r"code_dim=32.*saw 512"):
        check_llm(config_of(tmp_path), tmp_path, code_dim=512)


def test_a_configuration_without_hidden_size_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"d_model": 512}))
    with pytest.raises(UserError, match="integer hidden_size, saw None"):
        hidden_size(config_of(tmp_path), tmp_path)


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        ensure_llm(config_of(tmp_path), tmp_path)


@pytest.mark.parametrize("model", ["nobody/no-such-model", "not a valid id!"])
@pytest.mark.parametrize("function", [hidden_size, ensure_llm])
def test_an_unreachable_hub_id_fails_at_once(monkeypatch, tmp_path, model, function):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"size=laptop.*size=demo") as error:
        function(config_of(model), tmp_path)
    assert "\n" not in str(error.value)
    assert time.monotonic() - start < 5


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled_llm, "_PACKAGE", "no-such-package-of-ours")
    with pytest.raises(UserError, match=r"no-such-package-of-ours.*--no-deps"):
        ensure_llm(config_of("smollm2"), tmp_path)


def test_a_finished_conversion_is_used_as_it_is(monkeypatch, tmp_path, tiny_llm_folder):
    monkeypatch.setattr(bundled_llm, "_PACKAGE", "no-such-package-of-ours")
    folder = tmp_path / "SmolLM2-135M-Instruct"
    folder.mkdir()
    (folder / "config.json").write_text((tiny_llm_folder / "config.json").read_text())
    with pytest.raises(UserError):
        ensure_llm(config_of("smollm2"), tmp_path)
    (folder / "converted.json").write_text("{}")
    assert ensure_llm(config_of("smollm2"), tmp_path) == folder
    assert hidden_size(config_of("smollm2"), tmp_path) == 32


def test_a_revision_is_asked_of_the_hub_and_kept_beside_the_adapters(monkeypatch, tiny_llm_folder, tmp_path):
    asked = []

    def download(model, revision=None, **_):
        asked.append((model, revision))
        return str(tiny_llm_folder)

    monkeypatch.setattr(llm_module, "snapshot_download", download)
    config = LLMConfig(model="someone/model", precision="float32", revision="c0ffee1")
    assert hidden_size(config, tmp_path) == 32
    assert ensure_llm(config, tmp_path) == tiny_llm_folder
    assert llm_module.is_here(config.model, config.revision)
    llm, _ = load_llm(config, tmp_path)
    assert set(asked) == {("someone/model", "c0ffee1")}
    kept = attach_lora(llm, AdapterConfig(), config.revision).peft_config["default"]
    assert (kept.base_model_name_or_path, kept.revision) == ("someone/model", "c0ffee1")


def test_a_revision_of_what_is_on_no_hub_is_refused(monkeypatch, tiny_llm_folder, tmp_path):
    monkeypatch.setattr(llm_module, "convert_bundled_llm", lambda cache: tiny_llm_folder)
    for model in ("smollm2", str(tiny_llm_folder)):
        config = LLMConfig(model=model, precision="float32", revision="c0ffee1")
        for function in (hidden_size, ensure_llm, check_llm):
            with pytest.raises(UserError, match=r"llm\.revision for a hub id only, saw c0ffee1"):
                function(config, tmp_path)
