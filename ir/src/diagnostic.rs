//! Diagnostics: where, what, what to do.

use std::fmt;

use crate::graph::Loc;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// The result may not be what was wanted.
    Warning,
    /// The input is rejected.
    Error,
}

/// One finding about the input.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnostic {
    /// A name from [`CODES`], such as `quant-scale-mismatch`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub loc: Loc,
    /// What.
    pub message: String,
    /// What to do, or more about it; one line each.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, loc: Loc, message: impl Into<String>) -> Self {
        Diagnostic { code, severity: Severity::Error, loc, message: message.into(), notes: Vec::new() }
    }

    /// A warning.
    pub fn warning(code: &'static str, loc: Loc, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, loc, message) }
    }

    /// Adds a line that says what to do, or more about it.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

impl fmt::Display for Loc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loc::Unknown => Ok(()),
            Loc::Text { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Loc::Onnx { file, node } if node.is_empty() => write!(f, "{file}"),
            Loc::Onnx { file, node } => write!(f, "{file}: node '{node}'"),
            Loc::Made { by, from } => match from.iter().find(|l| **l != Loc::Unknown) {
                Some(origin) => write!(f, "{origin} (made by {by})"),
                None => write!(f, "made by {by}"),
            },
        }
    }
}

impl fmt::Display for Diagnostic {
    /// `error[code] at file:1:2: message`, then the notes, each on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{word}[{}]", self.code)?;
        if self.loc != Loc::Unknown {
            write!(f, " at {}", self.loc)?;
        }
        write!(f, ": {}", self.message)?;
        self.notes.iter().try_for_each(|note| write!(f, "\n  = {note}"))
    }
}

impl std::error::Error for Diagnostic {}

