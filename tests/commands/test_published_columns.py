"""The columns of the paper's tables as names of metrics: they stay, or old runs and later ones part."""

import pytest

from llmar_pipeline.commands.published import columns

USUAL = {
    "experiment": "llm_ar",
    "unseen": "none",
    "fold": "none",
    "shots": "all",
    "synthetic": False,
    "generalized": False,
}
NTU120 = {"corpus": "ntu120", "protocol": "xset"}
NAMES = {
    *("table1/ntu60_xsub", "table1/ntu60_xview", "table1/ntu120_xsub", "table1/ntu120_xset"),
    *("table2/smarthome_xsub", "table2/smarthome_xview1", "table2/smarthome_xview2", "table3/uav_csv1"),
    *("table4/accuracy", "table5/accuracy", "table6/accuracy", "table7/accuracy", "table8/accuracy"),
}


def test_every_column_has_its_name_in_the_docs(project):
    page = (project / "docs/paper_map.md").read_text(encoding="utf-8")
    assert {name for name in NAMES if f"`{name}`" not in page} == set()


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        *(
            ({"corpus": name.split("/")[1].split("_")[0], "protocol": name.split("_")[1]}, {name})
            for name in sorted(NAMES)
            if "accuracy" not in name and "xset" not in name
        ),
        (NTU120, {"table1/ntu120_xset", *(f"table{n}/accuracy" for n in (4, 5, 6, 7))}),
        (NTU120 | {"experiment": "no_zipf"}, {"table1/ntu120_xset", "table4/accuracy"}),
        (NTU120 | {"experiment": "no_discretization"}, {"table1/ntu120_xset", "table5/accuracy"}),
        (NTU120 | {"experiment": "euclidean"}, {"table1/ntu120_xset", "table6/accuracy"}),
        (NTU120 | {"experiment": "full_tuning"}, {"table1/ntu120_xset", "table7/accuracy"}),
        (NTU120 | {"experiment": "best"}, {"table1/ntu120_xset"}),
        (NTU120 | {"unseen": 3}, {"table8/accuracy"}),
        (NTU120 | {"unseen": 3, "experiment": "class_list_known"}, {"table8/accuracy"}),
        (NTU120 | {"unseen": 3, "experiment": "best"}, set()),
        *(
            ({"corpus": corpus, "protocol": "xview1"}, {"table2/smarthome_xview1"})
            for corpus in ("smarthome", "smarthome2d")
        ),
    ],
)
def test_a_run_stands_in_the_columns_that_it_fills(chosen, names):
    assert set(columns(USUAL | chosen)) == names
    assert names <= NAMES


@pytest.mark.parametrize(
    "other",
    [
        {"synthetic": True},
        {"fold": "1of3"},
        {"shots": 5},
        {"unseen": 5},
        {"unseen": 3, "generalized": True},
        {"unseen": "110-10"},
        {"corpus": "utdmhad", "protocol": "xsub"},
        {"corpus": "uav", "protocol": "csv2"},
    ],
)
def test_what_no_table_has_fills_no_column(other):
    assert columns(USUAL | NTU120 | other) == ()
