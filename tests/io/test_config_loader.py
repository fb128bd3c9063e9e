import re
import shutil

import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.io import config_loader
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.io.origin import git_revision, now
from llmar_pipeline.settings import CONFIG_LOADER_ARGS
from llmar_pipeline.training.launchers import Launched


def load(conf, env=None, **runtime):
    return StackedConfigLoader(str(conf), env, runtime, **CONFIG_LOADER_ARGS)


def test_each_layer_goes_over_the_one_before(conf):
    (conf / "base/parameters/vqvae.yml").write_text(
        "vqvae: {codes: 1, width: 1, depth: 1, frames: 1, curvature: 1}"
    )
    (conf / "nwucla/parameters.yml").write_text("vqvae: {width: 2, depth: 2, frames: 2, curvature: 2}")
    (conf / "sizes/laptop.yml").write_text("vqvae: {depth: 3, frames: 3, curvature: 3}")
    (conf / "experiments/euclidean.yml").write_text("vqvae: {frames: 4, curvature: 4}")
    loader = load(conf, "nwucla", size="laptop", experiment="euclidean", vqvae={"curvature": 5})
    assert loader["parameters"]["vqvae"] == {"codes": 1, "width": 2, "depth": 3, "frames": 4, "curvature": 5}


def test_merging_is_soft_and_happens_before_interpolation(conf):
    (conf / "base/parameters/vqvae.yml").write_text("vqvae: {frames: 8, width: '${vqvae.frames}'}")
    (conf / "experiments/llm_ar.yml").write_text("")
    for size, width in (("vqvae: {width: 128}", 128), ("", 16)):
        (conf / "sizes/laptop.yml").write_text(size)
        loader = load(conf, "nwucla", size="laptop", vqvae={"frames": 16})
        assert loader["parameters"]["vqvae"]["width"] == width


def test_the_demo_is_the_default_environment_and_brings_its_size(conf):
    chosen = load(conf)["globals"]
    assert (chosen["dataset"], chosen["size"], chosen["synthetic"]) == ("demo", "demo", True)
    assert load(conf).size_note == ""


def test_a_run_knows_its_code_and_its_date_which_change_no_folder(conf):
    run = load(conf)["parameters"]["run"]
    assert (run["revision"], run["date"]) == (git_revision(), now())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", run["date"])
    assert load(conf)["globals"]["run"] == "llm_ar-demo"


def test_paths_carry_dataset_protocol_and_run(conf):
    loader = load(conf, "nwucla", size="laptop", experiment="euclidean")
    assert loader["globals"]["raw_dir"] == "data/01_raw/nwucla"
    assert (
        loader["catalog"]["metrics"]["filepath"]
        == "data/08_reporting/nwucla/xview/euclidean-laptop/metrics.json"
    )
    assert loader["catalog"]["recordings"]["filepath"] == "data/02_intermediate/nwucla/recordings/recordings"
    assert load(conf, "nwucla", size="laptop", raw_dir="/x")["catalog"]["raw_recordings"]["filepath"] == "/x"


def test_each_of_several_loaders_answers_for_itself(conf):
    first, second = load(conf, "nwucla", size="laptop"), load(conf, "uav", size="gpu")
    assert first.place("metrics").parts[-4:-1] == ("nwucla", "xview", "llm_ar-laptop")
    assert first["parameters"]["run"]["dataset"] == "nwucla"
    assert second.place("metrics").parts[-4] == "uav"


def test_single_overrides_give_a_run_a_folder_of_its_own(conf):
    runs = [
        load(conf, size="laptop", **overrides)["globals"]["run"]
        for overrides in ({}, {"vqvae": {"width": 64}}, {"vqvae": {"width": 32}}, {"raw_dir": "/x"})
    ]
    assert runs[0] == runs[3] == "llm_ar-laptop"
    assert len(set(runs)) == 3
    assert all(run.startswith("llm_ar-laptop") for run in runs)


def test_only_ingestion_and_normalization_change_the_shared_sequences(conf):
    def shared(**overrides):
        return load(conf, "nwucla", size="laptop", **overrides)["globals"]["recordings_folder"]

    assert shared() == shared(vqvae={"width": 64}) == "nwucla/recordings"
    assert shared(normalization={"align_view": False}) != shared()