/// Every code with a sentence on what it means: what `spaceevo-opt explain` prints. One line each, sorted.
pub const CODES: &[(&str, &str)] = &[
    (
        "bad-activation",
        "A tensor became infinite or NaN while calibrating: the preprocessing does not fit the model, or its weights are damaged.",
    ),
    ("bad-weights", "A constant holds a number that is not finite, or too large, so that it cannot be quantized."),
    (
        "block-latency",
        "Nobody knows how long a block takes: it is in no table, or only beside others that are not known, or no price covers it.",
    ),
    ("block-log", "The log of pricing blocks was changed or damaged, or its prices are of another target, page or version."),
    ("certificate", "A certificate is malformed, is about other tables, or does not prove what it claims."),
    ("const-type", "The numbers of a constant are not of the element type or shape that its type says."),
    ("convert-skip", "A pass was to be left out that the pipeline does not have, or cannot do without."),
    ("diff-outputs", "The outputs of two models cannot be compared: their number or their shapes differ."),
    ("effect-broken", "A rule or a pass changes numbers more than its effect says."),
    ("effect-not-allowed", "A pass may change the numbers more than --allow permits."),
    ("effect-unmatched", "Nothing that was drawn for a rule or a pass could be compared."),
    ("egraph-time", "An e-graph stopped growing because its time was up: another run may stop elsewhere."),
    ("evolution-log", "The log of an evolution was changed or damaged, or belongs to another evolution."),
    ("file-format", "A file's name does not say its format, or its bytes are of none that is known."),
    ("file-io", "A file cannot be read or written: it is missing, no regular file, not permitted, or the disk is full."),
    (
        "fixpoint-bound",
        "A fixpoint was still changing the graph when its rounds were used up: two passes may undo each other.",
    ),
    ("form-param", "A search parameter is left where the form allows none: bind it and specialize."),
    ("form-space-op", "An op of a search space is left where the form allows none: specialize first."),
    ("gate-agreement", "The converted model agrees with the float one on fewer top classes than --min-agreement asks for."),
    ("gate-sqnr", "The converted model is noisier than --min-sqnr allows."),
    ("internal", "The program broke an assumption of its own: a mistake to be reported, not one of the input."),
    ("interp-failed", "The reference interpreter could not run an op: its operands do not fit the operator."),
    ("interp-limit", "The reference interpreter stopped: the model needs more memory or steps than allowed."),
    ("interp-unsupported", "The reference interpreter has no kernel for an operator."),
    (
        "ir-links",
        "The links between values, their makers and their readers contradict each other: a fault of the pass that ran.",
    ),
    (
        "kernels-unknown",
        "The target's file does not say which kernels its runtime makes, so that nothing can be predicted for it.",
    ),
    ("measure-job", "A measurement job or its results are incomplete, damaged, or do not belong together."),
    (
        "measure-noisy",
        "The machine is too noisy to measure on: two sessions of one model cannot be told to be equally fast.",
    ),
    ("measure-shape", "Inputs for a measurement cannot be drawn: extents are open, or shapes were given that do not fit."),
    ("measure-store", "A store of measurements cannot be read or written: it is damaged, newer, or something else."),
    ("measurements-file", "A file of measured kernels has a line that is none."),
    ("missing-range", "A tensor shall be stored as integers, but no range was calibrated for it."),
    ("no-prices", "Nothing can be predicted for a target without prices: 'measure-ops' measures them."),
    ("no-samples", "Calibration needs samples, and none were given."),
    ("not-visible", "An op reads a value of a region that it does not stand in."),
    ("nothing-to-quantize", "No op of the model can run in integers on the target."),
    ("onnx-cycle", "Nodes of an ONNX graph read each other's results in a circle, so none of them can run first."),
    ("onnx-duplicate-name", "Two values of one ONNX graph, or two functions of a model, have the same name."),
    ("onnx-external-data", "Tensor data in another file is missing, too short, or outside of the model's folder."),
    ("onnx-inexpressible", "The graph holds something that ONNX files have no word for: lower or specialize it first."),
    ("onnx-ir-version", "The file is of a newer ONNX IR version than this program knows."),
    ("onnx-malformed", "The bytes are not the protobuf message that they should be, or a field that must be there is not."),
    ("onnx-opset", "An operator set is older or newer than the known ones, or a domain in use has no version at all."),
    ("onnx-tensor", "A tensor's element type, shape and data do not fit together."),
    ("onnx-too-large", "A file asks for more memory than the limits allow, or a model does not fit into one file."),
    ("onnx-undefined-name", "A node or a graph result names a value that nothing makes."),
    ("onnx-unknown-field", "A file holds protobuf fields of a newer schema; they are not written again."),
    ("onnx-unsupported", "The file uses a rare part of ONNX that the IR has no place for."),
    ("op-arity", "An op has more or fewer operands or results than its operator takes."),
    ("op-attr-kind", "An attribute is of another kind than its operator says: 1 is an integer, 1.0 a float."),
    ("op-attr-missing", "An attribute or region that its operator demands is missing."),
    ("op-attr-unknown", "An operator of that version has no attribute or region of that name."),
    ("op-deprecated", "An operator was withdrawn at the operator set that the graph names."),
    ("op-opset", "An operator came later than the operator set that the graph names."),
    ("op-type", "An operand or result is of a type that its operator does not take, or that contradicts another one."),
    ("opset-too-old", "Quantized graphs, or layers of a space, need a newer operator set than the model has."),
    (
        "opset-upgrade",
        "An op cannot be brought to the operator set version that was asked for; the model is left as it was.",
    ),
    ("output-exists", "The file to be written exists; `--force` overwrites it."),
    ("param-domain", "A search parameter is bound to a value that is not in its domain, or the domain is empty."),
    ("param-unknown", "A search parameter is used or bound but not declared."),
    ("pass-contract", "A pass broke a promise: a mistake of the program, not of the model."),
    ("pipeline-syntax", "A pipeline text is malformed, or names a pass, option or pipeline that does not exist."),
    ("predictor-file", "The file of a predictor is damaged, cut off or no such file; the line is named."),
    ("preprocess-spec", "A preprocessing spec has an unknown word or a number that makes no sense."),
    ("profile-format", "What a runtime noted about its kernels cannot be read, or is about another model."),
    ("profile-unsupported", "A runtime does not say what its kernels take: take another one for profiles."),
    (
        "quant-scale-mismatch",
        "The scale of a bias is not the product of the input's and the weight's scales, or its zero point is not 0.",
    ),
    (
        "quant-type",
        "A quantized type is malformed: a scale that is not positive, lists that do not fit the axis, a zero point out of range.",
    ),
    ("region-arity", "A region takes or yields more or fewer values than its op says."),
    (
        "rule-invalid",
        "A rewrite rule cannot be compiled: its effect, a condition, or what it replaces is not as `passes/rules/README.md` says.",
    ),
    ("runtime-input", "The tensors given to a model are not as many, or not of the types and shapes, that it declares."),
    ("runtime-library", "The shared library of ONNX Runtime that was named or found cannot be loaded, or is too old."),
    ("runtime-load", "A runtime refuses a model: usually for an operator or type that it does not have."),
    ("runtime-missing", "ONNX Runtime is needed and was not found; `spaceevo-opt doctor` says how to install it."),
    ("runtime-run", "A runtime failed while it ran a model."),
    ("samples-empty", "The samples given are an empty folder or array."),
    ("samples-missing-input", "The samples given do not say what one of the model's inputs gets."),
    ("samples-no-preprocess", "A folder of pictures was given without saying how a picture becomes the model's input."),
    ("samples-not-finite", "A sample holds NaN or an infinite number."),
    ("samples-shape", "The samples given are not of the shape that the model's input has."),
    ("samples-unreadable", "A sample or the file that holds it is missing or damaged."),
    ("samples-unsupported", "The samples given are of a kind, element type or layout that is not read."),
    (
        "shape-invalid",
        "The operands and attributes of an op cannot go together: their shapes do not fit, or an attribute is out of range.",
    ),
    ("shape-mismatch", "The type that the file declares for a value is not the one that its op makes."),
    (
        "space-block",
        "A block of a search space is called that does not exist, with parameters that it does not take, or in a circle.",
    ),
    ("space-choice", "A space chooses a block type or a window that its hyperspace does not have."),
    (
        "space-count",
        "A table says that a block costs other multiply-accumulates or parameters than the page of its space makes.",
    ),
    (
        "space-crop",
        "A crop of a search space takes something else than a constant, or asks for more than the constant holds.",
    ),
    ("space-encoding", "The text for a space, a subnet or the blocks of a stage is malformed, or a digit is out of range."),
    ("space-limit", "No subnet of a hyperspace meets the limits that were given."),
    ("space-move", "A move does not lead from the space that it should."),
    ("space-pick", "A choice of a search space picks an option that it does not have, or says nothing about what it picks."),
    ("space-shape", "A hyperspace is malformed: a list is empty or not ascending, or there are more choices than digits."),
    ("space-size", "A search space asks for more rounds, ops or weights than the limits allow."),
    ("space-subnet", "A subnet has a depth, kernel, width, expansion or resolution that its space does not have."),
    ("space-unbound", "A search parameter has no value, and specializing the space needs one: bind it."),
    ("space-unknown", "There is no search space of that name, shipped or as a file."),
    ("space-value", "An expression over search parameters has no value, or none that fits its place."),
    ("subnet-log", "The log of a search for subnets was changed or damaged, or belongs to another space."),
    ("table-format", "There are no tables where they should be, or a file of tables is damaged or of another hyperspace."),
    ("table-gap", "A table that a space needs is missing, or has no row at a resolution."),
    ("table-row", "A row of a table is malformed, or says something that its stage cannot be."),
    ("target-file", "A target file is malformed, or holds a key or value that is not known."),
    ("test-case", "A golden case cannot be read, or its result is not the expected one."),
    (
        "text-blob",
        "A text names a constant by its content hash, and no store that was given holds those bytes, or they do not fit.",
    ),
    (
        "text-duplicate",
        "A name is given twice where it may stand once: a value, an attribute, a parameter, the graph of a file.",
    ),
    ("text-escape", "A quoted string holds an escape that means nothing, or a name that is not UTF-8."),
    ("text-import", "A text imports another one that is not there."),
    ("text-limit", "A text nests too deeply, asks for constants that are too large, or has too many errors."),
    ("text-literal", "The numbers of a constant do not have the shape that their type says, or nest unevenly."),
    ("text-number", "A number is malformed, or does not fit where it stands."),
    ("text-reserved", "A word that is kept for later versions of the text format."),
    ("text-syntax", "Something else was expected here."),
    ("text-type", "A type, list or domain is not what its place demands."),
    ("text-unknown-value", "An operand or result names a value that is not defined in reach."),
    ("unknown-target", "There is no target of that name."),
    ("usage", "The command line makes no sense."),
    ("use-before-def", "An op reads a value that is made only after it."),
    ("verify-output", "The converted model has other outputs than the float one, or outputs that are not finite."),
    (
        "weights-are-inputs",
        "Weights are listed among the inputs of a model: a runtime takes them for variables, and folds nothing into them.",
    ),
    ("weights-file", "The file of large constants beside a text is damaged, or something else."),
    ("wrong-form", "A pass was given a graph of another form than it accepts, such as a search space."),
];

/// The sentence of a code.
pub fn explain(code: &str) -> Option<&'static str> {
    CODES.iter().find(|(name, _)| *name == code).map(|(_, text)| *text)
}
