"""Ingestion: raw recordings -> recordings, index, quarantine, bodies, clips amiss."""

from kedro.pipeline import Node, Pipeline

from llmar_pipeline.pipelines.ingestion import nodes


def create_pipeline() -> Pipeline:
    """The stage's nodes, in one box of Kedro-Viz."""
    return Pipeline(
        [
            Node(
                nodes.provide_recordings,
                inputs="params:demo_recordings",
                outputs="raw_recordings",
                name="provide_recordings",
            ),
            Node(
                nodes.ingest,
                inputs=["raw_recordings", "params:corpus", "params:ingestion"],
                outputs="recordings",
                name="ingest",
            ),
            Node(
                nodes.list_clips,
                inputs="recordings",
                outputs=["clips", "quarantine", "bodies", "corpus"],
                name="list_clips",
            ),
            Node(
                nodes.compare,
                inputs=[
                    "recordings",
                    "clips",
                    "quarantine",
                    "corpus",
                    "params:corpus",
                    "params:demo_recordings",
                ],
                outputs=["clips_amiss", "gaps"],
                name="compare_with_official_counts",
            ),
            Node(
                nodes.accept,
                inputs=[
                    "clips",
                    "quarantine",
                    "gaps",
                    "raw_recordings",
                    "corpus",
                    "params:ingestion",
                    "params:allow_incomplete",
                    "params:protocol",
                ],
                outputs="index",
                name="accept",
            ),
        ],
        namespace="ingestion",
        prefix_datasets_with_namespace=False,
    )
