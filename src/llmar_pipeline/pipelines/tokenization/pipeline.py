"""Tokenization: vqvae_model and sequences -> action_sentences."""

from kedro.pipeline import Node, Pipeline

from llmar_pipeline.pipelines.tokenization import nodes


def create_pipeline() -> Pipeline:
    """The stage's nodes, in one box of Kedro-Viz."""
    return Pipeline(
        [
            Node(
                nodes.tokenize,
                inputs=[
                    "vqvae_model",
                    "sequences",
                    "splits",
                    "params:tokenization",
                    "params:augmentation",
                ],
                outputs="action_sentences",
                name="tokenize",
            ),
        ],
        namespace="tokenization",
        prefix_datasets_with_namespace=False,
    )
