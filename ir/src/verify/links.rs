//! Values, their makers and their readers agree on who knows whom.

use crate::graph::{Def, User, ValueId};
use crate::verify::Checker;

impl Checker<'_> {
    /// True when all links agree.
    pub(super) fn links(&mut self) -> bool {
        let graph = self.graph;
        let before = self.found.len();
        let mut reads: Vec<(ValueId, User)> = Vec::new();
        for region in graph.all_regions() {
            let r = graph.region(region);
            let inputs = r.inputs().iter().zip(0..).map(|(&v, index)| (v, Def::Input(region, index)));
            let consts = r.consts().iter().map(|&v| (v, Def::Const(region)));
            for (value, def) in inputs.chain(consts) {
                self.maker(value, def);
            }
            for &value in r.consts() {
                if graph.value(value).tensor().is_none() {
                    self.lie(value, "a constant without numbers");
                }
            }
            reads.extend(r.results().iter().zip(0..).map(|(&v, index)| (v, User::Return(region, index))));
            if r.result_names().len() != r.results().len() {
                let (names, results) = (r.result_names().len(), r.results().len());
                self.anywhere("ir-links", format!("a region has {results} results and {names} names for them"), None);
            }
            for op in graph.ops_in(region) {
                if graph.op(op).region() != region {
                    self.at(op, "ir-links", "stands in another region than it says".into());
                }
                for (&value, index) in graph.op(op).results().iter().zip(0..) {
                    self.maker(value, Def::Op(op, index));
                }
                let operands = graph.op(op).operands().iter().zip(0..);
                reads.extend(operands.filter_map(|(v, index)| Some(((*v)?, User::Op(op, index)))));
            }
        }
        let known = (0..graph.value_bound()).map(|index| ValueId(index as u32));
        let mut readers: Vec<(ValueId, User)> =
            known.flat_map(|value| graph.value(value).users().iter().map(move |&user| (value, user))).collect();
        reads.sort_unstable();
        readers.sort_unstable();
        if reads != readers {
            let odd = reads.iter().zip(&readers).find(|(a, b)| a != b).map(|(a, _)| a.0);
            let value = odd.or(reads.last().map(|r| r.0)).or(readers.last().map(|r| r.0));
            let label = value.map_or(String::new(), |v| graph.label(v));
            self.anywhere("ir-links", format!("the readers that {label} knows are not those that read it"), None);
        }
        for &(value, _) in &reads {
            if graph.value(value).def() == Def::Erased {
                self.lie(value, "is read but was erased");
            }
        }
        self.found.len() == before
    }

    fn maker(&mut self, value: ValueId, def: Def) {
        if self.graph.value(value).def() != def {
            self.lie(value, "is not made where it is listed");
        }
    }

    fn lie(&mut self, value: ValueId, what: &str) {
        let label = self.graph.label(value);
        self.anywhere("ir-links", format!("{label}: {what}"), None);
    }
}
