"""A small transformer on codes: what the order of an action sentence tells without a language model."""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmar_pipeline.evaluation.baselines import answer_table, answerable, likeliest

WIDTH, HEADS, LAYERS, BATCH = 64, 4, 2, 64
STEPS, PASSES = 400, 40  # as many steps, but of few clips no more than so many passes
RATE, DECAY = 2e-3, 0.05
DROPOUT, CODE_DROPOUT, SMOOTHING = 0.1, 0.2, 0.1
"""Fixed beforehand, so that nothing is chosen on any clip."""


class _CodeTransformer(nn.Module):
    """Embeddings of codes and places, self-attention, the mean over the places, a class."""

    def __init__(self, codes: int, places: int, classes: int) -> None:
        super().__init__()
        self.codes = nn.Embedding(codes, WIDTH)
        self.places = nn.Parameter(torch.randn(places, WIDTH))  # as long as codes: order is learnt soon
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, DROPOUT, F.gelu, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.last = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, classes))

    def forward(self, codes: Tensor) -> Tensor:
        embedded = self.codes(codes)
        if self.training:
            embedded = embedded * (torch.rand(codes.shape) >= CODE_DROPOUT).unsqueeze(-1)
        made: Tensor = self.last(self.layers(embedded + self.places).mean(1))
        return made


def code_transformer(sentences: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Answer test clips by a transformer that reads their codes in order.

    Trained on all readings of the training clips, a fixed number of steps.

    Args:
        sentences: Columns name, split, action, codes; all of one length.
        seed: Of its weights and of the order of the clips.

    Returns:
        `name`, `true`, `predicted`, one row a test clip. No row where no test clip can be answered rightly,
        or where there is but one class to train on.

    Source: ours.
    """
    train, test = (sentences[sentences["split"] == split] for split in ("train", "test"))
    if not answerable(train, test):
        return answer_table(test[:0], [])
    classes = sorted(set(train["action"]))
    read, asked = (torch.from_numpy(np.stack(part["codes"])).long() for part in (train, test))
    labels = torch.tensor(train["action"].map({name: n for n, name in enumerate(classes)}).tolist())
    steps = min(STEPS, -(-PASSES * len(read) // BATCH))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _CodeTransformer(1 + int(max(read.max(), asked.max())), read.shape[1], len(classes))
        optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
        for _ in range(steps):
            drawn = torch.randint(len(read), (BATCH,))
            loss = F.cross_entropy(model(read[drawn]), labels[drawn], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            scores = torch.cat([model(part).log_softmax(1) for part in asked.split(1024)])
    return likeliest(test, classes, scores.numpy())
