"""VQ-VAE training: sequences of the train split -> vqvae_model, vqvae_history."""

from kedro.pipeline import Node, Pipeline

from llmar_pipeline.pipelines.vqvae import nodes
from llmar_pipeline.training.history import read_history


def create_pipeline() -> Pipeline:
    """The stage's nodes, in one box of Kedro-Viz."""
    return Pipeline(
        [
            Node(
                nodes.train,
                inputs=[
                    "sequences",
                    "splits",
                    "index",
                    "vqvae_checkpoints",
                    "llm_cache",
                    "params:llm",
                    "params:vqvae",
                    "params:augmentation",
                    "params:vqvae_training",
                    "params:init_from",
                ],
                outputs="vqvae_model",
                name="train_vqvae",
            ),
            Node(
                read_history,
                inputs="vqvae_model",
                outputs="vqvae_history",
                name="read_vqvae_history",
            ),
        ],
        namespace="vqvae",
        prefix_datasets_with_namespace=False,
    )
