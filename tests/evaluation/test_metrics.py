import numpy as np
import pandas as pd
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.metrics import (
    accuracies,
    build_predictions,
    confusion,
    metrics,
    most_confused,
    paired_difference,
    per_class,
    seen_and_unseen,
)

CLASSES = ["sit", "stand", "wave"]


def table() -> pd.DataFrame:
    """Five clips: sit right, sit taken for wave twice, stand right, wave right."""
    probabilities = [[0.7, 0.2, 0.1], [0.3, 0.1, 0.6], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.0, 0.2, 0.8]]
    true = ["sit", "sit", "sit", "stand", "wave"]
    with np.errstate(divide="ignore"):
        return build_predictions(list("abcde"), true, CLASSES, np.log(probabilities))


def test_build_predictions_takes_the_softmax_and_the_best_class():
    # e^1 / (e^1 + e^2 + e^3) = 0.0900, and so on; a common offset changes nothing.
    predictions = build_predictions(["a"], ["sit"], CLASSES, np.array([[1.0, 2.0, 3.0]]) - 5000)
    assert predictions.loc[0, "predicted"] == "wave"
    np.testing.assert_allclose(
        predictions.loc[0, ["p:sit", "p:stand", "p:wave"]].astype(float), [0.09003057, 0.24472847, 0.66524096]
    )


def test_an_impossible_class_has_probability_zero():
    assert table().loc[4, "p:sit"] == 0


@pytest.mark.parametrize("scores", [[[0.0, np.nan, 1.0]], [[-np.inf, -np.inf, -np.inf]]])
def test_build_predictions_refuses_what_is_no_number(scores):
    with pytest.raises(UserError, match="clip 'a'"):
        build_predictions(["a"], ["sit"], CLASSES, np.array(scores))


def test_build_predictions_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"saw 1 and \[1, 2\]"):
        build_predictions(["a"], ["sit"], CLASSES, np.zeros((1, 2)))


def test_metrics_of_five_clips():
    values = metrics(table(), majority_class="sit")
    assert values["accuracy"] == pytest.approx(3 / 5)
    assert values["mean_class_accuracy"] == pytest.approx((1 / 3 + 1 + 1) / 3)
    assert "top5" not in values  # three classes: it would be 1
    assert (values["untested_classes"], values["untrained_classes"]) == ([], [])
    assert values["majority_accuracy"] == pytest.approx(3 / 5)
    assert values["majority_mean_class_accuracy"] == pytest.approx(1 / 3)
    assert values["chance"] == pytest.approx(1 / 3)
    assert (values["n_test"], values["n_classes"]) == (5, 3)
    assert metrics(table())["majority_accuracy"] is None


def test_top5_counts_the_sixth_class_as_wrong():
    classes = list("abcdef")
    scores = np.array([[5.0, 4, 3, 2, 1, 0]] * 3)
    assert metrics(build_predictions(list("xyz"), list("aef"), classes, scores))["top5"] == pytest.approx(
        2 / 3
    )


@pytest.mark.parametrize(("n", "there"), [(5, False), (6, True)])
def test_no_top_5_of_five_classes(n, there):
    classes = list("abcdef")[:n]
    predictions = build_predictions(["x"], ["a"], classes, np.zeros((1, n)))
    assert ("top5" in metrics(predictions)) == there


def test_mean_class_accuracy_leaves_out_classes_without_clips():
    values = metrics(table()[lambda t: t["true"] != "stand"])
    assert values["mean_class_accuracy"] == pytest.approx((1 / 3 + 1) / 2)
    assert values["untested_classes"] == ["stand"]
    assert values["chance"] == pytest.approx(1 / 3)


