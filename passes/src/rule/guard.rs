//! Conditions that rules may state. The list is fixed: a condition that is missing is added here, with a sentence.
//!
//! They look at types, numbers of constants, and how ops of the pattern were found. In an e-graph none of that gets weaker
//! when classes merge: a guard that held once holds for ever.

use spaceevo_ir::space::Expr;
use spaceevo_ir::text::rule::{Argument, GuardText};
use spaceevo_ir::{Attr, Diagnostic, Tensor, nearest};

use crate::rule::Rule;
use crate::rule::expression::eval;
use crate::rule::matching::{Bound, Made, Match};
use crate::rule::terms::Terms;

/// Name, least and largest number of arguments, and what it says.
pub const GUARDS: &[(&str, usize, usize, &str)] = &[
    ("plain", 1, 8, "the values hold real numbers as they are: nothing there is stored as integers"),
    ("alike", 1, 8, "the values have the same element type and are stored alike"),
    ("constant", 1, 8, "the values depend on constants only"),
    ("rank", 2, 2, "the value has that many axes"),
    ("extent", 3, 3, "the value has that extent along that axis; a name that stands for nothing yet stands for it then"),
    ("same-shape", 2, 2, "the values have the same shape, for certain"),
    (
        "per-channel",
        2,
        2,
        "the first value is a constant of [channels, 1, 1] numbers, for images of so many channels: the second",
    ),
    (
        "monotone",
        1,
        1,
        "the value is made by an op that treats every number alike, and never the larger one of two as the smaller",
    ),
    ("elementwise", 1, 1, "the value is made by an op that treats every number alike, whatever its place"),
    ("moves", 1, 1, "the value is made by an op that only moves the numbers of its first operand, or leaves some out"),
    ("views", 1, 1, "the value is made by an op that sees the numbers of its first operand in another shape"),
    ("averages", 1, 1, "the value is made by a pool whose every number is a mean of others, padding not counted"),
    ("pointwise", 1, 1, "the value is made by an ungrouped convolution of one tap and stride 1, without padding"),
    ("scales-places", 1, 1, "the scales of the two first axes are 1"),
    ("scalar", 1, 8, "the values are constants of one number"),
    ("numbers", 3, 3, "all numbers of the constant lie between the other two, ends included"),
    ("nonzero", 1, 1, "all numbers of the constant are known, and none is 0"),
    ("identity", 1, 1, "the permutation leaves everything where it is"),
];

/// Operators of one operand that treat every number alike. Those that end with `true` never treat the larger one of two
/// numbers as the smaller, where `slope`, if they have such an attribute, is not negative.
const ELEMENTWISE: &[(&str, &str, bool)] = &[
    ("Relu", "", true),
    ("Sigmoid", "", true),
    ("Tanh", "", true),
    ("HardSigmoid", "alpha", true),
    ("LeakyRelu", "alpha", true),
    ("Clip", "", true),
    ("HardSwish", "", false),
    ("Neg", "", false),
    ("Abs", "", false),
];