@pytest.mark.parametrize(
    ("env", "runtime", "expected"),
    [
        ("nwuclaa", {}, r"unknown environment 'nwuclaa': choose one of custom, demo, .*nwucla"),
        (None, {"size": "lapto"}, r"unknown size 'lapto': choose one of .*laptop"),
        (None, {"experiment": "euclid"}, r"unknown experiment 'euclid': choose one of .*euclidean, .*llm_ar"),
        (None, {"protocol": "csub"}, r"unknown protocol 'csub': choose one of xsub, xview"),
        (None, {"vqvae": {"widht": 3}}, r"unknown parameter 'vqvae.widht': did you mean 'vqvae.width'\?"),
        (None, {"protocl": "xsub"}, r"unknown parameter 'protocl': did you mean 'protocol'\?"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_the_choices(conf, env, runtime, expected):
    with pytest.raises(UserError, match=expected):
        _ = load(conf, env, **runtime)["parameters"]


def test_another_folder_is_another_custom_corpus_but_the_same_official_one(conf):
    def names(env, **chosen):
        loaded = load(conf, env, size="laptop", **chosen)["globals"]
        return loaded["run_folder"], loaded["recordings_folder"]

    assert names("custom") == ("custom/split/llm_ar-laptop", "custom/recordings")
    own = [names("custom", raw_dir=folder) for folder in ("/a", "/b")]
    assert len({*own, names("custom")}) == 3
    assert names("nwucla", raw_dir="/a") == names("nwucla")


@pytest.mark.parametrize(
    "neutral",
    [
        {"ingestion": {"workers": 7}},
        {"vqvae_training": {"save_every": 3, "log_every": 3}},
        {"lora_training": {"save_every": 3, "log_every": 3, "processes": 2}},
        {"evaluation": {"table_rows": 3}},
    ],
)
def test_what_no_result_depends_on_gives_no_folder_of_its_own(conf, neutral):
    assert load(conf, **neutral)["globals"] == load(conf)["globals"]
    with_another = load(conf, **neutral, vqvae={"width": 64})["globals"]
    assert with_another == load(conf, vqvae={"width": 64})["globals"]


def test_trainings_have_the_processes_that_a_launcher_started(conf, monkeypatch):
    alone = load(conf)["globals"]
    monkeypatch.setattr(config_loader, "launched", lambda: Launched(0, 4, 0, 2, "x", 1))
    for given in ({}, {"lora_training": {"processes": 4}}):
        loader = load(conf, **given)
        for stage in ("vqvae_training", "lora_training"):
            assert loader["parameters"][stage]["processes"] == 4
        assert loader["globals"] == alone
    with pytest.raises(
        UserError, match=r"expected lora_training\.processes=4, as many .* saw 2; leave it out"
    ):
        load(conf, lora_training={"processes": 2})["parameters"]


def test_one_folder_under_several_names_is_one_folder(conf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "own")

    def names(raw_dir, env="custom", **others):
        loaded = load(conf, env, size="laptop", raw_dir=raw_dir, **others)["globals"]
        return loaded["run_folder"], loaded["recordings_folder"]

    spellings = [tmp_path / "own", f"{tmp_path}/own/", "own", "./own/", "link", tmp_path / "x" / ".." / "own"]
    assert len({names(str(spelling)) for spelling in spellings}) == 1
    assert names("data/01_raw/custom") == ("custom/split/llm_ar-laptop", "custom/recordings")
    models = ["own", f"{tmp_path}/own/"]
    assert len({names("own", "nwucla", llm={"model": model}) for model in models}) == 1
    assert names("own", "nwucla", llm={"model": "a/hub-id"}) != names("own", "nwucla", llm={"model": "own"})


def test_two_environments_may_share_their_raw_files(conf):
    assert load(conf, "smarthome2d", data_dir="/d")["globals"]["raw_dir"] == "/d/01_raw/smarthome"
    refined = load(conf, "smarthome_refined", data_dir="/d")["globals"]
    assert (refined["raw_dir"], refined["corpus"]) == ("/d/01_raw/smarthome_refined", "smarthome2d")


@pytest.mark.parametrize("kind", ["gztar", "zip"])
def test_an_archive_of_the_configuration_is_as_good_as_the_folder(conf, tmp_path, kind):
    archive = shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path, "conf")
    chosen = {"env": "nwucla", "size": "laptop", "experiment": "euclidean"}
    packed, folder = load(archive, **chosen), load(conf, **chosen)
    for key in ("parameters", "catalog", "globals", "mlflow"):
        assert packed[key] == folder[key]
    with pytest.raises(UserError, match="unknown environment 'x': choose one of custom, demo"):
        load(archive, "x")


def test_no_configuration_and_what_is_none_are_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no configuration .*conf: .*--conf-source="):
        load(tmp_path / "conf")
    (tmp_path / "conf.tar.gz").write_text("no archive")
    with pytest.raises(UserError, match=r"conf\.tar\.gz: expected a folder with 'base' in it"):
        load(tmp_path / "conf.tar.gz")
    (tmp_path / "sub").mkdir()
    other = shutil.make_archive(str(tmp_path / "other"), "gztar", tmp_path, "sub")
    with pytest.raises(UserError, match="with 'base' in it"):
        load(other)


@pytest.fixture
def local(conf, monkeypatch):
    """Write a file of conf/local."""
    monkeypatch.setattr(config_loader, "LOCAL", "local")
    (conf / "local").mkdir()
    return lambda file, text: (conf / "local" / file).write_text(text)


def test_local_goes_over_the_experiment_and_under_the_command_line(conf, local):
    (conf / "experiments/euclidean.yml").write_text("vqvae: {width: 4, depth: 4, frames: 4}")
    local("parameters.yml", "vqvae: {depth: 5, frames: 5}\nlora: {rank: '${vqvae.frames}'}")
    loader = load(conf, "nwucla", size="laptop", experiment="euclidean", vqvae={"frames": 6})
    vqvae = loader["parameters"]["vqvae"]
    assert [vqvae[name] for name in ("width", "depth", "frames")] == [4, 5, 6]
    assert loader["parameters"]["lora"]["rank"] == 6


def test_local_counts_as_if_it_stood_on_the_command_line(conf, local):
    on_the_line = {
        "size": "laptop",
        "data_dir": "/d",
        "normalization": {"center": False},
        "vqvae": {"width": 7},
    }
    there = load(conf, "nwucla", **on_the_line)
    local("globals.yml", "size: laptop\ndata_dir: /d")
    local("parameters.yml", "normalization: {center: false}\nvqvae: {width: 7}")
    for key in ("globals", "parameters", "catalog"):
        assert load(conf, "nwucla")[key] == there[key]
    assert load(conf, "nwucla", size="gpu")["globals"]["size"] == "gpu"
    assert load(conf, "nwucla", vqvae={"width": 8})["globals"]["run"] != there["globals"]["run"]


def test_local_brings_credentials_datasets_and_a_store_of_runs(conf, local, monkeypatch):
    monkeypatch.setenv("SECRET_OF_A_TEST", "s")
    local("credentials.yml", "bucket: {key: '${oc.env:SECRET_OF_A_TEST}'}")
    local("catalog.yml", "metrics: {type: json.JSONDataset, filepath: s3://b/m.json, credentials: bucket}")
    local("mlflow.yml", "tracking_uri: http://nowhere")
    loader = load(conf, "nwucla", size="laptop")
    assert loader["credentials"] == {"bucket": {"key": "s"}}
    assert loader["catalog"]["metrics"]["filepath"] == "s3://b/m.json"
    assert loader["catalog"]["report"]["filepath"].endswith("report.html")
    assert loader["mlflow"]["tracking_uri"] == "http://nowhere"


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("globals.yml", "sise: laptop", "unknown name 'sise' in conf/local/globals.yml: did you mean 'size'"),
        (
            "globals.yml",
            "corpus: uav",
            "unknown name 'corpus' in conf/local/globals.yml: .*there are protocol",
        ),
        ("globals.yml", "size: lapto", "unknown size 'lapto': choose one of "),
        (
            "parameters.yml",
            "vqvae: {widht: 3}",
            "unknown parameter 'vqvae.widht' in conf/local: did you mean",
        ),
        (
            "parameters.yml",
            "vqva: {width: 3}",
            "unknown parameter 'vqva' in conf/local: did you mean 'vqvae'",
        ),
    ],
)
def test_a_name_in_local_that_does_not_exist_is_refused(conf, local, file, text, expected):
    local(file, text)
    with pytest.raises(UserError, match=expected):
        _ = load(conf)["parameters"]


