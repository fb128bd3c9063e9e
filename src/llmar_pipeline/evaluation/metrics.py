"""Recognition accuracy and its controls, from one table of predictions.

A predictions table has one row a test clip: `name`, `true`, `predicted` (class names) and one column
`p:<class name>` a class, which holds that class's probability.
"""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.probability import probabilities

PROBABILITY = "p:"


def build_predictions(
    names: Sequence[str], true: Sequence[str], class_names: Sequence[str], log_likelihoods: np.ndarray
) -> pd.DataFrame:
    """Turn the log-likelihood of every class name into a predictions table.

    The probability of a class is the softmax of the log-likelihoods over the class list.

    Args:
        names: Clip names, [N].
        true: True class names, [N].
        class_names: The class list, [C].
        log_likelihoods: Log-likelihood of each class name given each clip in nats, [N, C].

    Returns:
        The predictions table, N rows in the order of `names`.

    Raises:
        UserError: A log-likelihood is NaN, or every class of a clip is impossible.

    Source: ours (argmax over the class list, Eq. 13 of the paper scored exactly).
    """
    scores = np.asarray(log_likelihoods, dtype=np.float64)
    if scores.shape != (len(names), len(class_names)) or len(true) != len(names):
        raise ValueError(
            f"expected {len(names)} true names and log-likelihoods [{len(names)}, {len(class_names)}],"
            f" saw {len(true)} and {list(scores.shape)}"
        )
    if scores.size == 0:
        raise UserError("expected at least one test clip and one class, saw none; check the split.")
    best = scores.max(axis=1)
    if not np.isfinite(best).all():
        clip = names[int(np.flatnonzero(~np.isfinite(best))[0])]
        raise UserError(
            f"expected finite log-likelihoods, saw NaN or infinity for clip {clip!r}:"
            " stage 2 has diverged, train it with a lower learning rate."
        )
    table = pd.DataFrame(
        {
            "name": list(names),
            "true": list(true),
            "predicted": [class_names[i] for i in scores.argmax(axis=1)],
        }
    )
    columns = pd.DataFrame(probabilities(scores), columns=[PROBABILITY + name for name in class_names])
    return pd.concat([table, columns], axis=1)


def class_list(predictions: pd.DataFrame) -> list[str]:
    """Return the class names of a predictions table, in column order, after checking the table.

    True names need not be among them: a class that was never trained is in no class list.

    Raises:
        UserError: The table is empty, lacks a column, holds a NaN probability or an answer that is no class.

    Source: ours.
    """
    if predictions.empty:
        raise UserError(
            "expected at least one test clip in the predictions, saw none; check the protocol's test split."
        )
    missing = {"name", "true", "predicted"} - set(predictions.columns)
    columns = [c for c in predictions.columns if c.startswith(PROBABILITY)]
    if missing or not columns:
        raise UserError(
            f"expected predictions with the columns name, true, predicted and p:<class name>,"
            f" saw {list(predictions.columns)[:6]}: run the evaluation again."
        )
    invalid = predictions[columns].isna().any(axis=1)
    if invalid.any():
        raise UserError(
            f"expected a probability for every class, saw NaN in {int(invalid.sum())} of {len(predictions)}"
            f" clips, first {predictions['name'][invalid].iloc[0]!r}: run the evaluation again."
        )
    classes = [c.removeprefix(PROBABILITY) for c in columns]
    unknown = set(predictions["predicted"]) - set(classes)
    if unknown:
        raise UserError(
            f"expected predicted names from the {len(classes)} classes, saw {sorted(unknown)[0]!r}:"
            " use the class list of this dataset."
        )
    return classes


