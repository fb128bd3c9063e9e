import numpy as np
import pandas as pd
import pytest

from llmar_pipeline.reporting.figures import (
    confusion_figure,
    history_figure,
    per_class_figure,
    refusal_figure,
    reliability_figure,
    token_color,
)


def test_confusion_figure_shows_per_cent_of_the_true_class():
    counts = pd.DataFrame([[3, 1], [0, 0]], index=["a", "b <i>"], columns=["a", "b <i>"])
    figure = confusion_figure(counts)
    np.testing.assert_allclose(np.array(figure.data[0].z, dtype=float), [[75, 25], [np.nan, np.nan]])
    assert figure.layout.xaxis.title.text == "predicted class"
    assert figure.layout.yaxis.ticktext == ("a", "b &lt;i&gt;")


def test_confusion_figure_keeps_classes_with_the_same_beginning_apart():
    names = ["put something inside the left pocket", "put something inside the right pocket"]
    figure = confusion_figure(pd.DataFrame(np.eye(2, dtype=int), index=names, columns=names))
    assert np.array(figure.data[0].z).shape == (2, 2)
    assert list(figure.layout.xaxis.tickvals) == [0, 1]
    assert max(map(len, figure.layout.xaxis.ticktext)) <= 24


def test_per_class_figure_has_the_best_class_on_top():
    rows = pd.DataFrame({"class": ["a", "b"], "clips": [4, 2], "correct": [1, 2], "accuracy": [0.25, 1.0]})
    figure = per_class_figure(rows)
    assert list(figure.data[0].x) == [25, 100]  # Plotly counts from below
    assert figure.layout.yaxis.ticktext == ("a", "b")


def test_reliability_figure_is_in_per_cent():
    intervals = pd.DataFrame(
        {
            "low": [0.5, 0.9],
            "high": [0.6, 1.0],
            "clips": [3, 7],
            "confidence": [0.55, 0.97],
            "accuracy": [0.4, 1],
        }
    )
    bars, line = reliability_figure(intervals).data
    np.testing.assert_allclose([bars.x, bars.y, bars.width], [[55, 95], [40, 100], [10, 10]])
    assert list(line.x) == list(line.y) == [0, 100]


def panels(figure) -> dict[str, object]:
    return {trace.name: trace for trace in figure.data}


def test_refusal_figure_has_a_curve_for_each_kind_and_a_dot_at_the_threshold():
    curve = pd.DataFrame({"kept_unknown": [0.0, 0.5, 1.0], "kept_known": [0.0, 0.9, 1.0]})
    curve.attrs["area"] = 0.7
    numbers = {"refusal_refused_unseen": 0.8, "refusal_kept_test": 0.9, "refusal_refused_random": None}
    first, dot, second = refusal_figure({"unseen": curve, "random": curve}, numbers).data
    assert (first.name, second.name) == ("unseen: area 0.700", "random: area 0.700")
    np.testing.assert_allclose(np.array(first.x, float), [0, 50, 100])
    np.testing.assert_allclose([dot.x[0], dot.y[0]], [20, 90])
    assert len(refusal_figure({}, numbers).data) == 0


def test_history_figure_has_a_panel_for_each_term_and_drops_what_is_not_finite():
    history = pd.DataFrame(
        {
            "step": [20, 10, 30],
            "loss": [0.5, 8.0, np.nan],
            "zipf_loss": [0.2, 0.3, np.inf],
            "mmd_loss": [-0.1, 0.1, 0.0],
            "auxiliary_loss": [np.nan] * 3,
            "perplexity": [20.0, 10.0, 30.0],
            "codes_in_use": [0.5, 0.25, 1.0],
            "learning_rate": [1e-3] * 3,
        }
    )
    figure = history_figure(history)
    lines = {name: (list(trace.x), list(trace.y)) for name, trace in panels(figure).items()}
    assert lines == {
        "total loss": ([10, 20], [8, 0.5]),
        "Zipf loss": ([10, 20], [0.3, 0.2]),
        "MMD loss": ([10, 20, 30], [0.1, -0.1, 0]),
        "codes in use (%)": ([10, 20, 30], [25, 50, 100]),
        "perplexity of the codes": ([10, 20, 30], [10, 20, 30]),
    }
    assert len({trace.xaxis for trace in figure.data}) == 5  # a panel each
    titles = [note.text for note in figure.layout.annotations]
    assert titles == [
        "total loss",
        "Zipf loss",
        "codes in use (%)",
        "MMD loss",
        "perplexity of the codes",
    ]


def test_history_figure_puts_titles_over_their_panels():
    columns = ["loss", "a_loss", "b_loss", "codes_in_use", "perplexity", "dead_codes", "zipf_js", "error"]
    figure = history_figure(pd.DataFrame({"step": [1, 2], **{name: [1.0, 2.0] for name in columns}}))
    assert len(figure.data) == len(columns)
    for trace in figure.data:
        (note,) = [note for note in figure.layout.annotations if note.text == trace.name]
        across = figure.layout[f"xaxis{trace.xaxis[1:]}"].domain
        assert across[0] < note.x < across[1]
        assert note.y == pytest.approx(figure.layout[f"yaxis{trace.yaxis[1:]}"].domain[1])


def test_history_figure_is_logarithmic_over_large_positive_ranges_only():
    history = pd.DataFrame(
        {"step": [0, 1], "loss": [1.0, 0.1], "a_loss": [0.9, 0.7], "mmd_loss": [0.1, -1.0]}
    )
    figure = history_figure(history)
    kinds = {
        name: figure.layout[f"yaxis{trace.yaxis[1:]}"].type or "linear"
        for name, trace in panels(figure).items()
    }
    assert kinds == {"total loss": "log", "a loss": "linear", "MMD loss": "linear"}


def test_history_figure_draws_validation_beside_the_training():
    history = pd.DataFrame(
        {
            "step": [1, 2, 3, 4],
            "loss": [4.0, 3.0, 2.0, 1.0],
            "validation_loss": [np.nan, 6.0, np.nan, 5.0],
            "validation_accuracy": [np.nan, 0.25, np.nan, 0.5],
        }
    )
    figure = history_figure(history)
    loss, validation, accuracy = figure.data
    assert (list(validation.x), list(validation.y), validation.name) == ([2, 4], [6, 5], "validation loss")
    assert (list(accuracy.x), list(accuracy.y)) == ([2, 4], [25, 50])
    assert loss.yaxis == validation.yaxis != accuracy.yaxis
    assert loss.line.color != validation.line.color == accuracy.line.color
    assert figure.layout.yaxis.type == "log"  # from 1 to 6
    titles = [note.text for note in figure.layout.annotations]
    colour = validation.line.color
    assert titles == [f'loss, <span style="color:{colour}">validation</span>', "validation accuracy (%)"]
    assert len(history_figure(history.drop(columns=["validation_loss", "validation_accuracy"])).data) == 1


def test_history_figure_of_one_term_and_of_none():
    figure = history_figure(pd.DataFrame({"step": [1, 2], "loss": [1.0, 2.0]}))
    assert [trace.name for trace in figure.data] == ["loss"]
    assert len(history_figure(pd.DataFrame({"step": []})).data) == 0


def test_token_colors_are_light_and_differ():
    colors = [token_color(code) for code in range(64)]
    assert len(set(colors)) == 64
    assert token_color(5) == token_color(5)
    for color in colors:
        red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue > 170  # dark text stays legible
