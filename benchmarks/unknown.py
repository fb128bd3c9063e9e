"""None of these, and classes enrolled by a few examples: on classes that no training was shown.

Asked are stage 1's features alone, by the code of the product; in place of the language model the class head
answers. Classes that a draw left out are the unknown ones: the threshold is that of clips held out in other
draws, and the shots are training clips of theirs, which no training was shown either.

    for draw in 10 11 12; do kedro run --pipelines=stage1 --env=utdmhad \
        --params=size=laptop,experiment=best,unseen=5,fold=subject:1,unseen_seed=$draw; done
    python benchmarks/unknown.py --draws 10 11 12 --fold subject:1 [--shots 1 3 5] [--out F.md]
    python benchmarks/unknown.py --draws 1 2 3 4 5 --threshold-draws 10 11 12 --threshold-fold subject:1
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from measuring import ROOT, machine, one_thread, write_page

import torch  # isort: skip  # measuring prepares the process for it

from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.folds import NONE
from llmar_pipeline.corpora.splits import split_run
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.io.params_text import read_params
from llmar_pipeline.recognition.enrolment import Enrolled
from llmar_pipeline.recognition.open_set import OpenSet
from llmar_pipeline.recognition.prototypes import Prototypes, fit_prototypes
from llmar_pipeline.recognition.refusal import Refusal, fit_refusal
from llmar_pipeline.records import read_recorded
from llmar_pipeline.settings import CONFIG_LOADER_ARGS
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.vqvae.config import TokenizationConfig
from llmar_pipeline.vqvae.features import mean_features
from llmar_pipeline.vqvae.tokenize import encode_readings, readings_to_recognize
from llmar_pipeline.vqvae.trained import load_vqvae
from llmar_pipeline.vqvae.windows import Clips

AT_ONCE = 64


class Draw(NamedTuple):
    """A training without some classes, and what is asked of it.

    Attributes:
        seen: Names of the classes that trained.
        unseen: Names of those left out.
        prototypes: Of the former.
        asked: Features of the clips that test, of all classes `[N, du]`.
        true: Their classes.
        chances: The class head's, of the seen classes, `[N, C]`.
        pool: Class left out -> features of its training clips, which no training was shown.
    """

    seen: list[str]
    unseen: list[str]
    prototypes: Prototypes
    asked: np.ndarray
    true: np.ndarray
    chances: np.ndarray
    pool: dict[str, np.ndarray]

    @property
    def known(self) -> np.ndarray:
        """Which of the asked are of classes that trained, `[N]`."""
        return np.isin(self.true, self.seen)


def read_draw(env: str, params: str, draw: int, fold: str) -> Draw:
    """A draw's stage 1, and its features of the clips."""
    chosen = read_params(params) | {"unseen_seed": draw} | ({} if fold == NONE else {"fold": fold})
    loader = StackedConfigLoader(str(ROOT / "conf"), env, chosen, **CONFIG_LOADER_ARGS)
    if not loader.place("vqvae_model").is_dir():
        raise UserError(f"expected {loader.place('vqvae_model')}, saw none; run the command in {__file__}")
    parameters, facts = (
        loader["parameters"],
        CorpusFacts.model_validate(read_recorded(loader.place("corpus"))),
    )
    unseen = read_recorded(loader.place("class_lists"))["unseen"]
    index = pd.read_parquet(loader.place("index"))
    protocol = loader["globals"]["protocol"]
    clips, _ = split_run(index, facts, protocol, parameters["val_share"], fold)  # of all classes
    model, store = load_vqvae(loader.place("vqvae_model")), SequenceStore.open(loader.place("sequences"))
    train, test = (clips[clips["split"] == part] for part in ("train", "test"))
    trained = train[~train["action"].isin(unseen)]
    by_label = trained.drop_duplicates("label").sort_values("label")["action"].tolist()
    labels = trained["action"].map({name: number for number, name in enumerate(by_label)}).to_numpy()
    readings = TokenizationConfig(**parameters["tokenization"]).test_readings
    shown = {name: train.loc[train["action"] == name, "name"].tolist() for name in unseen}
    return Draw(
        by_label,
        unseen,
        fit_prototypes(mean_features(model, store, trained["name"].tolist()), labels),
        mean_features(model, store, test["name"].tolist()),
        test["action"].to_numpy(str),
        head_chances(model, store, test["name"].tolist(), readings),
        {name: mean_features(model, store, names) for name, names in shown.items()},
    )


@torch.no_grad()
def head_chances(model: torch.nn.Module, store: SequenceStore, names: list[str], count: int) -> np.ndarray:
    """What the class head says of clips, the mean of their readings, `[N, C]`."""
    made = []
    for first in range(0, len(names), AT_ONCE):
        clips = Clips.load(store, names[first : first + AT_ONCE])
        readings = [each for clip in range(len(clips)) for each in readings_to_recognize(clips, clip, count)]
        told = model.classify(*encode_readings(model, clips, readings))
        made.append(told.exp().unflatten(0, (len(clips), count)).mean(1).numpy())
    return np.concatenate(made)


