#!/usr/bin/env python3
"""Import and export of real files changes no output bit.

Runs the example `roundtrip` over every model of the ONNX backend test data and of $SPACEEVO_DATA/models, twice, and compares:
the second file with the first (equal bytes), and the outputs of ONNX Runtime on the first with those on the original (equal
bits). Counted apart: models that it cannot load (`checked`: they pass `onnx.checker` before and after), that it loads but fails
to run before and after alike (`loads`), and those with random operators.

    cargo build --release -p spaceevo-onnx --example roundtrip
    python tests/onnx_roundtrip.py target/release/examples/roundtrip BACKEND_TEST_DATA [MODELS]

BACKEND_TEST_DATA is the folder with `node`, `simple`, `light`, ... (`onnx/backend/test/data` of the wheel 1.22.0); only those
parts that are given are run. Needs onnx, onnxruntime, numpy.
"""
import ctypes, glob, os, subprocess, sys, tempfile

import numpy as np
import onnx
import onnxruntime as ort

ort.set_default_logger_severity(4)


def options():
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = 1
    chosen.inter_op_num_threads = 1
    chosen.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    chosen.log_severity_level = 4
    return chosen


NUMPY = {
    "float": np.float32, "double": np.float64, "float16": np.float16, "int8": np.int8, "uint8": np.uint8, "int16": np.int16,
    "uint16": np.uint16, "int32": np.int32, "uint32": np.uint32, "int64": np.int64, "uint64": np.uint64, "bool": np.bool_,
    "string": np.object_,
}  # fmt: skip


def stored_inputs(folder, session):
    """The first data set beside a model, or None."""
    feeds = {}
    for index, info in enumerate(session.get_inputs()):
        path = os.path.join(folder, "test_data_set_0", f"input_{index}.pb")
        if not os.path.exists(path):
            return None
        data = open(path, "rb").read()
        if info.type.startswith("tensor"):
            value = onnx.numpy_helper.to_array(onnx.TensorProto.FromString(data))
        elif info.type.startswith("seq"):
            value = onnx.numpy_helper.to_list(onnx.SequenceProto.FromString(data))
        elif info.type.startswith("optional"):
            value = onnx.numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
        else:
            return None
        feeds[info.name] = value
    return feeds


def drawn_inputs(session):
    """Inputs from a fixed seed; unknown extents are 1."""
    generator, feeds = np.random.default_rng(0), {}
    for info in session.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else 1 for d in info.shape]
        kind = NUMPY[info.type.removeprefix("tensor(").removesuffix(")")]
        feeds[info.name] = (generator.random(shape) * 2).astype(kind)
    return feeds


def raw_inputs(folder, session):
    """The first data set as ONNX Runtime's own values: for element types that numpy has no word for."""
    feeds = {}
    for index, info in enumerate(session.get_inputs()):
        path = os.path.join(folder, "test_data_set_0", f"input_{index}.pb")
        tensor = onnx.TensorProto.FromString(open(path, "rb").read())
        raw = tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
        value = ort.OrtValue.ortvalue_from_shape_and_type(list(tensor.dims), tensor.data_type)
        assert value.tensor_size_in_bytes() == len(raw)
        ctypes.memmove(value.data_ptr(), raw, len(raw))
        feeds[info.name] = value
    return feeds


def run(session, feeds, raw):
    """Outputs as numpy arrays, or as type, shape and bytes."""
    if not raw:
        return session.run(None, feeds)
    values = session.run_with_ort_values(None, feeds)
    return [(v.data_type(), str(v.shape()), ctypes.string_at(v.data_ptr(), v.tensor_size_in_bytes())) for v in values]


def same(a, b):
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if a is None or b is None:
        return a is b
    if isinstance(a, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()
    return a == b


RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"}


def check(original, written):
    """'equal', 'checked' (no runtime loads it), or a complaint."""
    try:
        before = ort.InferenceSession(original, options(), providers=["CPUExecutionProvider"])
    except Exception:
        before = None
    if before is None:
        try:
            onnx.checker.check_model(original)
        except Exception:
            return "unchecked"
        try:
            onnx.checker.check_model(written)
            return "checked"
        except Exception as error:
            return f"no longer passes the checker: {str(error)[:300]}"
    try:
        after = ort.InferenceSession(written, options(), providers=["CPUExecutionProvider"])
    except Exception as error:
        return f"no longer loads: {str(error)[:300]}"
    for one, other in ((before.get_inputs(), after.get_inputs()), (before.get_outputs(), after.get_outputs())):
        if [(v.name, v.type, v.shape) for v in one] != [(v.name, v.type, v.shape) for v in other]:
            return f"other ports: {[(v.name, v.type, v.shape) for v in one]} {[(v.name, v.type, v.shape) for v in other]}"
    if any(node.op_type in RANDOM for node in onnx.load(original, load_external_data=False).graph.node):
        return "random"
    folder = os.path.dirname(original)
    for raw in (False, True):
        try:
            feeds = raw_inputs(folder, before) if raw else stored_inputs(folder, before) or drawn_inputs(before)
            expected = run(before, feeds, raw)
        except Exception:
            continue
        return "equal" if same(expected, run(after, feeds, raw)) else "other outputs"
    return "loads"


def main():
    program, data, *rest = sys.argv[1:]
    files = sorted(glob.glob(os.path.join(data, "*", "*", "model.onnx")))
    files += sorted(glob.glob(os.path.join(data, "light", "*.onnx")))
    for folder in rest:
        files += sorted(glob.glob(os.path.join(folder, "*.onnx")))
    counts, complaints = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        out = [[os.path.join(folder, f"{i}.{turn}.onnx") for i in range(len(files))] for turn in (0, 1)]
        for sources, targets in ((files, out[0]), (out[0], out[1])):
            lines = "".join(f"{a}\t{b}\n" for a, b in zip(sources, targets))
            done = subprocess.run([program], input=lines, text=True, capture_output=True)
            print(done.stdout, done.stderr[-6000:], end="")
        for source, first, second in zip(files, *out):
            if not os.path.exists(first):
                verdict = "not written"
            elif not os.path.exists(second) or open(first, "rb").read() != open(second, "rb").read():
                verdict = "the second writing differs from the first"
            else:
                verdict = check(source, first)
            known = ("equal", "checked", "unchecked", "loads", "random")
            if verdict not in known:
                complaints += 1
                print(f"{source}: {verdict}")
            counts[verdict if verdict in known else "WRONG"] = counts.get(verdict if verdict in known else "WRONG", 0) + 1
    print(f"{len(files)} files:", ", ".join(f"{k} {v}" for k, v in sorted(counts.items())))
    return 1 if complaints or not files else 0


if __name__ == "__main__":
    sys.exit(main())
