"""The generated reference: commands, HTTP routes, names of Python, and types of problems."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, cast
from unittest.mock import patch

import execstream
from execstream.cli import app
from execstream.config.settings import Settings
from execstream.dashboard.app import build_app
from execstream.dashboard.error_codes import ERROR_CODES
from execstream.dashboard.services import CommandSender


def cli_reference() -> Iterator[str]:
    """Each command with its arguments and options, as `--help` has them."""
    # Cyclopts takes the program's name from the command line.
    with patch.object(sys, "argv", [execstream.__name__]):
        pages = app.generate_docs(output_format="markdown", heading_level=1)
    # Before that are a table of contents, which the site makes too, and Cyclopts' own command.
    _, first, rest = pages.partition("## execstream up")
    yield (first + rest).rstrip()


# ---- HTTP ------------------------------------------------------------------------------------


@cache
def _openapi() -> dict[str, Any]:
    # Nothing is sent, and no server asked, until the application is started.
    return build_app(Settings(), cast("CommandSender", None)).openapi()


def http_reference() -> Iterator[str]:
    """Each route with its parameters and answers, from `/openapi.json`."""
    for path, operations in _openapi()["paths"].items():
        for method, operation in operations.items():
            yield f"## {method.upper()} {path}"
            yield ""
            yield " ".join(operation["description"].split())
            yield from _parameters(operation)
            if body := operation.get("requestBody"):
                yield ""
                yield f"Body: {_media(body['content'])}."
            for status, answer in operation["responses"].items():
                if status != "default":
                    yield ""
                    yield f"Answer {status}: {_media(answer.get('content', {}))}."
            yield ""


def _parameters(operation: dict[str, Any]) -> Iterator[str]:
    parameters = [one for one in operation.get("parameters", []) if one["in"] != "header"]
    if not parameters:
        return
    yield ""
    yield "| parameter | in | type | meaning |"
    yield "| --- | --- | --- | --- |"
    for one in parameters:
        needed = "required; " if one["required"] and one["in"] == "query" else ""
        meaning = needed + " ".join(one.get("description", "").split())
        yield f"| `{one['name']}` | {one['in']} | {_type(one['schema'])} | {meaning} |"


def _media(content: dict[str, Any]) -> str:
    return ", or ".join(
        f"`{media}`, {_type(one['schema'])}" if "schema" in one else f"`{media}`"
        for media, one in content.items()
    )


def _type(schema: dict[str, Any]) -> str:
    """The type that a schema describes, in words, with its default and bounds."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if alternatives := schema.get("anyOf", schema.get("oneOf")):
        kinds = (_type(one) for one in alternatives if one.get("type") != "null")
        return " or ".join(dict.fromkeys(kinds)) + _default(schema)
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"]) + _default(schema)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "any JSON")
    name = " or ".join(kind) if isinstance(kind, list) else kind
    form = f" ({schema['format']})" if "format" in schema else ""
    least, most = schema.get("minimum"), schema.get("maximum")
    bounds = f" from {least} to {most}" if least is not None and most is not None else ""
    return f"{name}{form}{bounds}{_default(schema)}"


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default in (None, [], "") else f", by default `{str(default).lower()}`"


def problem_types() -> Iterator[str]:
    """Each type of a problem, with a heading of its own to link to."""
    for one in ERROR_CODES.values():
        yield f"### {one.code}"
        yield ""
        yield f"Status {one.status.value}. {one.meaning}"
        yield ""
        yield f"{one.remedy}"
        yield ""


# ---- Python ----------------------------------------------------------------------------------


def python_reference() -> Iterator[str]:
    """The public names with their signatures and docstrings."""
    for name in execstream.__all__:
        found = getattr(execstream, name)
        if isinstance(found, ModuleType):
            yield from _module(found)
        else:
            yield from _documented(name, found, 2)


def _module(module: ModuleType) -> Iterator[str]:
    yield f"## {module.__name__}"
    yield ""
    yield from _docstring(module)
    if module is execstream.execution:
        return  # the functions and models of the other modules, with the original's arguments
    for name, found in vars(module).items():
        is_ours = getattr(found, "__module__", "").startswith(f"{execstream.__name__}.")
        if is_ours and not name.startswith("_"):
            yield from _documented(name, found, 3)


def _documented(name: str, found: Any, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name}"
    yield ""
    yield "```python"
    yield from _declared(name.rpartition(".")[2], found)
    yield "```"
    yield ""
    yield from _docstring(found)
    if inspect.isclass(found):
        for method, function in _methods(found):
            yield f"* `{_signature(method, function)}`"
            yield ""
            yield textwrap.indent(inspect.getdoc(function) or "", "  ")
            yield ""


def _docstring(found: Any) -> Iterator[str]:
    if doc := found.__doc__:  # not an inherited one
        yield inspect.cleandoc(doc)
        yield ""


def _declared(name: str, found: Any) -> Iterator[str]:
    if inspect.isclass(found):
        initializer = found.__dict__.get("__init__")
        if inspect.isfunction(initializer):
            yield _signature("__init__", initializer).replace("def __init__(", f"class {name}(")
        else:
            yield from _fields(name, found)
    elif inspect.isroutine(found):
        yield _signature(name, found)
    else:
        yield f"{name} = {found!r}"


def _fields(name: str, cls: type) -> Iterator[str]:
    """The class with the fields that its body declares."""
    node = next(one for one in _parsed(cls) if isinstance(one, ast.ClassDef))
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield f"class {name}({bases}):" if bases else f"class {name}:"
    fields = [
        ast.unparse(one)
        for one in node.body
        if isinstance(one, ast.AnnAssign) or (isinstance(one, ast.Assign) and one.targets)
        if not ast.unparse(one).startswith("_")
    ]
    yield from (f"    {field}" for field in fields or ["..."])


def _methods(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods that this project defines, inherited ones among them."""
    for method in dict.fromkeys(name for one in cls.__mro__ for name in vars(one)):
        if method.startswith("_"):
            continue
        found = inspect.getattr_static(cls, method)
        function = getattr(found, "__func__", getattr(found, "fget", found))
        module = getattr(function, "__module__", None) or ""
        if inspect.isfunction(function) and module.startswith("execstream."):
            yield method, function


def _signature(name: str, function: Any) -> str:
    """The definition as its source has it, without decorators and body."""
    function = inspect.unwrap(function)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    node = next(one for one in _parsed(function) if isinstance(one, kinds))
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    if node.args.args and node.args.args[0].arg in ("self", "cls"):
        del node.args.args[0]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and name != "__init__" else ""
    return f"{kind} {name}({ast.unparse(node.args)}){returns}"


def _parsed(found: Any) -> list[ast.stmt]:
    """The statements of the source of a class or function, which are one: itself."""
    return ast.parse(textwrap.dedent(inspect.getsource(found))).body
