import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.io.params_text import read_params
from llmar_pipeline.settings import CONFIG_LOADER_ARGS


@pytest.fixture
def load(project):
    def load(env, **runtime):
        return StackedConfigLoader(str(project / "conf"), env, runtime, **CONFIG_LOADER_ARGS)

    return load


def test_unseen_classes_reach_the_split(load):
    for chosen, expected in [
        ({}, {"classes": "none"}),
        ({"unseen": 3, "unseen_seed": 4}, {"classes": 3, "seed": 4}),
        ({"unseen": "48-12", "generalized": True}, {"classes": "48-12", "generalized": True}),
    ]:
        usual = {"seed": 0, "generalized": False}
        assert load("ntu60", **chosen)["parameters"]["unseen"] == usual | expected


def test_unseen_classes_give_a_run_folders_of_its_own(load):
    plain, drawn, again, named = (
        load("ntu60", size="laptop", **chosen)
        for chosen in ({}, {"unseen": 3}, {"unseen": 3, "unseen_seed": 4}, {"unseen": "48-12"})
    )
    among_all = load("ntu60", size="laptop", unseen=3, generalized=True)["globals"]["run"]
    assert among_all == "llm_ar-laptop-unseen3-seed0-generalized"
    assert plain["globals"]["run"] == "llm_ar-laptop"
    assert drawn["globals"]["run"] == "llm_ar-laptop-unseen3-seed0"
    assert named["globals"]["split_folder"] == "ntu60/xsub/recordings-unseen48-12"
    for folder in ("run_folder", "split_folder"):
        assert len({loader["globals"][folder] for loader in (plain, drawn, again, named)}) == 4
    assert len({loader["globals"]["recordings_folder"] for loader in (plain, drawn, named)}) == 1


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"unseen": "48-13"}, "unknown unseen classes '48-13': choose none, .*, 55-5, 48-12"),
        ({"unseen": {"classes": 3}}, "expected a number or a name"),
        ({"unseen": 3, "unseen_seed": -1}, "unseen_seed=-1.*: expected .* a seed from 0 on"),
        ({"unseen": 3, "generalized": "maybe"}, "generalized=maybe: expected .* true or false"),
        ({"generalized": True}, "generalized=true: expected unseen classes"),
    ],
)
def test_what_cannot_be_chosen_is_refused(load, chosen, expected):
    with pytest.raises(UserError, match=expected):
        load("ntu60", **chosen)


def test_shots_reach_the_split_and_give_a_run_folders_of_its_own(load):
    plain, few, again = (
        load("nwucla", size="laptop", **chosen)
        for chosen in ({}, {"shots": 5}, {"shots": 5, "shots_seed": 2})
    )
    assert plain["parameters"]["shots"] == {"clips": "all", "seed": 0}
    assert again["parameters"]["shots"] == {"clips": 5, "seed": 2}
    assert few["globals"]["run"] == "llm_ar-laptop-shots5-seed0"
    assert few["globals"]["split_folder"] == "nwucla/xview/recordings-shots5-seed0"
    for folder in ("run_folder", "split_folder"):
        assert len({loader["globals"][folder] for loader in (plain, few, again)}) == 3
    with pytest.raises(UserError, match="shots=0: expected all, or a number"):
        load("nwucla", size="laptop", shots=0)
    with pytest.raises(UserError, match="expected all or a number, and a seed from 0 on"):
        load("nwucla", size="laptop", shots=5, shots_seed=-1)


def test_a_fold_reaches_the_split_and_gives_a_run_folders_of_its_own(load):
    plain, camera, part = (load("nwucla", size="laptop", fold=fold) for fold in ("none", "camera:1", "1of5"))
    assert camera["parameters"]["fold"] == camera["parameters"]["run"]["fold"] == "camera:1"
    assert camera["globals"]["run"] == "llm_ar-laptop-fold-camera1"
    assert part["globals"]["split_folder"] == "nwucla/xview/recordings-fold-1of5"
    for folder in ("run_folder", "split_folder"):
        assert len({loader["globals"][folder] for loader in (plain, camera, part)}) == 3
    assert len({loader["globals"]["recordings_folder"] for loader in (plain, camera, part)}) == 1


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"fold": "camera"}, "fold=camera: expected none, a column and a value"),
        ({"fold": 5}, "fold=5: expected none"),
    ],
)
def test_what_is_no_fold_is_refused(load, chosen, expected):
    with pytest.raises(UserError, match=expected):
        load("nwucla", **chosen)


def test_unseen_classes_of_a_fold_have_folders_of_their_own(load):
    both = load("nwucla", size="laptop", unseen=3, fold="camera:1")["globals"]
    assert both["run"] == "llm_ar-laptop-unseen3-seed0-fold-camera1"
    assert both["split_folder"] == "nwucla/xview/recordings-unseen3-seed0-fold-camera1"


def test_a_model_to_start_from_is_a_folder_whatever_it_is_called(load, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("nwucla", init_from="~/2024")["parameters"]["init_from"] == f"{tmp_path}/2024"
    assert read_params("init_from=2024") == {"init_from": "2024"}
    plain = load("nwucla")
    assert load("nwucla", init_from="none")["globals"]["run"] == plain["globals"]["run"]
    assert plain["parameters"]["init_from"] is None
    assert load("nwucla", init_from="2024")["globals"]["run"] != plain["globals"]["run"]
    assert load("nwucla", init_from="2024")["parameters"]["run"]["init_from"] == "2024"
    with pytest.raises(UserError, match="init_from: expected a folder, saw 2024"):
        load("nwucla", init_from=2024)
