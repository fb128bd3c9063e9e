import numpy as np
import pandas as pd

from llmar_pipeline.commands.accuracy_plot import accuracy_plot
from llmar_pipeline.commands.comparison import compare


def runs(accuracies):
    """A line a run of {(environment, experiment): accuracies}; None failed."""
    return pd.DataFrame(
        [
            {
                "environment": environment,
                "protocol": "xsub",
                "experiment": experiment,
                "seed": seed,
                "failed": "killed" if accuracy is None else "",
                "accuracy": np.nan if accuracy is None else accuracy,
            }
            for (environment, experiment), several in accuracies.items()
            for seed, accuracy in enumerate(several)
        ]
    )


def test_every_corpus_has_a_panel_and_every_experiment_its_mean():
    table = runs(
        {
            ("nwucla", "llm_ar"): [0.5, 0.6],
            ("nwucla", "best"): [0.9, None],
            ("utdmhad", "llm_ar"): [None, None],
            ("utdmhad", "best"): [0.75, 0.85],
        }
    )
    image = accuracy_plot(table, compare(table)).decode()
    for text in ("nwucla xsub", "utdmhad xsub", "55.0", "90.0", "80.0", "llm_ar", "best"):
        assert f">{text}<" in image
    assert ">nan<" not in image
    assert accuracy_plot(table, compare(table)).decode() == image
    assert len(image) < 50_000


def test_without_accuracies_there_is_nothing_to_draw():
    table = runs({("nwucla", "llm_ar"): [None, None]})
    assert accuracy_plot(table, compare(table)) == b""
    assert accuracy_plot(table, compare(table.drop(columns="accuracy"))) == b""
