import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.io.params_text import TEXTS, read_params, write_params


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("size=gpu, vqvae.width = 64,vqvae.depth=2", {"size": "gpu", "vqvae": {"width": 64, "depth": 2}}),
        ("lora.target_modules=[a,b],size=gpu", {"lora": {"target_modules": ["a", "b"]}, "size": "gpu"}),
        ("vqvae.further_streams=[]", {"vqvae": {"further_streams": []}}),
        ("raw_dir='/data/a,b',size=gpu", {"raw_dir": "/data/a,b", "size": "gpu"}),
        ("raw_dir=/home/o'neil,size=gpu", {"raw_dir": "/home/o'neil", "size": "gpu"}),
        ("raw_dir=/a=b", {"raw_dir": "/a=b"}),
        ("raw_dir=null,vqvae.max_norm=null", {"raw_dir": None, "vqvae": {"max_norm": None}}),
        ("lora_training.learning_rate=1e-3", {"lora_training": {"learning_rate": 1e-3}}),
        ("evaluation.generate=yes", {"evaluation": {"generate": True}}),
    ],
)
def test_what_is_written_is_read(text, expected):
    assert read_params(text) == expected


@pytest.mark.parametrize("value", ["2024", "true", "010", "1e3", "~/x", "a: b", "0x10", "2024-01-01"])
def test_text_stays_text_whatever_it_looks_like(value):
    for name in TEXTS:
        (read,) = read_params(f"{name}={value}").values()
        assert read == value or read == {name.partition(".")[2]: value}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("raw_dir=/data/a,b", "expected name=value, saw 'b'; a value with a comma stands in quotes"),
        ("=3", "expected name=value, saw '=3'"),
        ("data_dir=,size=gpu", "expected a value behind 'data_dir=', saw none; leave it out"),
        ("size=gpu,size=laptop", "expected size once, saw it twice"),
        ("vqvae=3,vqvae.width=2", "expected vqvae.width once"),
        ("vqvae.width=2,vqvae=3", "expected vqvae once"),
        (
            "lora.target_modules=[q_proj,size=gpu",
            r"lora.target_modules: expected \] at the end of \[q_proj,size",
        ),
        ("raw_dir='/data/a,b", "raw_dir: expected ' at the end"),
        ("vqvae.width=@3", "vqvae.width: expected a value as in YAML, saw @3"),
    ],
)
def test_what_is_written_otherwise_is_refused_in_one_line(text, expected):
    with pytest.raises(UserError, match=expected) as refused:
        read_params(text)
    assert "\n" not in refused.value.message


def test_what_is_written_comes_back_as_kedro_reads_it():
    values = {"vqvae": {"max_norm": None, "width": 8}, "lora.rank": 2, "a": {"b": "1e-3", "c": True}}
    text = write_params(values)
    assert text == "vqvae.max_norm=null,vqvae.width=8,lora.rank=2,a.b=1e-3,a.c=True"
    assert read_params(text) == {
        "vqvae": {"max_norm": None, "width": 8},
        "lora": {"rank": 2},
        "a": {"b": 1e-3, "c": True},
    }


@pytest.mark.parametrize("folder", ["/data/a,b", "/o'neil,x", "2024", "a=b,c=d", "'quoted'", "[x"])
def test_folders_and_lists_come_back_as_they_are(folder):
    values = {"raw_dir": folder, "vqvae": {"further_streams": ["bones", "motion"]}}
    assert read_params(write_params(values)) == values
