"""Writes what ONNX Runtime answers for quantized operators on random operands, one case per paragraph.

    python generate.py [rounds] [seed] > cases.txt

The interpreter must reproduce every case bit for bit (`ir/tests/ort.rs`). Scales, zero points and shapes are drawn so
that results saturate, tie and broadcast. On processors without VNNI, ONNX Runtime adds pairs of products of unsigned and
signed bytes in 16 bits; `session.x64quantprecision` keeps that exact.

A case:
    case QLinearAdd of com.microsoft 1       operator, domain, version of its operator set
    attr axis i 1                            i, f, s: one integer, float, string; I: integers
    in u8 2x3 1 2 3 4 5 6                    operand: element type, shape (`-` for none), numbers
    none                                     an absent operand
    out u8 2x3 ...                           the result
"""

import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

NAMES = {"uint8": "u8", "int8": "i8", "int32": "i32", "float32": "f32", "bool": "bool", "uint16": "u16", "int16": "i16"}


def shown(array):
    dims = "x".join(map(str, array.shape)) or "-"
    if array.dtype == np.float32:
        numbers = [np.format_float_scientific(v, unique=True) for v in array.ravel()]
    else:
        numbers = [str(int(v)) for v in array.ravel()]
    return " ".join([NAMES[str(array.dtype)], dims, *numbers])


def run(op, domain, version, attrs, operands, constant, out):
    operands = [None if v is None else np.asarray(v) for v in operands]
    names = [f"x{i}" if v is not None else "" for i, v in enumerate(operands)]
    while names and not names[-1]:
        names.pop()
    more = ["scale", "zero"] if op == "DynamicQuantizeLinear" else []
    node = helper.make_node(op, names, ["y", *more], domain=domain, **attrs)
    held = {n: v for n, v in zip(names, operands) if v is not None}
    inputs = [k for k in held if k not in {f"x{i}" for i in constant}]
    info = [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(held[k].dtype), held[k].shape) for k in inputs]
    inits = [onnx.numpy_helper.from_array(v, k) for k, v in held.items() if k not in inputs]
    graph = helper.make_graph([node], "case", info, [helper.make_tensor_value_info("y", out, None)], inits)
    imports = [helper.make_opsetid("", 17 if domain else version)] + ([helper.make_opsetid(domain, version)] if domain else [])
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {k: held[k] for k in inputs})[0]


def emit(op, domain, version, attrs, operands, constant=(), out=TensorProto.UINT8):
    result = run(op, domain, version, attrs, operands, constant, out)
    lines = [f"case {op} of {domain or 'onnx'} {version}"]
    for name, value in attrs.items():
        if isinstance(value, list):
            lines.append(f"attr {name} I " + " ".join(map(str, value)))
        else:
            kind = {int: "i", float: "f", str: "s"}[type(value)]
            lines.append(f"attr {name} {kind} {value}")
    lines += ["none" if v is None else "in " + shown(np.asarray(v)) for v in operands]
    print("\n".join([*lines, "out " + shown(result), ""]))


