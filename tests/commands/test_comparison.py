"""The table of a grid, from rows without runs."""

import pytest

from llmar_pipeline.commands.comparison import as_markdown, compare, in_words, table_of, write_page


def run(experiment, seed, right, environment="nwucla", clips="abc", **more):
    known = {"environment": environment, "protocol": "xview", "experiment": experiment}
    known |= {"size": "laptop", "seed": seed}
    answers = {} if clips is None else {"right": right, "clips": clips}
    accuracy = right.count("1") / len(right)
    row = {
        **known,
        "processor_seconds": 100 + seed,
        "metrics": {"accuracy": accuracy, "headline": "accuracy"},
    }
    return known, {**row, **answers, **more}


def compared(*runs, failed=""):
    identities, rows = zip(*runs, strict=True)
    return compare(table_of(identities, rows, [failed] * len(rows)))


GRID = [run("a", 0, "1100"), run("a", 1, "1000"), run("b", 0, "1110"), run("b", 1, "1110")]


def test_mean_spread_and_interval():
    """a: 50 and 25 %, b: 75 twice; shares of a 1, 1/2, 0, 0, of b 1, 1, 1, 0, so d = 0, 1/2, 1, 0."""
    table = compared(*GRID)
    assert table["experiment"].tolist() == ["a", "b"]
    assert table["accuracy"].tolist() == [0.375, 0.75]
    assert table["accuracy_sd"].tolist() == pytest.approx([0.25 / 2**0.5, 0])
    assert table["less_first"].tolist()[1:] == [0.375]
    assert table["less_first_low"].tolist()[1:] == [0]
    assert 0.625 <= table["less_first_high"][1] <= 0.875
    assert as_markdown(in_words(table)).splitlines() == [
        "| experiment | seeds | accuracy, % | less a, points | seed by seed | processor s |",
        "|---|---:|---:|---:|---:|---:|",
        "| a | 2 | 37.5 ± 17.7 |  |  | 100 ± 1 |",
        f"| b | 2 | 75.0 ± 0.0 | +37.5 (+0.0 to {100 * table['less_first_high'][1]:+.1f}) | +25.0, +50.0 "
        "| 100 ± 1 |",
    ]


@pytest.mark.parametrize("other", [{"clips": None}, {"clips": "others"}])
def test_rows_that_do_not_speak_of_the_same_clips_have_no_interval(other):
    table = compared(*GRID[:3], run("b", 1, "1110", **other))
    assert "less_first_low" not in table
    assert "| b | 2 | 75.0 ± 0.0 | +37.5 | +25.0, +50.0 | 100 ± 1 |" in as_markdown(in_words(table))


def test_a_difference_is_over_the_seeds_that_both_have():
    """Seed 0 alone: 75 less 50 %; clips differ by 0, 0, 1, 0. Of all seeds of a the mean is 37.5."""
    table = compared(*GRID[:3])
    assert table["less_first"][1] == 0.25
    assert table["less_first_low"][1] == 0
    assert "less_first" not in compared(*GRID[:2], run("b", 2, "1110"))


@pytest.mark.parametrize(
    ("first", "shown"), [("llm_ar", ["91.5", "83.4 (-8.1)", ""]), ("best", ["", "83.4", ""])]
)
def test_the_papers_own_differences_stand_beside(first, shown):
    words = in_words(compared(run(first, 0, "10"), run("no_discretization", 0, "11"), run("ball", 0, "11")))
    assert words["the paper (NTU120 X-Set), %"].tolist() == shown
    alone = [run(first, 0, "10"), run("ball", 0, "11")]
    others = [run(first, 0, "10", "utdmhad"), run("ball", 0, "11", "utdmhad")]
    assert "the paper (NTU120 X-Set), %" not in in_words(compared(*alone, *others))


def test_each_environment_has_a_first_experiment_of_its_own():
    others = [run("a", 0, "11", "utdmhad", clips="d"), run("b", 0, "10", "utdmhad", clips="d")]
    table = compared(*GRID, *others)
    assert table["less_first"].tolist()[1::2] == [0.375, -0.5]
    assert "| utdmhad xview | b | 1 | 50.0 | -50.0 (-100.0 to +0.0) | -50.0 | 100 |" in as_markdown(
        in_words(table)
    )


def test_what_failed_is_named_and_the_rest_counts():
    known, _ = run("b", 2, "0000")
    table = compared(*GRID, (known, None), failed="no | room")
    assert table["seeds"].tolist() == [2, 2]
    text = as_markdown(in_words(table))
    assert text.splitlines()[0].endswith(" | failed |")
    assert text.splitlines()[-1].endswith(" | seed 2: no \\| room |")


def test_where_the_first_experiment_failed_nothing_is_compared():
    known, _ = run("a", 0, "1")
    table = compared((known, None), GRID[2], failed="broken")
    assert "less_first" not in table
    assert as_markdown(in_words(table)).splitlines()[2] == "| a | 0 |  |  | seed 0: broken |"


def test_the_page_shows_text_as_text(tmp_path):
    words = in_words(compared(*GRID)).replace("a", "<script>")
    write_page(tmp_path / "page.html", "a < b", words, ["x & y"])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "<h1>a &lt; b</h1>" in text
    assert "<li>x &amp; y</li>" in text
    assert text.count("<tr") == 3
