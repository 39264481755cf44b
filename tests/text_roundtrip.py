#!/usr/bin/env python3
"""The text of a model says everything: written as text and read again, it gives the same ONNX bytes as read and written once.

    cargo build
    python tests/text_roundtrip.py target/debug/spaceevo-opt FOLDER...

Runs over every .onnx file below the folders (the ONNX backend test data, $SPACEEVO_DATA/models). Needs Python only.
"""
import pathlib
import subprocess
import sys
import tempfile

program, *folders = sys.argv[1:]
same, refused, different = 0, [], []


def convert(source, target):
    return subprocess.run([program, "run", source, "-p", "", "-o", target, "--force"], capture_output=True, text=True)


with tempfile.TemporaryDirectory() as scratch:
    once, text, twice = (f"{scratch}/{name}" for name in ("once.onnx", "model.seir", "twice.onnx"))
    for model in sorted(path for folder in folders for path in pathlib.Path(folder).rglob("*.onnx")):
        if convert(model, once).returncode:
            refused.append(model)  # of no form that can be written: counted, and the same with and without text
            continue
        steps = [convert(model, text), convert(text, twice)]
        if any(step.returncode for step in steps) or pathlib.Path(once).read_bytes() != pathlib.Path(twice).read_bytes():
            different.append(model)
            print("different:", model, *(step.stderr.strip() for step in steps))
        else:
            same += 1

print(f"{same} the same through text, {len(different)} different, {len(refused)} not read", *refused)
sys.exit(1 if different else 0)
