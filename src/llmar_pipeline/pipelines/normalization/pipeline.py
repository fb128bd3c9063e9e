"""Normalization: recordings -> sequences; index -> splits, class_lists."""

from kedro.pipeline import Node, Pipeline

from llmar_pipeline.pipelines.normalization import nodes


def create_pipeline() -> Pipeline:
    """The stage's nodes, in one box of Kedro-Viz."""
    return Pipeline(
        [
            Node(
                nodes.normalize,
                inputs=["recordings", "params:normalization"],
                outputs="sequences",
                name="normalize",
            ),
            Node(
                nodes.split,
                inputs=[
                    "index",
                    "corpus",
                    "params:protocol",
                    "params:val_share",
                    "params:fold",
                    "params:unseen",
                    "params:shots",
                ],
                outputs=["splits", "class_lists"],
                name="split",
            ),
        ],
        namespace="normalization",
        prefix_datasets_with_namespace=False,
    )
