import numpy as np
import pandas as pd
import pytest

from llmar_pipeline.evaluation.figures import (
    confusion_figure,
    loss_figure,
    per_class_figure,
    token_color,
    usage_figure,
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


def test_loss_figure_draws_a_line_a_name_and_drops_nan():
    records = [
        {"step": 10, "name": "zipf", "value": 0.5},
        {"step": 0, "name": "zipf", "value": 1.0},
        {"step": 0, "name": "total", "value": 2.0},
        {"step": 10, "name": "total", "value": float("nan")},
    ]
    figure = loss_figure(records)
    lines = {line.name: (list(line.x), list(line.y)) for line in figure.data}
    assert lines == {"zipf": ([0, 10], [1.0, 0.5]), "total": ([0], [2.0])}
    assert figure.layout.yaxis.type == "log"
    assert set(figure.layout.yaxis.tickvals) >= {0.5, 1.0, 2.0}


def test_loss_figure_is_linear_where_a_loss_is_not_positive():
    figure = loss_figure([{"step": 0, "name": "mmd", "value": -0.1}])
    assert figure.layout.yaxis.type == "linear"
    assert len(loss_figure([]).data) == 0


def test_usage_figure_ranks_the_used_codes():
    figure = usage_figure(np.array([1, 0, 3]))
    assert list(figure.data[0].x) == [1, 2]
    assert list(figure.data[0].y) == [75, 25]
    assert sum(figure.data[1].y) == pytest.approx(100)
    # Shares 3/4 and 1/4: exp(entropy) = 4 / 3^0.75 = 1.75.
    assert "2 of 3 codes used, perplexity 1.8" in figure.layout.title.text


def test_token_colors_are_light_and_differ():
    colors = [token_color(code) for code in range(64)]
    assert len(set(colors)) == 64
    assert token_color(5) == token_color(5)
    for color in colors:
        red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue > 170  # dark text stays legible
