"""Predictions as tables: a choice of example clips, and plain text for the terminal."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from llmar_pipeline.evaluation.metrics import PROBABILITY, class_list


def example_clips(predictions: pd.DataFrame, n_wrong: int = 10, n_right: int = 10) -> pd.DataFrame:
    """Choose clips to show: the most confident mistakes first, then right answers spread over the table.

    Args:
        predictions: The predictions table.
        n_wrong: At most so many wrong clips.
        n_right: At most so many right clips.

    Returns:
        `name`, `true`, `predicted`, `probability` (of the predicted class), `right`.

    Raises:
        UserError: The table is empty or damaged.

    Source: ours.
    """
    clips = _with_probability(predictions)
    wrong = clips[~clips["right"]].sort_values("probability", ascending=False, kind="stable").head(n_wrong)
    right = _spread(clips[clips["right"]], n_right)
    return pd.concat([wrong, right], ignore_index=True)


def evenly_chosen(predictions: pd.DataFrame, each: int = 6) -> pd.DataFrame:
    """Choose clips whatever they look like: right and wrong ones, evenly spaced in the order of clip names.

    Args:
        predictions: The predictions table.
        each: At most so many right clips, and so many wrong ones.

    Returns:
        As `example_clips`, the wrong ones first.

    Raises:
        UserError: The table is empty or damaged.

    Source: ours.
    """
    clips = _with_probability(predictions).sort_values("name", kind="stable")
    parts = (_spread(clips[clips["right"] == right], each) for right in (False, True))
    return pd.concat(parts, ignore_index=True)


def prediction_table(predictions: pd.DataFrame, limit: int = 20) -> str:
    """Write true and predicted names as a text table, wrong ones marked.

    Args:
        predictions: The predictions table.
        limit: At most so many clips, spread evenly over the table, so that right and wrong ones keep
            about their shares.

    Raises:
        UserError: The table is empty or damaged.

    Source: ours.
    """
    clips = _spread(_with_probability(predictions), limit)
    rows = [
        (c.name, c.true, c.predicted, f"{c.probability:.0%}", "" if c.right else "wrong")
        for c in clips.itertuples(index=False)
    ]
    text = text_table(rows, ["clip", "true", "predicted", "probability", ""], limit=limit)
    hidden = len(predictions) - len(clips)
    return text + (f"\n... {hidden} more clips" if hidden else "")


def text_table(
    rows: Iterable[Sequence[object]], headers: Sequence[str], limit: int = 20, cell_width: int = 32
) -> str:
    """Align rows under headers for a terminal.

    Args:
        rows: Cells, one sequence a row, as many as there are headers.
        headers: Column names.
        limit: Rows shown; the number of the others is written below them.
        cell_width: Longer cells are cut to so many characters.

    Returns:
        Lines without trailing blanks, joined by newlines.

    Source: ours.
    """
    cells = [[_clip(str(cell), cell_width) for cell in row] for row in rows]
    shown = [list(headers), *cells[:limit]]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    shown.insert(1, ["-" * width for width in widths])
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]
    if len(cells) > limit:
        lines.append(f"... {len(cells) - limit} more rows")
    return "\n".join(lines)


def _clip(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 3].rstrip() + "..."


def _with_probability(predictions: pd.DataFrame) -> pd.DataFrame:
    classes = class_list(predictions)
    clips = predictions[["name", "true", "predicted"]].reset_index(drop=True)
    column = clips["predicted"].map({name: i for i, name in enumerate(classes)}).to_numpy()
    probability = predictions[[PROBABILITY + name for name in classes]].to_numpy()
    clips["probability"] = probability[np.arange(len(clips)), column]
    clips["right"] = clips["true"] == clips["predicted"]
    return clips


def _spread(clips: pd.DataFrame, n: int) -> pd.DataFrame:
    if len(clips) <= n:
        return clips
    return clips.iloc[np.linspace(0, len(clips) - 1, n).astype(int)]
