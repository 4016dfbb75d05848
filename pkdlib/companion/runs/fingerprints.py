"""Which code decides what a function makes: a digest of all that it can reach, found without running any of it.

A result may be kept for as long as the code that can change its bits is the same. From the function's definition every
name that is mentioned is followed to where it is bound in the package, and from there on. Of a class count what Python
calls by itself (its bases, decorators, members with two underscores) and those members whose name is mentioned anywhere
in the code that is reached, in quotes or not; a class that derives from one outside the package, whose code may call
any member, counts whole. A name that is put together at run time is not seen.

Comments, docstrings and what an exception says can change no bit and are left out.
"""

import ast
import functools
import hashlib
import importlib.util
import inspect
from collections.abc import Callable, Collection, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

# Packages whose versions can change bits: the name that is imported -> that of the distribution.
_DECIDING_PACKAGES = {
    "av": "av",
    "curvlinops": "curvlinops-for-pytorch",
    "numpy": "numpy",
    "scipy": "scipy",
    "torch": "torch",
    "torchvision": "torchvision",
}
# Read when the package is loaded, since that is the code that runs, whatever the files hold later.
_OWN = Path(__file__).parents[2]
_LOADED = {path: path.read_text(encoding="utf-8") for path in _OWN.rglob("*.py")}

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Documented = ast.Module | _Definition


def fingerprint(function: Callable, *, without: Collection[str] = ()) -> dict[str, str]:
    """Digest the code that decides what a function makes.

    Args:
        function: Of a package's module; of a nested function, the outermost one around it counts with it.
        without: What is not followed, as it decides nothing or is told apart otherwise: modules and packages by their
            names within the package (`companion.runs.store`), or what a module binds (`companion.presets:PLANS`).

    Returns:
        `code`: 16 hexadecimal digits; and the versions of those packages that the code uses and that can change bits.
    """
    return dict(_fingerprint(function.__module__, function.__qualname__.partition(".")[0], frozenset(without)))


def reached(function: Callable, *, without: Collection[str] = ()) -> dict[str, str]:
    """List the code that `fingerprint` digests.

    Args:
        function: As `fingerprint` takes it.
        without: As there.

    Returns:
        Where it stands (the module, and behind a colon the name or class and member) -> its text, without comments and
        docstrings.
    """
    search = _Search(function.__module__.partition(".")[0], frozenset(without))
    search.run(function.__module__, function.__qualname__.partition(".")[0])
    return search.texts


def without_versions(record: Any) -> Any:
    """Leave out of a record what `fingerprint` gave it, however deep it stands.

    Args:
        record: JSON-compatible.

    Returns:
        The same, but for digests of code and versions of packages.
    """
    if not isinstance(record, dict):
        return record
    left = {name: value for name, value in record.items() if name not in ("code", *_DECIDING_PACKAGES)}
    return {name: without_versions(value) for name, value in left.items()}


def of_argument(function: Callable) -> str:
    """Digest the code of a function that is handed over, and may be the reader's own.

    Args:
        function: Of the package, whose code is followed; or of a notebook, whose own text counts.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: If its text cannot be found.
    """
    if isinstance(function, functools.partial):
        inner = (of_argument(function.func), function.args, sorted(function.keywords.items()))
        return hashlib.sha256(repr(inner).encode()).hexdigest()[:16]
    if function.__module__.partition(".")[0] == __name__.partition(".")[0]:
        return fingerprint(function)["code"]
    try:
        text = inspect.getsource(function)
    except OSError as error:
        raise ValueError(f"the text of {function.__qualname__} is not found: define it in a cell or a file") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def _fingerprint(module: str, name: str, without: frozenset[str]) -> tuple[tuple[str, str], ...]:
    search = _Search(module.partition(".")[0], without)
    search.run(module, name)
    lines = "".join(f"{place}\n{text}\n" for place, text in sorted(search.texts.items()))
    versions = {package: metadata.version(_DECIDING_PACKAGES[package]) for package in sorted(search.packages)}
    return (("code", hashlib.sha256(lines.encode()).hexdigest()[:16]), *versions.items())


