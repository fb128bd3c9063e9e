"""Run a program as if some packages were not installed: `python without_packages.py a,b program.py ...`.

Their modules are found by nobody, as `importlib.util.find_spec` sees it too, by which other packages ask what
there is.
"""

import runpy
import sys
from typing import Any


class Without:
    """A finder that knows all that another one does, but for some packages."""

    def __init__(self, finder: Any, packages: set[str]) -> None:
        self.finder, self.packages = finder, packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return None if name.partition(".")[0] in self.packages else self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


if __name__ == "__main__":
    missing = set(sys.argv[1].split(","))
    assert not missing & {name.partition(".")[0] for name in sys.modules}
    sys.meta_path[:] = [Without(finder, missing) for finder in sys.meta_path]
    sys.argv[:] = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
