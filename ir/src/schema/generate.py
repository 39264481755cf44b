#!/usr/bin/env python3
"""Write `operators.txt`, the operator table that `spaceevo_ir::schema` reads.

    pip install onnx==1.23.2 onnxruntime==1.32.0
    python ir/src/schema/generate.py            # rewrite the table
    python ir/src/schema/generate.py --check    # exit 1 if the table is out of date

Sources: every version of every operator in the `onnx` package, and the
com.microsoft operators of ONNX Runtime. The output depends on nothing else.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import AttributeProto
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

TABLE = Path(__file__).with_name("operators.txt")
RUNTIME_DOMAIN = "com.microsoft"

# ONNX element type -> short name. The order is that of `ELEMENTS` in elements.rs.
ELEMENTS = {
    "float": "f32", "double": "f64", "float16": "f16", "bfloat16": "bf16",
    "int8": "i8", "uint8": "u8", "int16": "i16", "uint16": "u16",
    "int32": "i32", "uint32": "u32", "int64": "i64", "uint64": "u64",
    "bool": "bool", "string": "str", "complex64": "c64", "complex128": "c128",
    "float8e4m3fn": "f8e4m3fn", "float8e4m3fnuz": "f8e4m3fnuz",
    "float8e5m2": "f8e5m2", "float8e5m2fnuz": "f8e5m2fnuz",
    "float8e8m0": "f8e8m0", "float4e2m1": "f4e2m1",
    "int4": "i4", "uint4": "u4", "int2": "i2", "uint2": "u2",
    "float6e2m3": "f6e2m3", "float6e3m2": "f6e3m2",
}
RANK = {short: rank for rank, short in enumerate(ELEMENTS.values())}

# ONNX wrappers around one tensor type -> the group they are written in ("" is a plain tensor).
WRAPPERS = [
    ("", r"tensor\((\w+)\)"),
    ("seq", r"seq\(tensor\((\w+)\)\)"),
    ("opt", r"optional\(tensor\((\w+)\)\)"),
    ("optseq", r"optional\(seq\(tensor\((\w+)\)\)\)"),
    ("sparse", r"sparse_tensor\((\w+)\)"),
]
GROUPS = [group for group, _ in WRAPPERS]

KINDS = {
    "INT": "int", "FLOAT": "float", "STRING": "str", "TENSOR": "tensor", "GRAPH": "graph",
    "SPARSE_TENSOR": "sparse", "TYPE_PROTO": "type", "INTS": "ints", "FLOATS": "floats",
    "STRINGS": "strs", "TENSORS": "tensors", "GRAPHS": "graphs",
    "SPARSE_TENSORS": "sparses", "TYPE_PROTOS": "types",
}


def type_items(types):
    """The set of (group, element) pairs, or ("other", text), that a list of ONNX types means."""
    items = set()
    for text in types:
        text = text.replace(" ", "")
        for group, pattern in WRAPPERS:
            match = re.fullmatch(pattern, text)
            if match:
                items.add((group, ELEMENTS[match[1]]))
                break
        else:
            plain = re.sub(r"tensor\((\w+)\)", r"\1", text)
            other = re.sub(r"(\w+)(?=[,)])", lambda m: ELEMENTS[m[1]], plain)
            assert re.fullmatch(r"(seq\()?map\(\w+,\w+\)\)?", other), text
            items.add(("other", other))
    return frozenset(items)


def spell(items):
    """The table's text for a type set: plain elements first, then one group per wrapper."""
    words = []
    for group in GROUPS:
        names = sorted((name for g, name in items if g == group), key=RANK.__getitem__)
        if names:
            words.append(f"{group}({' '.join(names)})" if group else " ".join(names))
    words += sorted(name for group, name in items if group == "other")
    return " ".join(words)


def port_type(port):
    return port.type_str if hasattr(port, "type_str") else port.typeStr


def ports(formal, minimum):
    """`name:T`, `name?:T` (may be left out), `name*2:T` (variadic, at least 2), `name*0~:T` (of mixed types)."""
    words, low, high = [], 0, 0
    for port in formal:
        mark = ""
        option = port.option.name
        if option == "Optional":
            mark, high = "?", high + 1
        elif option == "Variadic":
            same = port.is_homogeneous if hasattr(port, "is_homogeneous") else port.isHomogeneous
            mark = f"*{minimum - high}" + ("" if same else "~")
            low = minimum
            assert port is formal[-1] and minimum >= high
        else:
            low = high = high + 1
        text = port_type(port)
        if "(" in text:
            text = spell(type_items([text]))
            assert " " not in text, text
        assert re.fullmatch(r"[\w.]+", port.name), port.name
        words.append(f"{port.name}{mark}:{text}")
    assert low == minimum, (formal, low, minimum)
    return " ".join(words)


