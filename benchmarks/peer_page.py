"""The page of peer.py, made from the rows alone."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from llmar_pipeline.commands.rows import find_row, read_rows, shares_of_right
from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.paired import paired_difference_of_shares

Row = Mapping[str, Any]
HEADS = (
    *("corpus", "streams", "seed", "peer, %", "one reading, %", "best look, %", "which adds"),
    *("`best`, %", "`best` less peer, points", "weights", "steps", "epochs", "processor s"),
)
TEXT = """
*peer*: after the last step, on as many readings of a clip as `best` has, with the 95 % interval over
clips. *best look*: the highest of ten looks at the test while it trains, of each stream, one reading a
clip. It is a bad habit: the test chooses the epoch. Here it decides nothing; what it adds is counted from
the last step's same reading. Several streams, a network each, share the processor seconds; their
log-probabilities are added. The seconds are those of training; those of `best` hold reading and scoring
too. How many steps they hold is measured with the first seed, beside `best` on one machine; further seeds
and other numbers of training clips take as many, whatever machine trains them. *`best` less peer*:
positive where `best` is above; the interval is over clips, seeds averaged first.

CTR-GCN itself has ten blocks of 64 to 256 channels and 1.46 million weights. Here, so that the processor
seconds see the training clips often enough, channels and strides are {blocks}.
"""


def read_peers(folder: Path) -> list[dict[str, Any]]:
    """The peer's rows of a folder, seeds of one setting together."""
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("peer-*.json")]
    return sorted(rows, key=lambda row: (_setting(row), row["seed"]))


def _setting(row: Row) -> tuple[str, ...]:
    where = (row["environment"], row["protocol"], json.dumps(row.get("overrides", {})))
    return (*where, f"{len(row['streams'])}", *row["streams"], row["budget"])


def difference(peers: Sequence[Row], rivals: Sequence[Row | None]) -> str:
    """`best` less the peer over the seeds of a setting, with the paired interval where rows know their clips.

    Args:
        peers: a seed each.
        rivals: the row of `best` of each seed, if it is there.
    """
    both = [(peer, rival) for peer, rival in zip(peers, rivals, strict=True) if rival]
    known = [(p, r) for p, r in both if r.get("clips") == p["clips"] and "right" in r]
    if not both:
        return "no row of `best`"
    if not known:
        apart = mean(r["metrics"]["accuracy"] - p["metrics"]["accuracy"] for p, r in both)
        return f"{100 * apart:+.1f} (no interval: rows of `best` do not say which clips were right)"
    theirs, ours = (shares_of_right(rows) for rows in zip(*known, strict=True))
    found = paired_difference_of_shares(ours, theirs)
    seeds = "" if len(known) == len(peers) else f", seeds {', '.join(str(p['seed']) for p, _ in known)} alone"
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f}{seeds})"


def percent(values: Sequence[float], sign: str = "") -> str:
    """Mean and, of several, standard deviation of shares of 1, in per cent."""
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):{sign}.1f}{spread}"


def _line(peers: Sequence[Row], rivals: Sequence[Row | None], seed: str) -> str:
    first, accuracy = peers[0], [row["metrics"]["accuracy"] for row in peers]
    one, best = ([row[f"{name}_accuracy"] for row in peers] for name in ("one_reading", "best_epoch"))
    own = percent(accuracy)
    if len(peers) == 1:
        own += " ({:.1f} to {:.1f})".format(
            *(100 * first["metrics"][f"accuracy_{end}"] for end in ("low", "high"))
        )
    streams = f"{', '.join(first['streams'])}{'' if first['budget'] == 'as best' else '; ' + first['budget']}"
    there = [rival["metrics"]["accuracy"] for rival in rivals if rival]
    changed = "".join(f", {name}={value}" for name, value in first.get("overrides", {}).items())
    cells = [
        f"{first['environment']} {first['protocol']}{changed}",
        streams.replace("_", " "),
        seed,
        own if len(peers) == 1 else f"**{own}**",
        *(percent(values) for values in (one, best)),
        percent([b - o for b, o in zip(best, one, strict=True)], "+"),
        percent(there) if there else "",
        difference(peers, rivals),
        *(
            f"{mean(row[name] for row in peers):,.0f}"
            for name in ("parameters", "steps", "epochs", "processor_seconds")
        ),
    ]
    return f"| {' | '.join(cells)} |"


def page(folder: Path) -> list[str]:
    """The lines of the page.

    Args:
        folder: of the rows, of the peer and of `best`.

    Raises:
        UserError: there is no row of the peer.
    """
    peers, kept = read_peers(folder), read_rows(folder)
    if not peers:
        raise UserError(
            f"expected a row of the peer in {folder}, saw none; run the same without --table-only"
        )
    lines = ["# A graph network of CTR-GCN's kind beside `best`", "", f"| {' | '.join(HEADS)} |"]
    lines.append(f"|{'|'.join(['---'] * 2 + ['---:'] * (len(HEADS) - 2))}|")
    for _, group in groupby(peers, _setting):
        rows = list(group)
        rivals = [find_row(kept, row["beside"]) for row in rows]
        lines += [_line([row], [rival], f"{row['seed']}") for row, rival in zip(rows, rivals, strict=True)]
        if len(rows) > 1:
            lines.append(_line(rows, rivals, "mean ± s.d."))
    blocks = {", ".join(f"{width}/{stride}" for width, stride in row["blocks"]) for row in peers}
    lines += TEXT.format(blocks="; ".join(sorted(blocks))).splitlines()
    lines.append("")
    lines += [f"- command: `{command}`" for command in sorted({row["command"] for row in peers})]
    lines += [
        f"- {name}: {'; '.join(sorted({f'{row[name]}' for row in peers}))}"
        for name in ("machine", "revision")
    ]
    return [*lines, ""]
