//! Reads what a runtime noted while it ran ([`Trace`]): the kernels in the order in which they ran, and what each took.
//!
//! The format is that of Chrome's trace viewer, as ONNX Runtime writes it: one event per kernel (`cat` is `Node`, `dur` whole
//! microseconds, `args` the operator and the types and shapes of its tensors), and one `model_run` at the end of each run.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use spaceevo_ir::{Diagnostic, Elem, Loc};

/// A tensor that a kernel read or made, as it was at that time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Data {
    /// Element type; `None` for types that ONNX Runtime has and this program does not know.
    pub elem: Option<Elem>,
    /// Extents, in the layout of the kernel.
    pub dims: Vec<u64>,
}

/// A kernel that ran, over all runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Ran {
    /// Name of the runtime's node.
    pub node: String,
    /// Operator without its domain.
    pub op: String,
    /// Tensors read, constants among them.
    pub inputs: Vec<Data>,
    /// Tensors made.
    pub outputs: Vec<Data>,
    /// Microseconds of each run, whole numbers from ONNX Runtime.
    pub micros: Vec<f64>,
}

/// All runs but the first ones.
#[derive(Clone, PartialEq, Debug)]
pub struct Runs {
    /// Kernels in the order in which they ran.
    pub kernels: Vec<Ran>,
    /// Microseconds of each whole run, with what the runtime does between kernels, and notes about them.
    pub micros: Vec<f64>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    args: Args,
}

#[derive(Deserialize, Default)]
struct Args {
    #[serde(default)]
    op_name: String,
    #[serde(default)]
    input_type_shape: Vec<HashMap<String, Value>>,
    #[serde(default)]
    output_type_shape: Vec<HashMap<String, Value>>,
}

/// What names of events end in, when they are about the kernel itself.
const KERNEL: &str = "_kernel_time";

/// Reads events, without those of the first `warm` runs. Kernels inside of loops and branches run under names of their own;
/// what runs more than once in a run is added up.
///
/// Errors: `profile-format` for what is no trace, or one without runs.
pub fn parse(events: &[u8], warm: usize) -> Result<Runs, Diagnostic> {
    let wrong = |what: String| Diagnostic::error("profile-format", Loc::Unknown, what);
    let events: Vec<Event> = serde_json::from_slice(events).map_err(|e| wrong(format!("this is no trace: {e}")))?;
    let mut runs = Runs { kernels: Vec::new(), micros: Vec::new() };
    let mut known: HashMap<(String, String), usize> = HashMap::new();
    let (mut run, mut since) = (0, 0);
    for at in 0..events.len() {
        if !(events[at].cat == "Session" && events[at].name == "model_run") {
            continue;
        }
        if run >= warm {
            for event in events[since..at].iter().filter(|event| event.cat == "Node") {
                let Some(node) = event.name.strip_suffix(KERNEL) else { continue };
                let key = (node.to_owned(), event.args.op_name.clone());
                let kernel = *known.entry(key).or_insert_with(|| {
                    runs.kernels.push(ran(node, &event.args));
                    runs.kernels.len() - 1
                });
                let micros = &mut runs.kernels[kernel].micros;
                micros.resize(run - warm + 1, 0.0);
                micros[run - warm] += event.dur;
            }
            runs.micros.push(events[at].dur);
        }
        (run, since) = (run + 1, at + 1);
    }
    if runs.micros.is_empty() {
        return Err(wrong(format!("the trace has {run} runs of the model, more than {warm} are needed")));
    }
    let count = runs.micros.len();
    runs.kernels.iter_mut().for_each(|kernel| kernel.micros.resize(count, 0.0));
    Ok(runs)
}

fn ran(node: &str, args: &Args) -> Ran {
    let all = |data: &[HashMap<String, Value>]| data.iter().filter_map(one).collect();
    Ran {
        node: node.to_owned(),
        op: args.op_name.clone(),
        inputs: all(&args.input_type_shape),
        outputs: all(&args.output_type_shape),
        micros: Vec::new(),
    }
}

