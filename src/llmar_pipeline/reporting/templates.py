"""Pages and cards are made of templates: how these are read."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def templates(**settings: Any) -> Environment:
    """The templates that lie beside this file; every value is escaped, and none may be missing.

    Args:
        **settings: Of Jinja, over these.
    """
    usual: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    loader = PackageLoader("llmar_pipeline", "reporting")
    return Environment(loader=loader, undefined=StrictUndefined, **usual | settings)