class _Module:
    # A module's top-level statements by the names that they bind, and what those names mean that it imports.
    def __init__(self, name: str, tree: ast.Module, *, is_package: bool):
        self.name, self.package = name, name if is_package else name.rpartition(".")[0]
        self.bound: dict[str, list[ast.stmt]] = {}
        self.imported: dict[str, str] = {}
        self.loose: list[ast.stmt] = []  # what binds nothing is run all the same
        for statement in tree.body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.imported |= imports(statement, self.package)
            elif names := list(_binds(statement)):
                for own in names:
                    self.bound.setdefault(own, []).append(statement)
            else:
                self.loose.append(statement)
                self.imported |= _inner_imports(statement, self.package)


class _Search:
    def __init__(self, package: str, without: frozenset[str]):
        self.package, self.without = package, without
        self.texts: dict[str, str] = {}
        self.packages: set[str] = set()
        self._mentioned: set[str] = set()
        self._waiting: dict[str, list[tuple[_Module, str, ast.stmt]]] = {}  # members that none has mentioned yet
        self._entered: set[str] = set()

    def run(self, module: str, name: str) -> None:
        self._reach(module, name)

    def _reach(self, module: str, name: str) -> None:
        place = f"{module.partition('.')[2]}:{name}"
        if place in self._entered or self._is_left_out(module, place):
            return
        self._entered.add(place)
        found = _load(module)
        if f"{place.partition(':')[0]}:" not in self._entered:
            self._entered.add(f"{place.partition(':')[0]}:")
            for number, statement in enumerate(found.loose):
                self._take(found, f"(statement {number})", statement)
        if name in found.bound:
            for number, statement in enumerate(found.bound[name]):
                self._take_bound(found, f"{name}#{number}" if number else name, statement)
        elif name in found.imported:
            self._follow(found.imported[name], [])
        elif (submodule := f"{module}.{name}") and _is_module(submodule):
            self._reach_all(submodule)

    def _is_left_out(self, module: str, place: str) -> bool:
        inner = module.partition(".")[2]
        parts = inner.split(".")
        modules = {".".join(parts[: n + 1]) for n in range(len(parts))}
        return place in self.without or bool(modules & self.without)

    def _reach_all(self, module: str) -> None:
        for name in _load(module).bound:
            self._reach(module, name)

    def _take_bound(self, module: _Module, name: str, statement: ast.stmt) -> None:
        if not isinstance(statement, ast.ClassDef) or self._is_foreign(module, statement):
            self._take(module, name, statement)
            return
        header = ast.ClassDef(
            **{field: value for field, value in ast.iter_fields(statement) if field != "body"}, body=[ast.Pass()]
        )
        self._take(module, name, header)
        for member in statement.body:
            for own in list(_binds(member)) or ["(statement)"]:
                place = f"{name}.{own}"
                if own in self._mentioned or own.startswith(("__", "(")):
                    self._take(module, place, member)
                else:
                    self._waiting.setdefault(own, []).append((module, place, member))

    def _is_foreign(self, module: _Module, statement: ast.ClassDef) -> bool:
        return any(self._is_foreign_base(module, base) for base in statement.bases)

    def _is_foreign_base(self, module: _Module, base: ast.expr) -> bool:
        chain = _chain(base)
        if not chain:
            return True
        where, name = module.name, chain[0]
        while name not in (found := _load(where)).bound:
            if name not in found.imported or not self._is_own(found.imported[name]):
                return name != "object"
            path = found.imported[name]
            if _is_module(path):
                where, chain = path, chain[1:]
                name = chain[0]
            else:
                where, _, name = path.rpartition(".")
        return any(
            isinstance(each, ast.ClassDef) and self._is_foreign(_load(where), each) for each in found.bound[name]
        )

    def _take(self, module: _Module, name: str, statement: ast.stmt) -> None:
        place = f"{module.name.partition('.')[2]}:{name}"
        if place in self.texts:
            return
        self.texts[place] = _text(statement)
        local = _inner_imports(statement, module.package)
        for root, *rest in _chains(statement):
            if root in local or root in module.imported:
                self._follow(local.get(root) or module.imported[root], rest)
            else:
                if root in module.bound:
                    self._reach(module.name, root)
                self._mention(rest)

    def _follow(self, path: str, rest: list[str]) -> None:
        # What an import names, and the attributes that are taken of it.
        if not self._is_own(path):
            package = path.partition(".")[0]
            if package in _DECIDING_PACKAGES:
                self.packages.add(package)
            self._mention(rest)
        elif not _is_module(path):
            module, _, name = path.rpartition(".")
            self._reach(module, name)
            self._mention(rest)
        elif rest and _is_module(f"{path}.{rest[0]}"):
            self._follow(f"{path}.{rest[0]}", rest[1:])
        elif rest:
            self._reach(path, rest[0])
            self._mention(rest[1:])
        else:  # handed on as a whole
            self._reach_all(path)

    def _mention(self, names: Collection[str] | Iterator[str]) -> None:
        for name in names:
            if name not in self._mentioned:
                self._mentioned.add(name)
                for module, place, member in self._waiting.pop(name, ()):
                    self._take(module, place, member)

    def _is_own(self, path: str) -> bool:
        return path.partition(".")[0] == self.package