/// `{"uint8": [1, 8, 8, 16]}`.
fn one(data: &HashMap<String, Value>) -> Option<Data> {
    let (word, dims) = data.iter().next()?;
    let dims = dims.as_array()?.iter().map(|d| d.as_u64().unwrap_or(0)).collect();
    Some(Data { elem: elem(word), dims })
}

/// ONNX Runtime's words for element types that have kernels of interest.
fn elem(word: &str) -> Option<Elem> {
    Some(match word {
        "float" => Elem::F32,
        "double" => Elem::F64,
        "float16" => Elem::F16,
        "bfloat16" => Elem::Bf16,
        "uint8" => Elem::U8,
        "int8" => Elem::I8,
        "uint16" => Elem::U16,
        "int16" => Elem::I16,
        "uint32" => Elem::U32,
        "int32" => Elem::I32,
        "uint64" => Elem::U64,
        "int64" => Elem::I64,
        "bool" => Elem::Bool,
        "string" => Elem::Str,
        _ => return None,
    })
}

/// The mean of the middle half: as deaf to disturbances as a median, and finer than the whole microseconds that it is of.
/// 0 of nothing.
pub fn middle(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    let kept = &sorted[cut..sorted.len() - cut];
    if kept.is_empty() { 0.0 } else { kept.iter().sum::<f64>() / kept.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(cat: &str, name: &str, dur: u64, args: &str) -> String {
        format!(
            r#"{{"cat": "{cat}", "pid": 1, "tid": 1, "dur": {dur}, "ts": 0, "ph": "X", "name": "{name}", "args": {{{args}}}}}"#
        )
    }

    fn trace(runs: &[[u64; 3]]) -> String {
        let mut events = vec![event("Session", "session_initialization", 900, "")];
        for [a, b, whole] in runs {
            let shapes =
                r#""op_name": "Conv", "input_type_shape": [{"uint8": [1, 2]}, {}], "output_type_shape": [{"what": []}]"#;
            events.push(event("Node", "n1_kernel_time", *a, shapes));
            events.push(event("Node", "n1_fence_before", 50, shapes));
            events.push(event("Node", "n2_kernel_time", *b, r#""op_name": "Relu""#));
            events.push(event("Node", "n2_kernel_time", 1, r#""op_name": "Relu""#));
            events.push(event("Session", "model_run", *whole, ""));
        }
        format!("[{}]", events.join(","))
    }

    #[test]
    fn kernels_keep_their_order_and_their_runs() {
        let runs = parse(trace(&[[90, 80, 200], [3, 5, 20], [4, 6, 30]]).as_bytes(), 1).unwrap();
        assert_eq!(runs.micros, [20.0, 30.0]);
        let [conv, relu] = &runs.kernels[..] else { panic!("{:?}", runs.kernels) };
        assert_eq!((conv.node.as_str(), conv.op.as_str(), &conv.micros[..]), ("n1", "Conv", &[3.0, 4.0][..]));
        assert_eq!(conv.inputs, [Data { elem: Some(Elem::U8), dims: vec![1, 2] }]);
        assert_eq!(conv.outputs, [Data { elem: None, dims: vec![] }]);
        assert_eq!(relu.micros, [6.0, 7.0], "what runs twice is added up");
    }

    #[test]
    fn what_is_no_trace_is_a_diagnostic() {
        for (text, warm) in [("{", 0), ("[]", 0), ("[1]", 0), (trace(&[[1, 2, 3]]).as_str(), 1)] {
            assert_eq!(parse(text.as_bytes(), warm).unwrap_err().code, "profile-format", "{text}");
        }
    }

    #[test]
    fn the_middle_half_is_what_counts() {
        assert_eq!(middle(&[1.0, 2.0, 3.0, 900.0]), 2.5);
        assert_eq!((middle(&[]), middle(&[7.0])), (0.0, 7.0));
    }
}