/// Operators that only move the numbers of their first operand, or leave some out.
const MOVING: &[&str] =
    &["Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "DepthToSpace", "SpaceToDepth", "Resize"];

/// Operators that see the numbers of their first operand in another shape.
const VIEWS: &[&str] = &["Reshape", "Flatten", "Squeeze", "Unsqueeze"];

/// Checks name and number of arguments.
pub(super) fn check(guard: &GuardText) -> Result<(), Diagnostic> {
    let fail = |what: String| Diagnostic::error("rule-invalid", guard.loc.clone(), what);
    match GUARDS.iter().find(|(name, ..)| *name == &*guard.name) {
        Some(&(_, least, most, _)) if (least..=most).contains(&guard.arguments.len()) => Ok(()),
        Some(&(name, least, ..)) => Err(fail(format!("'{name}' takes {least} arguments, not {}", guard.arguments.len()))),
        None => {
            let fault = fail(format!("there is no condition '{}'", guard.name));
            let near = nearest::nearest(&guard.name, GUARDS.iter().map(|(name, ..)| *name));
            Err(near.iter().fold(fault, |fault, near| fault.note(format!("did you mean '{near}'?"))))
        }
    }
}

/// The guard as it is written.
pub(super) fn shown(rule: &Rule, guard: &GuardText) -> String {
    let argument = |argument: &Argument| match argument {
        Argument::Value(value) => rule.text.graph.label(*value),
        Argument::Expr(expr) => expr.to_string(),
    };
    let arguments: Vec<String> = guard.arguments.iter().map(argument).collect();
    format!("rule {}: {}({}) does not hold", rule.name(), guard.name, arguments.join(", "))
}

/// True when a condition holds for a match.
pub(super) fn holds<T: Terms>(rule: &Rule, guard: &GuardText, found: &mut Match<T::Value>, terms: &T) -> bool {
    if let (true, Some(Argument::Expr(Expr::Param(name)))) = (&*guard.name == "extent", guard.arguments.get(2))
        && !found.attrs.contains_key(name)
    {
        let extent = Asked { rule, arguments: &guard.arguments, found, terms }.extent();
        let extent = extent.and_then(|n| i64::try_from(n).ok());
        found.attrs.extend(extent.map(|n| (name.clone(), Attr::Int(n))));
        return extent.is_some();
    }
    Asked { rule, arguments: &guard.arguments, found, terms }.holds(&guard.name).unwrap_or(false)
}

struct Asked<'a, T: Terms> {
    rule: &'a Rule,
    arguments: &'a [Argument],
    found: &'a Match<T::Value>,
    terms: &'a T,
}

