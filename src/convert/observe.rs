//! Real activations: runs a graph on samples, on all cores, and shows the tensors that a pass asks for.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use spaceevo_cost::runtime::{LoadOptions, ModelSource, Runtime, Session};
use spaceevo_ir::{Diagnostic, Graph, Tensor, ValueId};
use spaceevo_passes::Observer;

use super::Progress;
use crate::samples::SampleSource;

/// An observer that runs the graph on a runtime.
pub struct RuntimeObserver<'a> {
    runtime: &'a dyn Runtime,
    samples: &'a dyn SampleSource,
    indices: Vec<usize>,
    threads: usize,
    progress: &'a (dyn Progress + Sync),
    glimpses: Option<Vec<Glimpse>>,
}

/// Samples that are remembered: enough to rank layers by.
const REMEMBERED: usize = 2;
/// Numbers of a tensor and sample that are remembered.
const NUMBERS: usize = 1 << 14;

/// What a graph made of the first samples that it was run on.
pub(super) struct Glimpse {
    revision: u64,
    /// Indices of the samples.
    pub(super) samples: Vec<usize>,
    /// By value that was looked at, and by sample: every [`stride`]th number.
    pub(super) numbers: HashMap<ValueId, Vec<Vec<f32>>>,
}

/// Of a tensor with so many numbers, every how many are remembered: an odd stride does not fall into step with rows and channels.
pub(super) fn stride(numbers: usize) -> usize {
    if numbers > NUMBERS { numbers.div_ceil(NUMBERS) | 1 } else { 1 }
}

impl<'a> RuntimeObserver<'a> {
    /// Observes the samples of these indices; 0 threads: one per processor.
    pub fn new(
        runtime: &'a dyn Runtime,
        samples: &'a dyn SampleSource,
        indices: Vec<usize>,
        threads: usize,
        progress: &'a (dyn Progress + Sync),
    ) -> Self {
        RuntimeObserver { runtime, samples, indices, threads: threads_or_all(threads), progress, glimpses: None }
    }

    /// Remembers a glimpse of every graph.
    pub(super) fn remembering(self) -> Self {
        RuntimeObserver { glimpses: Some(Vec::new()), ..self }
    }

    /// What the graph, as it stands, made of the first samples.
    pub(super) fn into_glimpse(self, graph: &Graph) -> Option<Glimpse> {
        self.glimpses.into_iter().flatten().find(|glimpse| glimpse.revision == graph.revision())
    }
}

/// The number asked for, or that of the processors.
pub(super) fn threads_or_all(threads: usize) -> usize {
    if threads > 0 { threads } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

impl Observer for RuntimeObserver<'_> {
    fn samples(&self) -> usize {
        self.indices.len()
    }

    fn extents(&self) -> Option<Vec<Vec<usize>>> {
        let first = self.samples.get(*self.indices.first()?).ok()?;
        Some(first.iter().map(|tensor| tensor.dims().to_vec()).collect())
    }

    fn observe(
        &mut self,
        graph: &Graph,
        values: &[ValueId],
        samples: &[usize],
        see: &(dyn Fn(usize, usize, &[f32]) + Sync),
    ) -> Result<(), Diagnostic> {
        let wanted = self.glimpses.as_ref().is_some_and(|seen| seen.iter().all(|g| g.revision != graph.revision()));
        if !wanted {
            return self.run(graph, values, samples, see);
        }
        let remembered = &samples[..samples.len().min(REMEMBERED)];
        let numbers = Mutex::new(vec![vec![Vec::new(); remembered.len()]; values.len()]);
        self.run(graph, values, samples, &|sample, slot, shown| {
            if let (Some(at), Ok(mut numbers)) = (remembered.iter().position(|s| *s == sample), numbers.lock()) {
                numbers[slot][at] = shown.iter().copied().step_by(stride(shown.len())).collect();
            }
            see(sample, slot, shown);
        })?;
        let numbers = numbers.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.glimpses.get_or_insert_default().push(Glimpse {
            revision: graph.revision(),
            samples: remembered.iter().map(|&sample| self.indices[sample]).collect(),
            numbers: values.iter().copied().zip(numbers).collect(),
        });
        Ok(())
    }
}

