//! Runtimes that execute a graph: tract embedded, ONNX Runtime when it is there.
