"""Functions of the user that the configuration names as `package.module:name` or `path/to/file.py:name`."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


def source_file(key: str, name: str) -> Path:
    """Return the file that defines the function; it is not imported, but a package that holds it is.

    Raises:
        InputError: the name has no such form, or there is no such module or file. It names the configuration key `key`.
    """
    module, _, function = name.rpartition(":")
    if not module or not function.isidentifier():
        raise InputError(f"{key} {name!r}: is not of the form package.module:name or path/to/file.py:name")
    if module.endswith(".py"):
        if not Path(module).is_file():
            raise InputError(f"{key} {name!r}: {module} does not exist; give a path from the current folder")
        return Path(module)
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise InputError(f"{key} {name!r}: {error}; install the package, or give the path of a file") from error
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise InputError(f"{key} {name!r}: there is no module {module}; install it, or give the path of a file")
    return Path(spec.origin)


def check(key: str, name: str) -> None:
    """Check that the function's file defines or imports it, without running it.

    Raises:
        InputError: it does not; see also `source_file`.
    """
    file, function = source_file(key, name), name.rpartition(":")[2]
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{key} {name!r}: {file} cannot be read: {error}") from error
    if function not in _top_level_names(tree):
        defined = ", ".join(node.name for node in tree.body if isinstance(node, ast.FunctionDef)) or "none"
        raise InputError(f"{key} {name!r}: {file} has no {function}; its functions: {defined}")


def _top_level_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):  # conditional definitions, too
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


@functools.cache
def load(key: str, name: str) -> Callable[..., Any]:
    """Import the function.

    Raises:
        InputError: its module cannot be imported, or has no such function; see also `source_file`.
    """
    file, (module, _, function) = source_file(key, name), name.rpartition(":")
    try:
        found = getattr(_import(module, file), function)
    except Exception as error:
        raise InputError(f"{key} {name!r}: cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise InputError(f"{key} {name!r}: is not a function")
    return found


def _import(module: str, file: Path) -> Any:  # noqa: ANN401  a module
    if not module.endswith(".py"):
        return importlib.import_module(module)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent.absolute()))  # as for a script: modules beside it can be imported
    spec.loader.exec_module(loaded)
    return loaded