impl RuntimeObserver<'_> {
    fn run(
        &self,
        graph: &Graph,
        values: &[ValueId],
        samples: &[usize],
        see: &(dyn Fn(usize, usize, &[f32]) + Sync),
    ) -> Result<(), Diagnostic> {
        let mut probe = graph.clone();
        let body = probe.body();
        // Inputs are shown as they come; everything else, defaults included, becomes a result of the model.
        let mut inputs = probe.region(body).inputs().to_vec();
        inputs.retain(|&v| probe.value(v).tensor().is_none());
        let (given, made): (Vec<(usize, ValueId)>, Vec<_>) =
            values.iter().copied().enumerate().partition(|(_, v)| inputs.contains(v));
        let names = spaceevo_ir::names::unique_names(&probe);
        let results: Vec<ValueId> = made.iter().map(|(_, v)| *v).collect();
        probe.set_named_results(body, results.clone(), results.iter().map(|v| names[v.index()].clone()).collect());
        let given: Vec<(usize, usize)> =
            given.iter().filter_map(|(slot, v)| Some((*slot, inputs.iter().position(|i| i == v)?))).collect();
        let show_given = |sample: usize, inputs: &[Tensor]| {
            for &(slot, input) in &given {
                let Some(tensor) = inputs.get(input) else { continue };
                match tensor.values::<f32>() {
                    Some(numbers) => see(sample, slot, &numbers),
                    None => see(sample, slot, &tensor.to_f32().unwrap_or_default()),
                }
            }
        };
        self.progress.stage("samples", samples.len());
        if made.is_empty() {
            // A runtime wants to be asked for something.
            return samples.iter().try_for_each(|&sample| {
                show_given(sample, &self.samples.get(self.indices[sample])?);
                self.progress.advance(1);
                Ok(())
            });
        }
        let options = LoadOptions { low_memory: true, ..LoadOptions::default() };
        let session = self.runtime.load(ModelSource::Graph(&probe), &options)?;
        drop(probe);

        let work = |session: &mut dyn Session, sample: usize| -> Result<(), Diagnostic> {
            let inputs = self.samples.get(self.indices[sample])?;
            show_given(sample, &inputs);
            session.run_with(&inputs, &mut |output, view| {
                if let Some(numbers) = view.values::<f32>() {
                    see(sample, made[output].0, &numbers);
                }
            })?;
            self.progress.advance(1);
            Ok(())
        };
        in_parallel(session, self.threads, samples.len(), &|session, i| work(session, samples[i]))
    }
}

/// Runs `work` for `0..count` on forks of a session, as many as there are threads; the first error by index is returned.
pub(super) fn in_parallel(
    session: Box<dyn Session>,
    threads: usize,
    count: usize,
    work: &(dyn Fn(&mut dyn Session, usize) -> Result<(), Diagnostic> + Sync),
) -> Result<(), Diagnostic> {
    let mut sessions = vec![session];
    while sessions.len() < threads.min(count)
        && let Some(fork) = sessions[0].fork()
    {
        sessions.push(fork);
    }
    if let [session] = &mut sessions[..] {
        // On this thread: memory that another one frees is kept for that one.
        return (0..count).try_for_each(|index| work(&mut **session, index));
    }
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None::<(usize, Diagnostic)>));
    std::thread::scope(|scope| {
        for mut session in sessions {
            let (next, failed) = (&next, &failed);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    if let Err(diagnostic) = work(&mut *session, index) {
                        next.store(count, Ordering::Relaxed);
                        if let Ok(mut first) = failed.lock()
                            && first.as_ref().is_none_or(|(i, _)| index < *i)
                        {
                            *first = Some((index, diagnostic));
                        }
                        return;
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        Ok(Some((_, diagnostic))) => Err(diagnostic),
        _ => Ok(()),
    }
}
