import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.io.chosen_values import settle


def test_folders_may_name_the_home_folder_and_variables(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch")
    settled = settle({"data_dir": "~/x", "raw_dir": "$SCRATCH/${SCRATCH}", "size": "gpu", "fold": None})
    assert settled == {"data_dir": "/home/me/x", "raw_dir": "/scratch//scratch", "size": "gpu"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2024, "data_dir: expected a folder, saw 2024; put its name in quotes"),
        (True, "saw True; put its name in quotes"),
        (["a"], r"saw \['a'\]"),
        (" ", "saw ' '"),
        ("~nobody-of-this-name/x", "expected a home folder for ~, saw none"),
        ("$NO_SUCH_VARIABLE/x", r"expected a variable of the environment behind \$, saw one that is not set"),
    ],
)
def test_what_is_no_folder_is_refused(value, expected):
    with pytest.raises(UserError, match=expected):
        settle({"data_dir": value})


@pytest.mark.parametrize("value", [True, "true", "yes", "on", 1])
def test_a_boolean_may_be_written_in_many_ways(value):
    assert settle({"allow_incomplete": value}) == {"allow_incomplete": True}
    assert settle({"allow_incomplete": "n"}) == {"allow_incomplete": False}


@pytest.mark.parametrize("value", ["maybe", "none", 2, [], "ja"])
def test_what_is_no_boolean_never_counts_as_yes(value):
    with pytest.raises(UserError, match=r"allow_incomplete=.*: expected true or false, saw"):
        settle({"allow_incomplete": value})
