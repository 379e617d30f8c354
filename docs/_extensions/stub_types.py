"""Types for what is written in C: the stub _winsockctl.pyi has them, the docstrings do not."""

import ast
import builtins
import inspect
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import winsockctl

STUB = Path(winsockctl.__file__).with_name("_winsockctl.pyi")

# Names that nobody imports, by what they mean to a reader.
ALIASES = {
    "Batches": "Iterator[Batch]",
    "Items": "Iterator",
    "_BatchIterator": "Iterator",
    "_HasFileno": "BinaryIO",
    "_Descriptor": "int | socket.socket | RawSocket",
    "_ReplayItem": "bytes | Datagram | tuple[bytes, int, ...]",
    "SavefileSource": "str | os.PathLike[str] | BinaryIO",
    "Buffer": "bytes",
}


def _readable(text: str) -> str:
    return re.sub(
        r"(?:~?winsockctl\._\w+\.)?(\w+)", lambda name: ALIASES.get(name[1], name[0]), text
    )


def _signature_of(node: ast.FunctionDef, *, method: bool) -> tuple[str, str]:
    arguments = node.args
    if method:  # without self or cls
        del (arguments.posonlyargs or arguments.args)[0]
    assert node.returns is not None
    return f"({_readable(ast.unparse(arguments))})", _readable(ast.unparse(node.returns))


def _is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "property" for mark in node.decorator_list)


def _read(stub: Path) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Return the signature of each callable and the type of each attribute, by name."""
    signatures, types = {}, {}
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            signatures[node.name] = _signature_of(node, method=False)
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    name = f"{node.name}.{member.name}"
                    signature = _signature_of(member, method=True)
                    if _is_property(member):
                        types[name] = signature[1]
                    else:
                        signatures[name.removesuffix(".__new__")] = signature
    return signatures, types


SIGNATURES, TYPES = _read(STUB)


def _sign(
    app: Sphinx,
    what: str,
    name: str,
    described: object,
    options: object,
    signature: str | None,
    result: str | None,
) -> tuple[str | None, str | None]:
    known = SIGNATURES.get(name.removeprefix("winsockctl."))
    if known is None or inspect.isfunction(described):
        return signature and _readable(signature), result and _readable(result)
    return known[0], None if what == "class" else known[1]


def _type_text(
    app: Sphinx, what: str, name: str, described: object, options: object, lines: list[str]
) -> None:
    # napoleon, whose turn is next, takes for a type what is before the first colon in the text of
    # an attribute or a result. The types of results are in the signatures.
    if what in ("attribute", "property") and lines:
        c = inspect.isgetsetdescriptor(described)
        kind = TYPES[name.removeprefix("winsockctl.")] if c else ""
        lines[0] = f"{kind}: {lines[0]}"
    elif "Returns:" in lines:
        result = lines.index("Returns:") + 1
        lines[result] = re.sub(r"^( +)(\w+: )?", r"\1: ", lines[result])


def _leave_builtins(app: Sphinx, doctree: nodes.document) -> None:
    # Sphinx would link the type ``bytes`` to the attribute ``Recorder.bytes``.
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link["refdomain"] == "py" and hasattr(builtins, link["reftarget"]):
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("autodoc-process-signature", _sign)
    app.connect("autodoc-process-docstring", _type_text, priority=400)
    app.connect("doctree-read", _leave_builtins)
    return {"parallel_read_safe": True}
