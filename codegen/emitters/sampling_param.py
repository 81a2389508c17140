"""New public arguments: the request field, the batch field that carries it, the flag, the inventory."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.codegen.emitters import Context
from portspec.codegen.facts import FORWARD_BATCH, INVENTORY, SAMPLING_PARAM
from portspec.edits import Edit
from portspec.edits.call_statement import CallStatement
from portspec.edits.class_field import ClassField
from portspec.edits.yaml_entry import YamlEntry
from portspec.render import python
from portspec.spec import SamplingParam


def applies(context: Context) -> bool:
    """Only ports with arguments of their own touch these files."""
    return bool(context.port.spec.sampling_params)


def emit(context: Context) -> Iterator[Edit]:
    """Yield the edits of each argument; the inventory is there in a git checkout alone."""
    for name, parameter in context.port.spec.sampling_params.items():
        item = f"sampling_params.{name}"
        default = python(parameter.default)
        yield ClassField(SAMPLING_PARAM, "SamplingParam", name, parameter.type, default, item)
        yield ClassField(FORWARD_BATCH, "ForwardBatch", name, parameter.type, default, item)
        if parameter.cli:
            yield _flag(name, parameter, item)
        if context.index.tree.exists(INVENTORY):
            container = ("surfaces", "sampling_param_base", "preset_owned")
            target = f"request.extensions.{context.port.family}.{name}"
            yield YamlEntry(INVENTORY, container, name, target, item)


def _flag(name: str, parameter: SamplingParam, item: str) -> CallStatement:
    flag = python(f"--{name.replace('_', '-')}")
    kind = parameter.type.replace(" ", "").removesuffix("|None")
    how = (
        "action=StoreBoolean"
        if kind == "bool"
        else f"type={kind if kind in ('int', 'float') else 'str'}"
    )
    rows = [flag, how, f"default=SamplingParam.{name}", f"help={python(parameter.help)}"]
    statement = "parser.add_argument(\n" + "".join(f"    {row},\n" for row in rows) + ")"
    return CallStatement(
        SAMPLING_PARAM,
        "SamplingParam.add_cli_args",
        "parser.add_argument",
        (("", flag),),
        statement,
        item,
        blank_line=False,
    )