def refusal_of(draws: list[Draw]) -> Refusal:
    """What the clips of known classes say that these draws were asked for."""
    fits = []
    for draw in draws:
        distances = draw.prototypes.distances(draw.asked[draw.known])
        labels = np.array([draw.seen.index(name) for name in draw.true[draw.known]])
        fits.append(fit_refusal(distances, labels))
    temperature = float(np.exp(np.mean(np.log([fit.temperature for fit in fits]))))
    return Refusal(np.concatenate([fit.distances for fit in fits]), temperature)


def none_of_these(draw: Draw, refusal: Refusal) -> dict[str, float]:
    """Shares of known clips that are kept and of unknown ones that are refused; areas under the curve."""
    from sklearn.metrics import roc_auc_score

    open_set = OpenSet(draw.prototypes, refusal)
    _, refused = open_set.judge(draw.asked, draw.chances)
    nearest = draw.prototypes.distances(draw.asked).min(axis=1)
    return {
        "kept": float(1 - refused[draw.known].mean()),
        "refused": float(refused[~draw.known].mean()),
        "area": float(roc_auc_score(draw.known, -nearest)),
        "area_of_probability": float(roc_auc_score(draw.known, draw.chances.max(axis=1))),
    }


def enrolment(draw: Draw, refusal: Refusal, shots: int, seeds: range) -> dict[str, float]:
    """Shares of right answers once the unseen classes were enrolled by so many drawn clips each."""
    names = np.array(draw.seen + draw.unseen)
    before = np.array(draw.seen)[draw.chances.argmax(axis=1)]
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        enrolled = tuple(
            Enrolled(name, (), rng.permutation(features)[:shots]) for name, features in draw.pool.items()
        )
        chances, refused = OpenSet(draw.prototypes, refusal, enrolled).judge(draw.asked, draw.chances)
        right = names[chances.argmax(axis=1)] == draw.true
        rows.append(
            {
                "enrolled": right[~draw.known].mean(),
                "old_before": (before == draw.true)[draw.known].mean(),
                "old": right[draw.known].mean(),
                "all": right.mean(),
                "probability": chances.max(axis=1).mean(),
                "refused": refused.mean(),
            }
        )
    return pd.DataFrame(rows).mean().to_dict()


def table(rows: dict[str, dict[str, float]], first: str) -> list[str]:
    """Rows in per cent, and their mean."""
    frame = pd.DataFrame(rows).T
    frame.loc["mean"] = frame.mean()
    heads = [name.replace("_", " ") for name in frame.columns]
    lines = [f"| {first} | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    return lines + [
        f"| {name} | {' | '.join(f'{100 * value:.1f}' for value in row)} |" for name, row in frame.iterrows()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="utdmhad", help="dataset: a folder of conf")
    parser.add_argument("--params", default="size=laptop,experiment=best,unseen=5", help="as of `kedro run`")
    parser.add_argument("--draws", type=int, nargs="+", required=True, help="values of unseen_seed")
    parser.add_argument("--fold", default=NONE, help="as `kedro run` takes it")
    parser.add_argument("--threshold-draws", type=int, nargs="+", help="default: the other ones of --draws")
    parser.add_argument("--threshold-fold", default=NONE)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--shot-draws", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    one_thread()
    try:
        draws = {n: read_draw(arguments.env, arguments.params, n, arguments.fold) for n in arguments.draws}
        others = [
            read_draw(arguments.env, arguments.params, n, arguments.threshold_fold)
            for n in arguments.threshold_draws or []
        ]
        told = {n: refusal_of(others or [draws[m] for m in draws if m != n]) for n in draws}
        unknown = {str(n): none_of_these(draw, told[n]) for n, draw in draws.items()}
        seeds = range(arguments.shot_draws)
        lines = [
            "# None of these, and classes by a few examples",
            "",
            *machine(" ".join(["python benchmarks/unknown.py", *sys.argv[1:]]), f"0 to {len(seeds) - 1}"),
            "Per cent of the clips that test: known ones that are kept, unknown ones that",
            "are refused; areas under the curves of the distance and of the class head's probability.",
            "",
            *table(unknown, "draw"),
        ]
        for shots in arguments.shots:
            rows = {str(n): enrolment(draw, told[n], shots, seeds) for n, draw in draws.items()}
            lines += ["", f"Enrolled by {shots}, mean of {len(seeds)} drawings of the shots.", ""]
            lines += table(rows, "draw")
        chance = 1 / len(next(iter(draws.values())).seen + next(iter(draws.values())).unseen)
        temperatures = ", ".join(f"{told[n].temperature:.2f}" for n in draws)
        thresholds = ", ".join(f"{told[n].threshold:.1f}" for n in draws)
        lines += ["", f"Chance {chance:.1%}. Temperatures {temperatures}; thresholds {thresholds}.", ""]
        write_page(arguments.out, lines)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
