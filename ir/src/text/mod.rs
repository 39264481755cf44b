//! The text format `.seir`: parser and printer.
//!
//! ```text
//! file      = { import | let | param | bind | block | graph | function }
//! import    = "import" string
//! let       = "let" name "=" domain
//! param     = "param" $name [ "[" int "]" ] "in" domain
//! domain    = int ".." int [ "step" int ] | "{" item { "," item } "}" | name
//!           | "window(" domain "," "size" int "," "at" $name ")" | "by" $name domain | "{" item ":" domain { "," … } "}"
//! bind      = "bind" $name "=" ( item | "[" [ item { "," item } ] "]" )
//! block     = "block" @name "(" %name [ ":" type ] { "," … } { "," name [ "=" expr ] } ")" "{" { step } "yield" %name "}"
//! step      = "let" name "=" expr | %name "=" "const" number | %name "=" op [ operands ] [ attrs ] [ guard ]
//! guard     = ( "if" | "unless" ) expr "=" expr { "and" expr "=" expr }
//! graph     = "graph" @name inputs [ "with" settings ] body
//! function  = "function" opname inputs [ "attrs" "{" name [ "=" attr ] … "}" ] [ "with" settings ] body
//! inputs    = "(" [ %name [ ":" type suffix [ "=" literal ] ] { "," … } ] ")"
//! body      = "{" { stmt } ( "return" | "yield" ) [ %name [ "as" %name ] { "," … } ] "}"
//! op        = opname | @name                               @name: a call of that block
//! stmt      = [ results "=" ] op [ operands ] [ attrs ] [ regions ] [ ":" type suffix { "," type suffix } ] [ loc ] [ "node" settings ]
//!           | %name "=" "const" ( literal [ ":" type ] | "tensor" type literal [ ":" type ] ) suffix
//! results   = ( %name | "_" ) { "," … }
//! operands  = ( %name | "_" ) { "," … }                    "_": an absent optional operand
//! attrs     = "{" [ name "=" attr { "," … } ] "}"
//! regions   = "{" { label [ @name ] [ inputs ] body } "}"  a label of space.Choice stands after "option"
//! suffix    = [ "range" "(" number "," number ")" ] [ "meta" settings ]
//! type      = tensor | "seq<" type ">" | "opt<" type ">" | "map<" elem "," type ">" | "sparse<" tensor ">" | "?"
//! tensor    = ( elem | "q" store "(" [ "axis" int "," ] scales "," zeros [ "," elem ] ")" ) ( "[*]" | "[" [ dim { "," dim } ] "]" )
//! dim       = int | name | "?" | expr
//! expr      = sums, differences, products, quotients and calls of int, float, $name, $name "[" expr "]", name
//! literal   = element | "[" literal { "," … } "]" | "splat(" element ")" | "rand(" seed [ "," low "," high ] ")" | "blob(" hash ")"
//! attr      = int | float | string | word | expr | list | "tensor" tensor literal | "type" type | "ref(" name "," kind ")"
//!           | "sparse(" dims "," tensor literal "," tensor literal ")"
//! list      = [ "ints" | "floats" | "strs" | "tensors" | "types" | "list" ] "[" [ attr { "," attr } ] "]"
//! loc       = "loc(" ( file "," node | file "," line "," column | pass { "," loc } | "?" ) ")"
//! ```
//!
//! `//` starts a comment. Names with other characters than letters, digits, `_` and dots are quoted: `%"a/b:0"`. What a
//! value looks like says what it is (`1` is an integer, `1.0` a float); where looks do not tell, a word in front does.

mod blob;
mod lexer;
mod parse;
mod print;
mod render;

pub use blob::{BlobHash, BlobSink, BlobSource, NoBlobs};
pub use parse::{Limits, Parsed, parse, parse_within};
pub use print::{PrintOptions, print, print_op, print_to, print_with_notes};
pub use render::render;

use bytes::Bytes;

use crate::attr::Attr;
use crate::types::Elem;

/// Names of ONNX's kinds of attributes (`AttributeProto.AttributeType`), by number.
const REF_KINDS: [&str; 15] = [
    "undefined",
    "float",
    "int",
    "string",
    "tensor",
    "graph",
    "floats",
    "ints",
    "strings",
    "tensors",
    "graphs",
    "sparse_tensor",
    "sparse_tensors",
    "type",
    "types",
];

/// Which list a list without a word in front is: items of one plain kind make a list of that kind, none make `Ints`.
pub fn list_of(items: Vec<Attr>) -> Attr {
    macro_rules! all {
        ($kind:ident, $list:ident) => {
            if items.iter().all(|item| matches!(item, Attr::$kind(_))) {
                let pick = |item| if let Attr::$kind(inner) = item { Some(inner) } else { None };
                return Attr::$list(items.into_iter().filter_map(pick).collect());
            }
        };
    }
    all!(Int, Ints);
    all!(Float, Floats);
    all!(Str, Strs);
    all!(Tensor, Tensors);
    all!(Type, Types);
    Attr::List(items)
}

/// Strings as one blob: each with its length before it (eight bytes, little endian).
fn strings_to_blob(strings: &[Bytes]) -> Bytes {
    let mut blob = Vec::new();
    for string in strings {
        blob.extend((string.len() as u64).to_le_bytes());
        blob.extend_from_slice(string);
    }
    blob.into()
}

/// Inverse of [`strings_to_blob`]; `None` unless there are exactly `count` strings.
fn strings_from_blob(blob: &Bytes, count: usize) -> Option<Vec<Bytes>> {
    let (mut strings, mut at) = (Vec::new(), 0usize);
    while at < blob.len() {
        let start = at.checked_add(8)?;
        let length = u64::from_le_bytes(blob.get(at..start)?.try_into().ok()?);
        at = start.checked_add(usize::try_from(length).ok()?)?;
        if at > blob.len() {
            return None;
        }
        strings.push(blob.slice(start..at));
    }
    (strings.len() == count).then_some(strings)
}

/// A float of any width but 32 bits, rounded to nearest even.
fn float_bytes(elem: Elem, value: f64) -> Vec<u8> {
    match elem {
        Elem::F64 => value.to_le_bytes().to_vec(),
        Elem::F16 => half::f16::from_f64(value).to_le_bytes().to_vec(),
        Elem::Bf16 => half::bf16::from_f64(value).to_le_bytes().to_vec(),
        small => vec![crate::small_float::encode_with(small, value, value.is_finite())],
    }
}

/// What `n` elements that a text does not spell out count against [`Limits::drawn`]: wide ones more, so that the bound is one
/// on memory.
fn drawing_cost(elem: Elem, n: usize) -> usize {
    n.saturating_mul(elem.bits().div_ceil(32).max(1))
}