class Draw:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def stored(self, dtype, shape, low=None, high=None):
        info = np.iinfo(dtype)
        low, high = info.min if low is None else low, info.max if high is None else high
        values = self.rng.integers(low, high + 1, shape)
        if self.rng.random() < 0.3:  # corners
            values = self.rng.choice([low, high, low + 1, high - 1, (low + high) // 2], shape)
        return values.astype(dtype)

    def scale(self):
        kind = self.rng.integers(4)
        if kind == 0:  # powers of two make ties
            return np.float32(2.0 ** self.rng.integers(-8, 2))
        if kind == 1:
            return np.float32(self.rng.integers(1, 9) * 0.25)
        return np.float32(np.exp(self.rng.uniform(-7, 1)))

    def zero(self, dtype):
        info = np.iinfo(dtype)
        return np.array(self.rng.choice([info.min, info.max, (info.min + info.max + 1) // 2, self.rng.integers(info.min, info.max + 1)]), dtype)

    def pick(self, *options):
        return options[self.rng.integers(len(options))]


def round_of(d):
    for dtype in (np.uint8, np.int8):
        out = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        ms = "com.microsoft"
        for op in ("QLinearAdd", "QLinearMul"):
            a, b = d.pick(((2, 3, 5), (2, 3, 5)), ((2, 3, 5), (1, 3, 1)), ((1, 3, 1), (2, 3, 5)), ((4, 1), (5,)), ((7,), (1,)), ((1, 2, 1), (3, 2, 1)), ((), (3,)))
            operands = [d.stored(dtype, a), d.scale(), d.zero(dtype), d.stored(dtype, b), d.scale(), d.zero(dtype), d.scale(), d.zero(dtype)]
            emit(op, ms, 1, {}, operands, out=out)
        x = d.stored(dtype, (2, 40))
        emit("QLinearSigmoid", ms, 1, {}, [x, d.scale(), d.zero(dtype), np.float32(1 / 256), np.array(np.iinfo(dtype).min, dtype)], out=out)
        emit("QLinearLeakyRelu", ms, 1, {"alpha": float(d.pick(0.1, 0.25, 0.01))}, [x, d.scale(), d.zero(dtype), d.scale(), d.zero(dtype)], out=out)
        if True:
            image = d.stored(dtype, d.pick((1, 3, 4, 4), (2, 9, 7), (1, 2, 3, 3, 2)))
            y_scale = d.scale()
            operands = [image, np.float32(y_scale * d.rng.uniform(0.1, 3)), d.zero(dtype), y_scale, d.zero(dtype)]
            emit("QLinearGlobalAveragePool", ms, 1, {"channels_last": d.pick(0, 1)}, operands, out=out)
        image = d.stored(dtype, (1, 2, 5, 6))
        attrs = {"kernel_shape": [2, 3], "strides": [1, 2], "count_include_pad": d.pick(0, 1)}
        if d.rng.random() < 0.5:
            attrs["pads"] = [1, 1, 0, 1]
        emit("QLinearAveragePool", ms, 1, attrs, [image, d.scale(), d.zero(dtype), d.scale(), d.zero(dtype)], out=out)
        to = [d.scale(), d.zero(dtype)]
        emit("QLinearConcat", ms, 1, {"axis": 1}, to + [d.stored(dtype, (2, 3)), d.scale(), d.zero(dtype), d.stored(dtype, (2, 1)), *to], out=out)
        emit("QLinearWhere", ms, 1, {}, [d.rng.integers(0, 2, (2, 4)).astype(bool), d.stored(dtype, (2, 4)), d.scale(), d.zero(dtype), d.stored(dtype, (4,)), d.scale(), d.zero(dtype), *to], out=out)
        soft = [d.stored(dtype, (2, 5, 3)), d.scale(), d.zero(dtype), np.float32(1 / 256), np.array(np.iinfo(dtype).min, dtype)]
        emit("QLinearSoftmax", ms, 1, {"axis": d.pick(1, 2), "opset": d.pick(11, 13)}, soft, constant=(1, 2, 3, 4), out=out)
        for weights in ((np.int8,) if dtype == np.int8 else (np.int8, np.uint8)):
            m = 6
            b_scale = np.array([d.scale() for _ in range(m)], np.float32)
            zero_w = np.full(m, 0 if weights == np.int8 else 128, weights)
            bias = d.rng.integers(-3000, 3000, m).astype(np.int32)
            a = d.stored(dtype, (3, 8))
            emit("QGemm", ms, 1, {"transB": 1, "alpha": d.pick(1.0, 0.5)}, [a, d.scale(), d.zero(dtype), d.stored(weights, (m, 8), *((-64, 63) if weights == np.int8 else (64, 191))), b_scale, zero_w, bias, np.float32(d.scale() * 16), d.zero(dtype)], out=out)
            kernel = d.stored(weights, (m, 1, 3, 3) if d.rng.random() < 0.4 else (m, 6, 1, 1) if d.rng.random() < 0.5 else (m, 3, 3, 2), *((-64, 63) if weights == np.int8 else (64, 191)))
            group = 6 // kernel.shape[1]
            x = d.stored(dtype, (1, 6, 5, 5))
            y_scale = np.float32(d.scale() * 32)
            operands = [x, d.scale(), d.zero(dtype), kernel, b_scale, zero_w, y_scale, d.zero(dtype), bias]
            emit("QLinearConv", "", 10, {"group": group, "pads": [1, 0, 1, 1], "strides": d.pick([1, 1], [2, 1])}, operands, constant=(1, 2, 3, 4, 5, 6, 7, 8), out=out)
            emit("QLinearMatMul", "", 10, {}, [a, d.scale(), d.zero(dtype), d.stored(weights, (8, 4), *((-64, 63) if weights == np.int8 else (64, 191))), d.scale(), zero_w[0], y_scale, d.zero(dtype)], constant=(4, 5), out=out)
            emit("MatMulInteger", "", 10, {}, [a, d.stored(weights, (8, 4), *((-64, 63) if weights == np.int8 else (64, 191))), d.zero(dtype), zero_w[0]], out=TensorProto.INT32)
        x = (d.rng.normal(0, 50, (3, 7)) * d.scale()).astype(np.float32)
        x[0, 0] = d.pick(0.0, 1e30, -1e30, 0.5)
        if d.rng.random() < 0.4:
            x = (np.round(x * 2) / 2).astype(np.float32)
        emit("QuantizeLinear", "", 13, {}, [x, d.scale(), d.zero(dtype)], out=out)
        emit("DequantizeLinear", "", 13, {}, [d.stored(dtype, (3, 7)), d.scale(), d.zero(dtype)], out=TensorProto.FLOAT)
        scales = np.array([d.scale() for _ in range(7)], np.float32)
        emit("QuantizeLinear", "", 13, {"axis": 1}, [x, scales, d.stored(dtype, (7,))], out=out)
    emit("DynamicQuantizeLinear", "", 11, {}, [x], out=TensorProto.UINT8)


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    draw = Draw(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for _ in range(rounds):
        round_of(draw)
