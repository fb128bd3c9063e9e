"""Names of NTU RGB+D's recordings, as many in each part as its authors count."""

from itertools import product

import pandas as pd

from llmar_pipeline.corpora.ntu import MISSING_60, NTU60, captured

SUBJECTS, SETUPS = range(1, 41), range(1, 18)
TRAIN_SESSIONS, TEST_SESSIONS = 112, 46
"""Subjects of the parts, counted in every setup that they were recorded in: 360 recordings each, so
112 x 360 = 40,091 of X-Sub's training and 229 damaged ones, 46 x 360 = 16,487 of its test and 73."""


def official_names() -> list[str]:
    """56,578 names: 158 sessions of 3 cameras, 2 replications and 60 actions, less the 302 damaged ones.

    No source at hand names the sessions. The 107 that the missing list shows are among them, the others are
    filled in, in the order of subjects and setups, until each part of X-Sub has as many as were recorded.
    """
    sessions = {(int(name[1:4]), int(name[9:12])) for name in MISSING_60}
    trains = NTU60.protocols["xsub"].train
    for wanted, part in ((TRAIN_SESSIONS, trains), (TEST_SESSIONS, set(SUBJECTS) - trains)):
        recorded = sum(subject in part for _, subject in sessions)
        unseen = [subject for subject in sorted(part) if subject not in {p for _, p in sessions}]
        first = [(1, subject) for subject in unseen]  # nobody has no recording
        others = [(setup, subject) for subject, setup in product(sorted(part), SETUPS)]
        for session in [*first, *others]:
            if recorded < wanted and session not in sessions:
                sessions.add(session)
                recorded += 1
    index = pd.DataFrame(sorted(sessions), columns=["setup", "subject"])
    return sorted(captured(index, MISSING_60) - MISSING_60)
