"""Kedro's project settings."""

from llmar_pipeline.hooks import FolderHook, PreflightHook, RecordHook, TrackingHook
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.io.origin import git_revision, now

HOOKS = (PreflightHook(), FolderHook(), RecordHook(), TrackingHook())
CONFIG_LOADER_CLASS = StackedConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "demo",
    "merge_strategy": {"parameters": "soft", "globals": "soft", "mlflow": "soft"},
    "config_patterns": {"mlflow": ["mlflow*"]},
    "custom_resolvers": {"git_revision": git_revision, "now": now},
}