def test_a_class_that_was_tested_only_counts_as_wrong_and_is_named():
    predictions = table()
    predictions.loc[predictions["true"] == "stand", "true"] = "fly"
    values = metrics(predictions)
    assert values["untrained_classes"] == ["fly"]
    assert values["untested_classes"] == ["stand"]
    assert values["mean_class_accuracy"] == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert values["accuracy"] == pytest.approx(2 / 5)
    counts = confusion(predictions)
    assert list(counts.index) == list(counts.columns) == [*CLASSES, "fly"]
    assert counts.loc["fly", "stand"] == counts.loc["fly"].sum() > 0
    row = per_class(predictions).set_index("class").loc["fly"]
    assert (row["correct"], row["mistaken_for"]) == (0, "stand")


def test_interval_is_that_of_the_binomial_distribution():
    # 200 clips, 150 right: standard error sqrt(0.75 * 0.25 / 200) = 0.0306, so 0.75 -+ 0.060.
    scores = np.tile([1.0, 0.0], (200, 1))
    predictions = build_predictions(
        [f"c{i}" for i in range(200)], ["a"] * 150 + ["b"] * 50, ["a", "b"], scores
    )
    values = metrics(predictions, seed=1)
    assert values["accuracy_low"] == pytest.approx(0.690, abs=0.006)
    assert values["accuracy_high"] == pytest.approx(0.810, abs=0.006)
    assert metrics(predictions, seed=1) == values


def test_interval_of_the_mean_over_classes():
    # Class a 90 of 100 right, class b 10 of 20: standard error sqrt(0.09 / 100 + 0.25 / 20) / 2 = 0.0579, so
    # 0.7 -+ 0.113.
    scores = np.array([[1.0, 0.0]] * 90 + [[0.0, 1.0]] * 10 + [[0.0, 1.0]] * 10 + [[1.0, 0.0]] * 10)
    predictions = build_predictions(
        [f"c{i}" for i in range(120)], ["a"] * 100 + ["b"] * 20, ["a", "b"], scores
    )
    values = metrics(predictions, seed=1)
    assert values["mean_class_accuracy"] == pytest.approx(0.7)
    assert values["mean_class_accuracy_low"] == pytest.approx(0.587, abs=0.006)
    assert values["mean_class_accuracy_high"] == pytest.approx(0.813, abs=0.006)


def test_both_accuracies_of_any_answers():
    answers = pd.DataFrame({"true": ["a", "a", "a", "b"], "predicted": ["a", "a", "A", "none"]})
    assert accuracies(answers, "x_") == {"x_accuracy": 0.5, "x_mean_class_accuracy": pytest.approx(1 / 3)}
    nothing = {"accuracy": None, "mean_class_accuracy": None}
    assert accuracies(None, "") == accuracies(answers[:0], "") == nothing


def test_confusion_has_the_true_classes_in_rows():
    counts = confusion(table())
    assert list(counts.index) == list(counts.columns) == CLASSES
    assert counts.to_numpy().tolist() == [[1, 0, 2], [0, 1, 0], [0, 0, 1]]


def test_most_confused_counts_mistakes_only():
    pairs = most_confused(table())
    assert pairs[["true", "predicted", "count"]].to_numpy().tolist() == [["sit", "wave", 2]]
    assert pairs["share"].tolist() == pytest.approx([2 / 3])
    assert most_confused(table().iloc[[0, 3]]).empty


def test_per_class():
    rows = per_class(table())
    assert rows["class"].tolist() == CLASSES
    assert rows["clips"].tolist() == [3, 1, 1]
    assert rows["correct"].tolist() == [1, 1, 1]
    assert rows["accuracy"].tolist() == pytest.approx([1 / 3, 1, 1])
    assert rows["mistaken_for"].tolist() == ["wave", "", ""]


def test_damaged_tables_are_refused():
    with pytest.raises(UserError, match="at least one test clip"):
        metrics(table().iloc[:0])
    with pytest.raises(UserError, match="NaN in 1 of 5 clips, first 'c'"):
        metrics(table().assign(**{"p:sit": [0.1, 0.2, np.nan, 0.3, 0.4]}))
    with pytest.raises(UserError, match="'jump'"):
        confusion(table().replace({"predicted": {"stand": "jump"}}))
    with pytest.raises(UserError, match="columns name, true"):
        per_class(table().drop(columns="true"))


