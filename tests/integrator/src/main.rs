use spaceevo::passes::{Aborted, Outcome, Pass, PassContext, PassInfo};
use spaceevo::{Diagnostic, Graph, Manager, Pipeline, Target};

/// Forgets the names of nodes: a pass of our own.
struct Anonymize;
static INFO: PassInfo = PassInfo::exact("anonymize", "forget where ops came from");

impl Pass for Anonymize {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        for op in graph.all_ops() {
            if cx.rewrite(graph, op, "forgot its name") {
                graph.set_loc(op, Default::default());
            }
        }
        Ok(Outcome::Changed)
    }
}

fn main() -> Result<(), Vec<Diagnostic>> {
    let (mut registry, target) = (spaceevo::registry(), Target::named("x86-vnni").expect("it ships"));
    registry.add(Anonymize);
    let pipeline = Pipeline::parse("fold-conv-bn,anonymize,drop-dead", &registry).map_err(|d| vec![d])?;
    let mut graph = spaceevo::load(std::env::args().nth(1).expect("a model"))?.graph;
    let report = Manager::new(&registry, &target).run(&pipeline, &mut graph, None);
    report.runs.iter().for_each(|run| println!("{}: {} rewrites", run.pass, run.rewrites));
    Ok(())
}