class _Bare(ast.NodeTransformer):
    # Without docstrings, and without what exceptions say.
    def _without_docstring(self, node: _Documented) -> _Documented:
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node

    visit_Module = visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _without_docstring

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return node


@functools.cache
def _load(module: str) -> _Module:
    path = Path(importlib.util.find_spec(module).origin)
    text = _LOADED[path] if path in _LOADED else path.read_text(encoding="utf-8")
    return _Module(module, _Bare().visit(ast.parse(text)), is_package=path.name == "__init__.py")


@functools.cache
def _is_module(path: str) -> bool:
    try:
        return importlib.util.find_spec(path) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


def imports(statement: ast.Import | ast.ImportFrom, package: str) -> dict[str, str]:
    """Say what names an import statement binds.

    Args:
        statement: The statement.
        package: Of the module that it stands in, for relative imports.

    Returns:
        Name -> what it means, with dots: a module, or what a module binds.
    """
    if isinstance(statement, ast.Import):
        return {
            alias.asname or alias.name.partition(".")[0]: alias.name if alias.asname else alias.name.partition(".")[0]
            for alias in statement.names
        }
    parents = package.split(".")
    base = ".".join(parents[: len(parents) - statement.level + 1]) if statement.level else ""
    source = ".".join(filter(None, [base, statement.module]))
    return {alias.asname or alias.name: f"{source}.{alias.name}" for alias in statement.names}


@functools.cache
def _inner_imports(statement: ast.stmt, package: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(statement):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= imports(node, package)
    return found


def _binds(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, _Definition):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            for node in ast.walk(target):
                if isinstance(node, ast.Name):
                    yield node.id


@functools.cache
def _text(statement: ast.stmt) -> str:
    return ast.unparse(statement)


def _chain(node: ast.AST) -> list[str]:
    # `a.b.c` as its names; of anything else nothing.
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


@functools.cache
def _chains(statement: ast.stmt) -> list[list[str]]:
    # Every name with the attributes taken of it; attributes of anything else stand behind a root without a name.
    found, pending = [], [statement]
    while pending:
        node = pending.pop()
        if chain := _chain(node):
            found.append(chain)
            continue
        if isinstance(node, ast.Attribute):
            found.append(["", node.attr])
        elif isinstance(node, ast.keyword) and node.arg:
            found.append(["", node.arg])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found.append([node.value, node.value])  # a type in quotes, or a member for getattr
        pending.extend(ast.iter_child_nodes(node))
    return found
