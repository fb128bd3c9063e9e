"""From raw files to names of actions, with models that have learnt nothing; see stage2.py."""

import tempfile
from pathlib import Path
from statistics import median

from measuring import DEVICE, now, take_turns
from stage2_scoring import untrained

from llmar_pipeline.corpora.ntu import CLASS_NAMES, NTU60
from llmar_pipeline.demo.recordings import DemoConfig, generate_recordings
from llmar_pipeline.ingestion.ingest import IngestionConfig, ingest
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import score_sentences
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.trained_model import load_model, save_model
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.normalization import NormalizationConfig, normalize_store
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.vqvae.config import TokenizationConfig, VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.tokenize import tokenize_clips

RECORDINGS = DemoConfig(subjects=(1, 2), cameras=(1,), damaged_files=0)  # ten actions of each
NORMALIZATION = NormalizationConfig(fill_gaps=True, center=True, align_view=False, scale_to_body=False)
NO_AUGMENTATION = AugmentationConfig(min_crop=1, rotation=0, tilt=0, scale=0, noise=0, mirror=False)
CLASSES, BATCH = 60, 8


class Recognition:
    """The stages that a recording goes through, each on what the one before has written."""

    def __init__(self, folder: Path, recognizer: ActionLanguageModel) -> None:
        self.folder, self.recognizer, self.turn = folder, recognizer, 0
        self.clips = len(generate_recordings(folder / "raw", RECORDINGS))

    def read(self) -> float:
        """Seconds a clip of reading the files into a store."""
        self.turn += 1  # what an earlier turn wrote would be taken over
        started = now()
        settings = IngestionConfig(workers=1, max_quarantined_share=0)
        index = ingest(NTU60, self.folder / "raw", self.folder / f"read {self.turn}", settings).index
        self.table = index[["name"]].assign(split="test", label=0, action="")
        return (now() - started) / self.clips

    def normalize(self) -> float:
        """Seconds a clip of normalising them."""
        started = now()
        normalize_store(self.folder / f"read {self.turn}", self.folder / f"normal {self.turn}", NORMALIZATION)
        return (now() - started) / self.clips

    def tokenize(self) -> float:
        """Seconds a clip of encoding them, loading the VQ-VAE included."""
        model, sequences = self.folder / "vqvae", self.folder / f"normal {self.turn}"
        if not model.exists():
            store = SequenceStore.open(sequences)
            VQVAE(VQVAEConfig(code_dim=self.recognizer.words.embedding_dim, width=128), store.body).save(
                model
            )
        started = now()
        self.sentences = tokenize_clips(
            model, sequences, self.table, TokenizationConfig(readings=0), NO_AUGMENTATION
        )["codes"].tolist()
        return (now() - started) / self.clips

    def score(self) -> float:
        """Seconds a clip of finding the likeliest name."""
        started = now()
        names = CLASS_NAMES[:CLASSES]
        scores = score_sentences(self.recognizer, self.sentences, BATCH, names)
        assert len([names[best] for best in scores.argmax(axis=1)]) == self.clips
        return (now() - started) / self.clips


def recognize(llm_config: LLMConfig, cache: Path, rounds: int) -> list[str]:
    """The Markdown section."""
    config = llm_config.model_copy(update={"precision": "float32"})
    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as name:
        save_model(untrained(config, cache, "recognize"), Path(name, "recognizer"))
        started = now()
        recognizer = load_model(Path(name, "recognizer"), cache, dtype="float32").to(DEVICE)
        loading = now() - started
        recognition = Recognition(Path(name), recognizer)
        took = take_turns(
            {
                "raw file to sequence": recognition.read,
                "normalisation": recognition.normalize,
                "action sentence": recognition.tokenize,
                f"name out of {CLASSES}": recognition.score,
            },
            rounds,
        )
    whole = sum(map(median, took.values()))
    lines = [f"## Raw file to name: {config.model}, {recognition.clips} clips, {CLASSES} classes", ""]
    lines += ["| stage | ms a clip | share |", "|---|---:|---:|"]
    lines += [
        f"| {stage} | {median(seconds) * 1e3:,.1f} | {median(seconds) / whole:.1%} |"
        for stage, seconds in took.items()
    ]
    lines += [
        f"| all | {whole * 1e3:,.1f} | {1 / whole:,.2f} clips/s |",
        "",
        f"Made-up recordings of the demo, {BATCH} clips in a pass of the language model, one process. Before",
        f"that the language model is loaded once, in {loading:.1f} s.",
        "",
    ]
    return lines
