"""LLM-AR: skeleton action recognition with a large language model (CVPR 2024), as a Kedro project."""

__version__ = "0.1.0"
