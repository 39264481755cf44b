"""Runs a measurement job where Rust is not at hand. Needs Python 3.8, numpy and onnxruntime, and nothing else:

    python measure.py            writes results.json beside this file
    python measure.py --seconds 5 --threads 4

manifest.json says it all, for runtimes that this script does not drive: run every model of `models` on its `inputs` (.npy files,
in that order), in turns, `rounds` times, and write the nanoseconds of one run by round, in the shape of results.json:
{"format": "spaceevo-results", "version": 1, "job": <id of the manifest>, "date", "machine", "runtime", "runtime_version",
 "threads", "models": [{"name", "hash", "nanos": [...]}, ...]}. The first model is the reference; give all models as many rounds.
"""
import argparse
import datetime
import json
import pathlib
import platform
import sys
import time


def processor():
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith(("model name", "Model", "Hardware")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main():
    here = pathlib.Path(__file__).resolve().parent
    manifest = json.loads((here / "manifest.json").read_text())
    options = argparse.ArgumentParser()
    options.add_argument("--threads", type=int, default=manifest["threads"])
    options.add_argument("--rounds", type=int, default=manifest["rounds"])
    options.add_argument("--seconds", type=float, default=None, help="stop after about so long, with at least 5 rounds")
    options.add_argument("--output", default=str(here / "results.json"))
    options = options.parse_args()

    import numpy
    import onnxruntime

    clock = time.thread_time_ns if options.threads == 1 and hasattr(time, "thread_time_ns") else time.perf_counter_ns
    models = []
    for model in manifest["models"]:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(str(here / model["file"]), settings, providers=["CPUExecutionProvider"])
        inputs = {i["name"]: numpy.load(here / i["file"]) for i in model["inputs"]}
        session.run(None, inputs)
        models.append((model, session, inputs, []))

    turn = manifest["turn_ns"]
    start = time.monotonic()
    rounds = 0
    while rounds < options.rounds:
        order = models if rounds % 2 == 0 else models[::-1]
        for _, session, inputs, nanos in order:
            session.run(None, inputs)
            begin, runs = clock(), 0
            while True:
                session.run(None, inputs)
                runs += 1
                taken = clock() - begin
                if taken >= turn:
                    break
            nanos.append(taken / runs)
        rounds += 1
        print(f"\r{rounds} of {options.rounds} rounds", end="", file=sys.stderr)
        if options.seconds is not None and rounds >= 5 and time.monotonic() - start > options.seconds:
            break
    print(file=sys.stderr)

    results = {
        "format": "spaceevo-results",
        "version": 1,
        "job": manifest["id"],
        "date": datetime.date.today().isoformat(),
        "machine": processor(),
        "runtime": "onnxruntime",
        "runtime_version": onnxruntime.__version__,
        "threads": options.threads,
        "models": [{"name": m["name"], "hash": m["hash"], "nanos": nanos} for m, _, _, nanos in models],
    }
    output = pathlib.Path(options.output)
    part = output.with_name(output.name + ".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(output)
    print(f"{output}: {len(models)} models, {rounds} rounds", file=sys.stderr)


if __name__ == "__main__":
    main()