impl<T: Terms> Asked<'_, T> {
    fn holds(&self, name: &str) -> Option<bool> {
        Some(match name {
            "plain" => self
                .values()
                .all(|v| self.terms.ty(v).quant().is_none() && self.terms.ty(v).elem().is_some_and(|e| e.is_float())),
            "alike" => {
                let kinds: Vec<_> = self.values().map(|v| (self.terms.ty(v).elem(), self.terms.ty(v).quant())).collect();
                kinds.windows(2).all(|pair| pair[0] == pair[1]) && kinds[0].0.is_some()
            }
            "constant" => self.values().all(|v| self.terms.is_const(v)),
            "rank" => self.terms.ty(self.value(0)?).rank() == usize::try_from(self.int(1)?).ok(),
            "extent" => self.extent()? == usize::try_from(self.int(2)?).ok()?,
            "same-shape" => {
                let dims = |index| self.terms.ty(self.value(index)?).dims();
                dims(0)? == dims(1)?
            }
            "per-channel" => {
                let channels = self.terms.ty(self.value(1)?).dims().filter(|dims| dims.len() == 4)?[1];
                self.terms.is_const(self.value(0)?) && self.terms.ty(self.value(0)?).dims()? == [channels, 1, 1]
            }
            "monotone" => self.elementwise()?,
            "elementwise" => self.elementwise().is_some(),
            "moves" => self.named(0, MOVING)? && (!self.named(0, &["Resize"])? || self.is_nearest()?),
            "views" => self.named(0, VIEWS)?,
            "averages" => {
                let Made { name, attrs, .. } = self.made(0)?;
                let zeros = |key| attrs.get(key).is_none_or(|a| a.as_ints().is_some_and(|l| l.iter().all(|&n| n == 0)));
                let clean = attrs.get("count_include_pad").is_none_or(|a| *a == Attr::Int(0));
                name.is_onnx("GlobalAveragePool")
                    || name.is_onnx("AveragePool") && (clean || zeros("pads") && !attrs.contains_key("auto_pad"))
            }
            "pointwise" => self.pointwise()?,
            "scales-places" => self.terms.tensor(self.value(0)?)?.to_f32()?.get(..2)? == [1.0, 1.0],
            "scalar" => self
                .values()
                .all(|v| self.terms.is_const(v) && self.terms.ty(v).dims().is_some_and(|d| d.iter().all(|&n| n == 1))),
            "numbers" => {
                let (low, high) = (self.number(1)?, self.number(2)?);
                let tensor = self.terms.tensor(self.value(0)?).filter(|t| t.len() <= 1 << 16)?;
                tensor.to_f64()?.iter().all(|n| (low..=high).contains(n))
            }
            "nonzero" => {
                let tensor = self.terms.tensor(self.value(0)?).filter(|t| t.len() <= 1 << 16)?;
                tensor.to_f64()?.iter().all(|&n| n != 0.0)
            }
            "identity" => self.attr(0)?.as_ints()?.iter().enumerate().all(|(i, &n)| n == i as i64),
            _ => return None,
        })
    }

    /// All values that the arguments stand for.
    fn values(&self) -> impl Iterator<Item = T::Value> {
        let named = self.arguments.iter().filter_map(|a| if let Argument::Value(v) = a { Some(v) } else { None });
        named.filter_map(|v| self.found.values.get(v)).flat_map(|bound| bound.all().iter().copied())
    }

    fn value(&self, index: usize) -> Option<T::Value> {
        let Argument::Value(value) = self.arguments.get(index)? else { return None };
        self.found.values.get(value).map(Bound::all)?.first().copied()
    }

    fn attr(&self, index: usize) -> Option<Attr> {
        let Argument::Expr(expr) = self.arguments.get(index)? else { return None };
        eval(expr, &self.found.attrs)
    }

    fn int(&self, index: usize) -> Option<i64> {
        self.attr(index)?.as_int()
    }

    fn number(&self, index: usize) -> Option<f64> {
        let attr = self.attr(index)?;
        attr.as_float().map(f64::from)
    }

    /// Operator, attributes and operands of the op that makes a value of the pattern.
    fn made(&self, index: usize) -> Option<&Made<T::Value>> {
        let Argument::Value(value) = self.arguments.get(index)? else { return None };
        self.found.found.get(&self.rule.text.graph.def_op(*value)?)
    }

    fn operand(&self, operands: &[Option<T::Value>], index: usize) -> Option<Option<f64>> {
        let Some(value) = operands.get(index).copied().flatten() else { return Some(None) };
        let tensor: &Tensor = self.terms.tensor(value).filter(|t| t.len() == 1)?;
        Some(Some(*tensor.to_f64()?.first()?))
    }

    /// Whether the elementwise op that makes the value is monotone; `None` when it is none.
    fn elementwise(&self) -> Option<bool> {
        let Made { name, attrs, operands } = self.made(0)?;
        let &(_, slope, monotone) = ELEMENTWISE.iter().find(|(op, ..)| name.is_onnx(op))?;
        // Bounds of a Clip must be the same for all numbers, which constants are.
        (1..operands.len()).try_for_each(|index| self.operand(operands, index).map(|_| ()))?;
        Some(monotone && attrs.get(slope).and_then(Attr::as_float).is_none_or(|slope| slope >= 0.0))
    }

    fn extent(&self) -> Option<usize> {
        self.terms.ty(self.value(0)?).tensor()?.dim(usize::try_from(self.int(1)?).ok()?)
    }

    fn named(&self, index: usize, names: &[&str]) -> Option<bool> {
        let name = &self.made(index)?.name;
        Some(names.iter().any(|one| name.is_onnx(one)))
    }

    /// True for a Resize that gives numbers of its operand, not mixtures.
    fn is_nearest(&self) -> Option<bool> {
        let Made { attrs, operands, .. } = self.made(0)?;
        let nearest = attrs.get("mode").and_then(Attr::as_str).is_none_or(|mode| mode == "nearest");
        let crops = attrs.get("coordinate_transformation_mode").and_then(Attr::as_str) == Some("tf_crop_and_resize");
        Some(nearest && !crops && !attrs.contains_key("antialias") && operands.len() >= 3)
    }

    fn pointwise(&self) -> Option<bool> {
        let Made { name, attrs, operands } = self.made(0)?;
        let weights = self.terms.ty(operands.get(1).copied().flatten()?).dims()?;
        let all =
            |key: &str, n: i64| attrs.get(key).is_none_or(|a| a.as_ints().is_some_and(|list| list.iter().all(|&i| i == n)));
        let grouped = attrs.get("group").is_some_and(|group| *group != Attr::Int(1));
        let plain = all("strides", 1) && all("pads", 0) && !grouped;
        Some(name.is_onnx("Conv") && plain && weights.get(2..)?.iter().all(|&k| k == 1))
    }
}
