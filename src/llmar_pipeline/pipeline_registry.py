"""The pipelines by name, written out: the order of the stages is the method."""

from kedro.pipeline import Pipeline

from llmar_pipeline.pipelines.evaluation.pipeline import create_pipeline as evaluation
from llmar_pipeline.pipelines.ingestion.pipeline import create_pipeline as ingestion
from llmar_pipeline.pipelines.lora.pipeline import create_pipeline as lora
from llmar_pipeline.pipelines.normalization.pipeline import create_pipeline as normalization
from llmar_pipeline.pipelines.reporting.pipeline import create_pipeline as reporting
from llmar_pipeline.pipelines.tokenization.pipeline import create_pipeline as tokenization
from llmar_pipeline.pipelines.vqvae.pipeline import create_pipeline as vqvae


def stages() -> dict[str, Pipeline]:
    """The seven stages, in order."""
    return {
        "ingestion": ingestion(),
        "normalization": normalization(),
        "vqvae": vqvae(),
        "tokenization": tokenization(),
        "lora": lora(),
        "evaluation": evaluation(),
        "reporting": reporting(),
    }


def register_pipelines() -> dict[str, Pipeline]:
    """Every name `kedro run --pipelines=` knows.

    `stage1` ends with the trained VQ-VAE (the paper's first training stage), `stage2` goes on from it.
    """
    made = stages()
    stage1 = made["ingestion"] + made["normalization"] + made["vqvae"]
    stage2 = made["tokenization"] + made["lora"] + made["evaluation"] + made["reporting"]
    return {
        **made,
        "stage1": stage1,
        "stage2": stage2,
        "full": stage1 + stage2,
        "__default__": stage1 + stage2,
    }


def all_inputs() -> set[str]:
    """What any pipeline reads."""
    return set().union(*(made.inputs() for made in stages().values()))
