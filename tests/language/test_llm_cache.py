import logging
from pathlib import Path

import pytest

from llmar_pipeline.language.llm_cache import llm_cache


def test_the_cache_is_that_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    assert llm_cache("one") == llm_cache("another") == tmp_path / "cache" / "llmar-pipeline" / "llm"
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_replaced_by_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")  # the superuser may write into any folder, but not into a file
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert llm_cache(tmp_path / "data") == tmp_path / "data" / "06_models" / "llm"
        llm_cache(tmp_path / "data")
    (record,) = caplog.records
    assert f"cannot write {tmp_path}/file/llmar-pipeline/llm" in record.getMessage()
    assert f"{tmp_path}/data/06_models/llm" in record.getMessage()
    assert "XDG_CACHE_HOME" in record.getMessage()


def test_a_cache_that_can_only_be_read_serves_if_a_model_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("os.access", lambda *_: False)
    there = tmp_path / "llmar-pipeline" / "llm"
    assert llm_cache("data") == Path("data/06_models/llm")
    (there / "model").mkdir(parents=True)
    assert llm_cache("data") == Path("data/06_models/llm")
    (there / "model" / "converted.json").write_text("{}")
    assert llm_cache("data") == there