def paired(both: int, only_one: int, only_other: int, neither: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Answers of the one and of the other on clips that both, only the one, ... answer rightly."""
    right = [(True, True)] * both + [(True, False)] * only_one + [(False, True)] * only_other
    right += [(False, False)] * neither
    one, other = (
        pd.DataFrame(
            {
                "name": [f"c{n}" for n in range(len(right))],
                "true": "sit",
                "predicted": ["sit" if answers[side] else "wave" for answers in right],
            }
        )
        for side in (0, 1)
    )
    return one, other.sample(frac=1, random_state=0)  # clips are matched by name


def test_seen_and_unseen_classes_by_hand():
    """Seen: a 1 of 2, b 1 of 1, mean 3/4. Unseen: c 1 of 4. Their harmonic mean: 2 * 3/4 * 1/4 / 1 = 3/8."""
    answers = pd.DataFrame({"true": list("aabcccc"), "predicted": list("abbcaab")})
    values = seen_and_unseen(answers, {"c"}, "text_")
    expected = {"text_seen_accuracy": 0.75, "text_unseen_accuracy": 0.25, "text_harmonic_mean": 0.375}
    assert values == pytest.approx(expected)
    assert seen_and_unseen(answers.assign(predicted="x"), {"c"})["harmonic_mean"] == 0
    assert seen_and_unseen(answers, {"d"})["harmonic_mean"] is None  # no clip of it is tested
    assert seen_and_unseen(answers, ()) == {}


def test_a_paired_difference_by_hand():
    values = paired_difference(*paired(5, 3, 1, 1), "bag")
    assert list(values) == ["minus_bag", "minus_bag_low", "minus_bag_high"]
    assert values["minus_bag"] == pytest.approx((3 - 1) / 10)
    swapped = paired_difference(*reversed(paired(5, 3, 1, 1)), "bag")
    assert swapped["minus_bag"] == pytest.approx(-0.2)
    assert paired_difference(*paired(4, 0, 0, 6), "bag") == dict.fromkeys(values, 0)
    assert paired_difference(*paired(0, 7, 0, 0), "bag") == dict.fromkeys(values, 1)
    one, other = paired(1, 1, 1, 1)
    assert paired_difference(one, other[:0], "bag") == dict.fromkeys(values)


@pytest.mark.parametrize("counts", [(60, 12, 4, 24), (30, 1, 6, 3), (900, 40, 40, 20)])
def test_the_interval_of_a_paired_difference_is_that_of_resampled_clips(counts):
    """Against clips drawn with replacement one by one."""
    values = paired_difference(*paired(*counts), "bag", resamples=20_000)
    _, more, less, _ = counts
    gaps = np.repeat([1, -1, 0], [more, less, sum(counts) - more - less])
    rng = np.random.default_rng(1)
    drawn = [rng.choice(gaps, len(gaps)).mean() for _ in range(20_000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    step = 1.01 / len(gaps)  # a quantile of so many clips lies on a grid
    assert values["minus_bag_low"] == pytest.approx(low, abs=step)
    assert values["minus_bag_high"] == pytest.approx(high, abs=step)


def test_pairing_makes_the_interval_shorter_than_that_of_one_accuracy():
    one, other = paired(50, 3, 3, 44)
    values = paired_difference(one, other, "bag")
    spread = 1.96 * np.sqrt(6) / 100  # of the sum of a hundred gaps, of which six are 1 or -1
    assert values["minus_bag_high"] - values["minus_bag_low"] == pytest.approx(2 * spread, abs=0.021)
    assert values["minus_bag_high"] < 1.96 * 0.05  # half that of the accuracy, 53 of 100