def metrics(
    predictions: pd.DataFrame, majority_class: str | None = None, seed: int = 0, resamples: int = 10_000
) -> dict[str, float | int | list[str] | None]:
    """Compute accuracy, its confidence interval and the trivial controls.

    The interval is the percentile bootstrap over clips. A resample of N clips holds a binomial number of
    right ones, so the resamples are drawn from that distribution. The interval has no width where every
    clip is right or every clip is wrong. For the mean over classes, each class is resampled by itself, so
    that none is missing from a resample.

    Args:
        predictions: The predictions table.
        majority_class: Most frequent class of the training split, for `majority_accuracy`.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Returns:
        All as fractions of 1: `accuracy`, its 95 % interval `accuracy_low` and `accuracy_high`,
        `mean_class_accuracy` (over classes that occur in `true`) and its `mean_class_accuracy_low` and
        `mean_class_accuracy_high`, `top5` (only of more than 5 classes), `majority_accuracy` and
        `majority_mean_class_accuracy` (None without `majority_class`), `chance` (a class of the list,
        drawn at random); the counts `n_test` and `n_classes` (of the class list); and the names
        `untested_classes` (in the class list, without a test clip) and `untrained_classes` (with test clips,
        not in the class list: their clips count as wrong).

    Raises:
        UserError: The table is empty or damaged.

    Source: ours.
    """
    classes = class_list(predictions)
    right = (predictions["predicted"] == predictions["true"]).to_numpy()
    n_test, accuracy = len(right), float(right.mean())
    rng = np.random.default_rng(seed)
    low, high = np.quantile(rng.binomial(n_test, accuracy, resamples) / n_test, [0.025, 0.975])
    by_class = per_class(predictions)
    clips, shares = by_class["clips"].to_numpy(), by_class["accuracy"].to_numpy()
    means = (rng.binomial(clips, shares, (resamples, len(clips))) / clips).mean(axis=1)
    class_low, class_high = np.quantile(means, [0.025, 0.975])

    probability = predictions[[PROBABILITY + c for c in classes]].to_numpy(np.float64)
    ranked = np.argsort(-probability, axis=1, kind="stable")[:, :5]
    true_index = predictions["true"].map({c: i for i, c in enumerate(classes)}).to_numpy()
    top5 = float((ranked == true_index[:, None]).any(axis=1).mean())
    true = set(predictions["true"])
    return {
        "accuracy": accuracy,
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "mean_class_accuracy": float(by_class["accuracy"].mean()),
        "mean_class_accuracy_low": float(class_low),
        "mean_class_accuracy_high": float(class_high),
        **({"top5": top5} if len(classes) > 5 else {}),
        **accuracies(
            None if majority_class is None else predictions.assign(predicted=majority_class), "majority_"
        ),
        "chance": 1 / len(classes),
        "n_test": n_test,
        "n_classes": len(classes),
        "untested_classes": [name for name in classes if name not in true],
        "untrained_classes": sorted(true - set(classes)),
    }


def accuracies(answers: pd.DataFrame | None, prefix: str) -> dict[str, float | None]:
    """Both accuracies of any answers: of a control, or of clips other than the test clips.

    Args:
        answers: Columns `true` and `predicted`, class names or any text. None or empty: there are none.
        prefix: Of the keys.

    Returns:
        `accuracy` and `mean_class_accuracy` (over classes that occur in `true`), as fractions of 1, or None.

    Source: ours.
    """
    if answers is None or answers.empty:
        return {f"{prefix}accuracy": None, f"{prefix}mean_class_accuracy": None}
    right = (answers["predicted"] == answers["true"]).astype(float)
    return {
        f"{prefix}accuracy": float(right.mean()),
        f"{prefix}mean_class_accuracy": float(right.groupby(answers["true"]).mean().mean()),
    }


def seen_and_unseen(
    answers: pd.DataFrame, unseen: Collection[str], prefix: str = ""
) -> dict[str, float | None]:
    """How a list of seen and unseen names is chosen from: what calls all by seen ones is half of nothing.

    Args:
        answers: Columns `true` and `predicted`.
        unseen: Classes that were not trained; none where they are not told apart.
        prefix: Of the keys.

    Returns:
        `seen_accuracy` and `unseen_accuracy`, means over the classes of each kind, and their `harmonic_mean`,
        as fractions of 1; nothing without unseen classes.

    Source: Xian et al., Zero-Shot Learning: A Comprehensive Evaluation, TPAMI 2019.
    """
    if not unseen:
        return {}
    new = answers["true"].isin(list(unseen))
    seen, other = (accuracies(answers[part], "")["mean_class_accuracy"] for part in (~new, new))
    mean = None if seen is None or other is None else 2 * seen * other / ((seen + other) or 1.0)
    return {
        f"{prefix}seen_accuracy": seen,
        f"{prefix}unseen_accuracy": other,
        f"{prefix}harmonic_mean": mean,
    }