def string(raw):
    text = raw.decode("utf-8")
    assert re.fullmatch(r"[\w.-]*", text), text
    return f'"{text}"'


def number(value):
    """The fewest digits that read back to the same 32 bits."""
    return repr(float(str(np.float32(value))))


def listed(items, one):
    return "=[" + ",".join(one(item) for item in items) + "]"


def default(attr):
    """`=value`, empty where there is none, `=?` where the source does not tell."""
    if attr.required:
        return ""
    if not hasattr(attr, "default_value"):
        return "=?"
    value = attr.default_value
    match value.type:
        case AttributeProto.UNDEFINED: return ""
        case AttributeProto.INT: return f"={value.i}"
        case AttributeProto.FLOAT: return f"={number(value.f)}"
        case AttributeProto.STRING: return f"={string(value.s)}"
        case AttributeProto.INTS: return listed(value.ints, str)
        case AttributeProto.FLOATS: return listed(value.floats, number)
        case AttributeProto.STRINGS: return listed(value.strings, string)
    raise AssertionError(f"{attr.name}: a default of a kind the table cannot hold")


def attributes(schema):
    return " ".join(
        f"{name}{'!' if attr.required else ''}:{KINDS[attr.type.name]}{default(attr)}"
        for name, attr in sorted(schema.attributes.items()))


def block(schema, named):
    lines = [f"op {schema.name} {schema.since_version}" + (" deprecated" if schema.deprecated else "")]
    for word, text in (("in", ports(schema.inputs, schema.min_input)),
                       ("out", ports(schema.outputs, schema.min_output)),
                       ("attr", attributes(schema))):
        if text:
            lines.append(f" {word} {text}")
    for constraint in schema.type_constraints:
        items = type_items(constraint.allowed_type_strs)
        assert constraint.type_param_str not in RANK
        lines.append(f" type {constraint.type_param_str} = " + named.get(items, spell(items)))
    return lines


def name_sets(schemas):
    """Long type sets that occur more than once, each named after its first use."""
    uses, first = Counter(), {}
    for schema in schemas:
        for constraint in schema.type_constraints:
            items = type_items(constraint.allowed_type_strs)
            uses[items] += 1
            first.setdefault(items, f"@{schema.name}-{schema.since_version}.{constraint.type_param_str}")
    named = {items: name for items, name in first.items() if uses[items] > 1 and len(spell(items)) > 20}
    assert len(set(named.values())) == len(named), "two domains share the name of a set"
    return named


def table():
    schemas = list(onnx.defs.get_all_schemas_with_history())
    schemas += [s for s in get_all_operator_schema() if s.domain == RUNTIME_DOMAIN]
    schemas.sort(key=lambda s: (s.domain, s.name, s.since_version))
    keys = [(s.domain, s.name, s.since_version) for s in schemas]
    assert len(set(keys)) == len(keys)
    named = name_sets(schemas)
    opsets = {}
    for schema in schemas:
        opsets[schema.domain] = max(opsets.get(schema.domain, 1), schema.since_version)
    opsets[""] = onnx.defs.onnx_opset_version()
    opsets["ai.onnx.ml"] = onnx.defs.onnx_ml_opset_version()

    out = [
        "# Operator schemas: every version of every ONNX operator, and ONNX Runtime's com.microsoft operators.",
        f"# From onnx {onnx.__version__} and onnxruntime {onnxruntime.__version__} (CPU build).",
        "# Generated: do not edit. To regenerate, with both packages installed:",
        "#   python ir/src/schema/generate.py",
        "#",
        "# set @NAME = TYPES         a type set used more than once, named after its first use",
        "# domain NAME VERSION       the operators that follow, and the domain's newest version",
        "# op NAME SINCE             one operator version; `deprecated` if SINCE withdrew it",
        "#  in, out NAME:TYPE ...    `?` may be left out, `*N` variadic with at least N, `~` of mixed types",
        "#  attr NAME:KIND=DEFAULT   `!` required, `=?` has a default that the source does not tell",
        "#  type VARIABLE = TYPES    plain names are tensors; seq(), opt(), optseq(), sparse() wrap them",
        f"count {len(schemas)}",
        "",
    ]
    out += sorted(f"set {name} = {spell(items)}" for items, name in named.items())
    domain = None
    for schema in schemas:
        if schema.domain != domain:
            domain = schema.domain
            out += ["", f"domain {domain or 'ai.onnx'} {opsets[domain]}"]
        out += block(schema, named)
    return "\n".join(out) + "\n"


def main():
    text = table()
    if "--check" in sys.argv[1:]:
        if not TABLE.exists() or TABLE.read_text(encoding="utf-8") != text:
            sys.exit(f"{TABLE.name} is out of date: run generate.py")
        return
    TABLE.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