YAML_FAULTS = [
    ("a:\n\tb: 1\n", r"custom/parameters.yml, line 2: expected YAML, saw found character '.t'"),
    ("a: {b: 1\n", r"custom/parameters.yml, line 2: expected YAML"),
    ("vqvae: {}\nvqvae: {}\n", r"custom/parameters.yml, line 2: .* duplicate key vqvae"),
    ("- a\n- b\n", r"custom/parameters.yml: expected names with values, saw \['a', 'b'\]"),
    ("3\n", r"custom/parameters.yml: expected YAML"),
    ("\xff", r"custom/parameters.yml: expected YAML, saw 'utf-8' codec"),
    ("vqvae_trainnig: {}\n", "'vqvae_trainnig' in conf/custom/parameters.yml: did you mean 'vqvae_training'"),
    ("vqvae: {widht: 3}\n", "'vqvae.widht' in conf/custom/parameters.yml: did you mean 'vqvae.width'"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), YAML_FAULTS)
def test_a_file_of_an_environment_that_is_not_written_so_is_refused_in_one_line(conf, content, expected):
    (conf / "custom" / "parameters.yml").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=expected) as refused:
        load(conf, "custom", size="laptop")
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(("content", "expected"), YAML_FAULTS[:4])
def test_so_is_one_of_globals_of_the_catalog_and_of_local(conf, content, expected):
    for file in ("nwucla/globals.yml", "base/catalog/vqvae.yml", "local/parameters.yml"):
        whole = (conf / file).read_bytes() if (conf / file).exists() else b""
        (conf / file).parent.mkdir(exist_ok=True)
        (conf / file).write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=expected.replace("custom/parameters.yml", file)):
            load(conf, "nwucla", size="laptop")["catalog"]
        (conf / file).write_bytes(whole)