def paired_difference(
    predictions: pd.DataFrame, other: pd.DataFrame, name: str, seed: int = 0, resamples: int = 2000
) -> dict[str, float | None]:
    """How much more often one is right than another on the same clips.

    The interval is the percentile bootstrap over clips. A resample holds a multinomial number of clips that
    only the one, only the other, and both or none answer rightly.

    Args:
        predictions: Columns name, true, predicted.
        other: The same, of all of these clips; empty where there are none.
        name: Of the other, for the keys.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Returns:
        `minus_<name>`, `minus_<name>_low` and `minus_<name>_high`: the difference of the accuracies and its
        95 % interval, as fractions of 1, or None.

    Source: ours.
    """
    keys = [f"minus_{name}", f"minus_{name}_low", f"minus_{name}_high"]
    if other.empty:
        return dict.fromkeys(keys)
    answers = predictions[["name", "true", "predicted"]].merge(
        other[["name", "predicted"]], on="name", suffixes=("", "_other"), validate="one_to_one"
    )
    right, its = answers["predicted"] == answers["true"], answers["predicted_other"] == answers["true"]
    n, more, less = len(answers), int((right & ~its).sum()), int((its & ~right).sum())
    drawn = np.random.default_rng(seed).multinomial(n, [more / n, less / n, 1 - (more + less) / n], resamples)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, [0.025, 0.975])
    return dict(zip(keys, ((more - less) / n, float(low), float(high)), strict=True))


def confusion(predictions: pd.DataFrame) -> pd.DataFrame:
    """Count the clips of every (true, predicted) pair: rows true, columns predicted, both in class order.

    Classes that only occur in `true` stand behind those of the class list.

    Raises:
        UserError: The table is empty or damaged.

    Source: ours.
    """
    classes = class_list(predictions)
    classes += sorted(set(predictions["true"]) - set(classes))
    counts = pd.crosstab(predictions["true"], predictions["predicted"])
    return counts.reindex(index=classes, columns=classes, fill_value=0)


def most_confused(predictions: pd.DataFrame, n: int = 10) -> pd.DataFrame:
    """List the `n` most frequent mistakes as `true`, `predicted`, `count`, `share` (of `true`'s clips).

    Raises:
        UserError: The table is empty or damaged.

    Source: ours.
    """
    class_list(predictions)
    wrong = predictions[predictions["true"] != predictions["predicted"]]
    pairs = wrong.groupby(["true", "predicted"]).size().rename("count").reset_index()
    pairs["share"] = pairs["count"] / predictions["true"].value_counts().reindex(pairs["true"]).to_numpy()
    order = ["count", "share", "true", "predicted"]
    return pairs.sort_values(order, ascending=[False, False, True, True], ignore_index=True).head(n)


def per_class(predictions: pd.DataFrame) -> pd.DataFrame:
    """Score every class that occurs in `true`, in class order.

    Returns:
        One row a class: `class`, `clips`, `correct`, `accuracy` (fraction of 1), and `mistaken_for`, the
        most frequent wrong answer ("" where there is none).

    Raises:
        UserError: The table is empty or damaged.

    Source: ours.
    """
    counts = confusion(predictions)
    counts = counts[counts.sum(axis=1) > 0]
    correct = np.array([counts.loc[name, name] for name in counts.index])
    wrong = counts.copy()
    for name in wrong.index:
        wrong.loc[name, name] = 0
    mistaken = np.where(wrong.max(axis=1) > 0, wrong.idxmax(axis=1), "")
    clips = counts.sum(axis=1).to_numpy()
    return pd.DataFrame(
        {
            "class": list(counts.index),
            "clips": clips,
            "correct": correct,
            "accuracy": correct / clips,
            "mistaken_for": mistaken,
        }
    )
