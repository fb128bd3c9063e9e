"""The code that decides a result, as part of what the result is made from."""

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

CODE = "code"
"""The key of a fingerprint under which `code_of` stands."""

_PACKAGE = __package__
_ROOT = Path(__file__).parent
_DECIDE_NOTHING = {
    *("errors", "files", "records", "code_digest", "machine", "progress", "kept_batches"),
    *("holders", "interruption"),
    *("training.callbacks", "training.launch", "training.launchers", "training.world", "training.validation"),
    *("vqvae.validation", "language.validation", "language.micro_batches"),
}
"""Modules that speak, keep and watch: no number depends on them, so their code is nobody's identity."""


def code_of(*modules: str) -> dict[str, list[str]]:
    """Digests of the code of some modules and of all that they import of this package.

    A digest is that of one statement of a module (a function, a class, a constant), without comments,
    docstrings, what a raised error says, import lines and the names of our modules. So another wording
    changes nothing, and what was only moved to another file keeps what was made by it.

    Args:
        modules: Their names, as `__name__` has them; the package's own may be left out.

    Returns:
        Name of each module -> digests of its statements, sorted; JSON-able, for `changed_modules`.

    Raises:
        ModuleNotFoundError: There is no such module.

    Source: ours.
    """
    found: dict[str, list[str]] = {}
    waiting = [name.removeprefix(f"{_PACKAGE}.") for name in modules]
    while waiting:
        name = waiting.pop()
        if name in found or name in _DECIDE_NOTHING:
            continue
        file = _file(name)
        if file is None:
            raise ModuleNotFoundError(f"{_PACKAGE} has no module {name}")
        digests, imported = _read(file, file.stat().st_mtime_ns)
        found[name] = digests
        waiting += imported
    return dict(sorted(found.items()))


def changed_modules(old: Mapping[str, Iterable[str]], new: Mapping[str, Iterable[str]]) -> list[str]:
    """Modules of which a statement was changed, added or taken away.

    Args:
        old: As `code_of` gave it.
        new: As it gives it now.

    Returns:
        File names below the package, sorted; empty where the same statements stand, in whatever files.
    """
    before, now = ({digest for digests in code.values() for digest in digests} for code in (old, new))
    changed = {name for name, digests in old.items() if not now.issuperset(digests)}
    changed |= {name for name, digests in new.items() if not before.issuperset(digests)}
    return sorted(f"{name.replace('.', '/')}.py" for name in changed)


def root() -> Path:
    """Folder of the package, whose code this is."""
    return _ROOT


def _file(name: str) -> Path | None:
    path = _ROOT.joinpath(*name.split("."))
    choices = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in choices if file.is_file()), None)


@functools.cache
def _read(file: Path, _changed: int) -> tuple[list[str], list[str]]:
    """Digests of a file's statements, and the modules of ours that it imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported = sorted({name for node in ast.walk(tree) for name in _imports(node)})
    bare: ast.Module = _Bare().visit(tree)  # type: ignore[assignment]
    texts = {ast.unparse(ast.fix_missing_locations(statement)) for statement in bare.body}
    return sorted(hashlib.sha256(text.encode()).hexdigest()[:12] for text in texts), imported


def _imports(node: ast.AST) -> Iterator[str]:
    """Modules of ours that an import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        return
    for name in names:
        package, _, below = name.partition(".")
        if package != _PACKAGE or not below:
            continue
        if _file(below) is not None:
            yield below
        elif (parent := below.rpartition(".")[0]) and _file(parent) is not None:
            yield parent


class _Bare(ast.NodeTransformer):
    """Takes away what decides nothing: docstrings, what errors say, import lines, names of our modules."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [child for child in body if not _is_text(child)]
            if not kept and not isinstance(node, ast.Module):
                kept = [ast.Pass()]
            node.body = kept  # type: ignore[attr-defined]
        if isinstance(node, ast.Import | ast.ImportFrom):
            return _renaming(node)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc = ast.Call(node.exc.func, [], [])
        if isinstance(node, ast.Constant) and str(node.value).startswith(f"{_PACKAGE}."):
            return ast.Constant("")
        return node


def _is_text(node: ast.stmt) -> bool:
    """A text that stands alone: a docstring of a module, class, function or attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _renaming(node: ast.Import | ast.ImportFrom) -> ast.Expr:
    """What an import line decides: which of several things a name of the module's own stands for."""
    pairs = [
        f"{a.name.rpartition('.')[2]} as {a.asname}" for a in node.names if a.asname not in (None, a.name)
    ]
    return ast.Expr(ast.List([ast.Constant(pair) for pair in pairs], ast.Load()))