def test_names_of_globals_and_names_that_two_files_have_are_refused(conf):
    (conf / "custom" / "globals.yml").write_text("dataset: custom\nprotocl: x\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"'protocl' in conf/custom/globals.yml: did you mean 'protocol'"):
        load(conf, "custom", size="laptop")
    (conf / "base" / "parameters" / "more.yml").write_text("lora: {rank: 2}\n", encoding="utf-8")
    with pytest.raises(UserError, match="Duplicate keys found"):
        load(conf, "nwucla", size="laptop")


def test_null_leaves_a_selector_to_its_default(conf):
    chosen = load(conf, "nwucla", size="laptop", data_dir=None, fold=None)["globals"]
    assert (chosen["data_dir"], chosen["fold"], chosen["allow_incomplete"]) == ("data", "none", False)


@pytest.mark.parametrize("entry", ["", "[a]", "3", "{type: 3}", "{type: }", "{filepath: x}"])
def test_a_catalog_entry_without_a_type_is_named(conf, entry):
    (conf / "nwucla/catalog.yml").write_text(f"_values: 3\nmine: {entry}", encoding="utf-8")
    with pytest.raises(
        UserError, match="catalog entry 'mine': expected a mapping with the type of a dataset"
    ):
        load(conf, "nwucla", size="laptop")["catalog"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("metadata: ml", "expected a mapping at metadata, saw 'ml'"),
        ("metadata: [ml]", "expected a mapping at metadata"),
        (
            "metadata: {mlflow: yes}",
            "expected metrics, artifact, reference or splits at metadata.mlflow, saw True",
        ),
        ("metadata: {mlflow: {a: b}}", "expected metrics, artifact, reference or splits at metadata.mlflow"),
        ("filepath: 3", "expected a path at filepath, saw 3"),
        ("filepath: [x]", "expected a path at filepath"),
        ("filepath: ", "expected a path at filepath, saw None"),
        ("save_args: 3", "expected a mapping at save_args, saw 3"),
        ("load_args: sep", "expected a mapping at load_args"),
        ("fs_args: [1]", "expected a mapping at fs_args"),
    ],
)
def test_a_catalog_entry_with_another_kind_of_value_is_named(conf, entry, expected):
    text = f"mine:\n  type: pandas.CSVDataset\n  {entry}\n"
    (conf / "nwucla/catalog.yml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=f"catalog entry 'mine': {re.escape(expected)}"):
        load(conf, "nwucla", size="laptop")["catalog"]


@pytest.mark.parametrize(
    "entry", ["metadata: ", "metadata: {layer: raw}", "metadata: {mlflow: metrics}", "save_args: "]
)
def test_a_catalog_entry_may_leave_them_empty(conf, entry):
    text = f"mine:\n  type: pandas.CSVDataset\n  filepath: x.csv\n  {entry}\n"
    (conf / "nwucla/catalog.yml").write_text(text, encoding="utf-8")
    assert "mine" in load(conf, "nwucla", size="laptop")["catalog"]


def test_a_catalog_entry_of_an_unknown_value_is_refused_in_one_line(conf):
    text = "mine: {type: pandas.CSVDataset, filepath: '${globals:run_foldr}'}"
    (conf / "nwucla/catalog.yml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot be resolved: .*run_foldr"):
        load(conf, "nwucla", size="laptop")["catalog"]


@pytest.mark.parametrize("corpus", ["", "null", "nosuch", "[ntu60]"])
def test_a_corpus_that_there_is_not_is_refused(conf, corpus):
    (conf / "nwucla/globals.yml").write_text(f"dataset: nwucla\ncorpus: {corpus}", encoding="utf-8")
    with pytest.raises(UserError, match=r"unknown corpus '.*': choose one of ntu60, "):
        load(conf, "nwucla", size="laptop")["globals"]


def test_a_list_where_others_have_names_is_refused_in_one_line(conf):
    (conf / "base/parameters/normalization.yml").write_text("normalization: [1]", encoding="utf-8")
    with pytest.raises(UserError, match=r"configuration cannot be merged: .*DictConfig with ListConfig"):
        load(conf, "nwucla", size="laptop", normalization={"center": False})["parameters"]
