//! ONNX files to graphs and back, nothing lost.
