"""What a user can get wrong ends with one line that helps, not with a traceback."""

import errno
import json

import pytest
from kedro.io import DatasetError

from llmar_pipeline.error_lines import explain


def check_one_line(code: int, output: str, *expected: str) -> None:
    lines = [line for line in output.splitlines() if line.strip()]
    assert code != 0, output
    assert "Traceback" not in output
    assert lines[-1].startswith("Error: "), output
    assert sum("Error: " in line for line in lines) == 1, output
    for text in expected:
        assert text in lines[-1], output


@pytest.mark.parametrize(
    ("options", "params", "expected"),
    [
        (["--env=nwuclaa"], {}, ["unknown environment 'nwuclaa'", "nwucla", "--env="]),
        ([], {"protocol": "csub"}, ["unknown protocol 'csub'", "xsub, xview"]),
        ([], {"size": "lapto"}, ["unknown size 'lapto'", "laptop"]),
        ([], {"experiment": "euclid"}, ["unknown experiment 'euclid'", "euclidean"]),
        ([], {"vqvae__widht": 3}, ["unknown parameter 'vqvae.widht'", "did you mean 'vqvae.width'"]),
        (["--pipelines=stage3"], {}, ["unknown pipeline 'stage3'", "stage1, stage2"]),
        ([], {"vqvae__width": "abc"}, ["invalid parameters", "width", "integer"]),
        ([], {"vqvae__code_dim": 16}, ["vqvae.code_dim=32", "saw 16"]),
        ([], {"llm__model": "huggyllama/llama-13b"}, ["huggyllama/llama-13b", "size=laptop"]),
        ([], {"size": "paper"}, ["huggyllama/llama-13b", "size=laptop"]),
        ([], {"llm__model": "/no/such/folder"}, ["/no/such/folder", "size=laptop"]),
        (["--pipelines=stage2"], {}, ["does not exist", "kedro run --pipelines="]),
    ],
)
def test_a_mistake_is_found_before_the_work(kedro, workplace, options, params, expected):
    check_one_line(*kedro(*options, data="untouched", **params), *expected)
    assert not list((workplace.folder / "untouched").rglob("*.skeleton"))


def test_a_missing_raw_folder(kedro, workplace):
    code, output = kedro("--env=nwucla", data="no_raw", size="tiny_raw")
    check_one_line(code, output, "01_raw/nwucla", "expected nwucla files", "into this folder")
    assert "http" in output  # where the recordings are to be had


def test_an_incomplete_corpus(kedro, workplace):
    raw = workplace.folder / "data" / "01_raw" / "nwucla_part"
    raw.mkdir(parents=True, exist_ok=True)
    skeletons = [[[0.1 * joint, frame, 1.0] for joint in range(20)] for frame in range(5)]
    (raw / "a01_s01_e00_v01.json").write_text(json.dumps({"skeletons": skeletons, "label": 1}))
    code, output = kedro("--env=nwucla", "--pipelines=ingestion", data="part", size="tiny_raw", raw_dir=raw)
    check_one_line(code, output, "expected 1,484 clips, saw 1", "allow_incomplete=true")
    code, output = kedro(
        "--env=nwucla",
        "--pipelines=ingestion",
        data="part",
        size="tiny_raw",
        raw_dir=raw,
        allow_incomplete="true",
    )
    assert code == 0, output


def test_own_recordings_without_a_description(kedro, workplace):
    (workplace.folder / "own").mkdir(exist_ok=True)
    code, output = kedro("--env=custom", data="own_data", size="tiny_raw", raw_dir=workplace.folder / "own")
    check_one_line(code, output, "expected a folder with corpus.yml", "docs/data.md")


def test_too_many_damaged_files(kedro):
    code, output = kedro("--pipelines=ingestion", data="damaged", ingestion__max_quarantined_share=0)
    check_one_line(code, output, "4 of 48", "ingestion.max_quarantined_share", "expected", "saw")


@pytest.mark.parametrize("under", ["/proc/nowhere", "file/data"])
def test_an_output_folder_that_cannot_be_made(kedro, workplace, under):
    (workplace.folder / "file").write_text("")
    check_one_line(*kedro(data=under), "cannot write", "data_dir")


def test_a_full_disk_is_explained_wherever_it_stands_in_the_chain():
    error = DatasetError("Failed while saving data to dataset")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device", "data/x.parquet")
    assert "cannot write data/x.parquet: No space left on device" in explain(error)
    assert "data_dir" in explain(error)
    wrapped = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert "No space left on device" in explain(wrapped)
    assert "\n" not in explain(wrapped)


def test_a_bug_keeps_its_traceback():
    assert explain(KeyError("x")) is None
    assert explain(OSError(errno.ENOENT, "No such file", "x")) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "params", "expected"),
    [
        ([], {"vqvae__widht": 3}, ["did you mean 'vqvae.width'"]),
        (["--pipelines=stage2"], {}, ["does not exist", "kedro run --pipelines="]),
        (["--env=nwucla"], {"size": "tiny_raw"}, ["01_raw/nwucla"]),
    ],
)
def test_the_real_command_ends_the_same_way(workplace, options, params, expected):
    check_one_line(*workplace.kedro(*options, data="nothing", **params), *expected)
