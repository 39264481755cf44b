//! Was the machine ours? Signs that it was not, in what was measured and in what the system counts.

use std::time::Instant;

use super::clock::{Time, Work};
use super::statistics::median;

/// From when on a sign is a complaint; all are shares of one.
///
/// They belong to no device, and so to no target: what a scheduler, a host or a neighbour takes of a measurement's time makes it wrong
/// by that share on every machine. Nothing is decided by them either: a complaint stands beside the measurement, and whether a machine
/// is refused is decided by trials on it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// Time on the wall in which our thread did not run although it wanted to.
    pub away: f64,
    /// Time of our thread in the queue for a processor, as the scheduler counts it.
    pub queued: f64,
    /// Time that the host of a virtual machine took from it.
    pub stolen: f64,
    /// What others used of the processors that we do not.
    pub others: f64,
    /// Change of the reference network's time from the first third of the rounds to the last.
    pub drift: f64,
    /// Distance of the quartiles of the reference network's times.
    pub spread: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { away: 0.03, queued: 0.03, stolen: 0.02, others: 0.25, drift: 0.05, spread: 0.10 }
    }
}

/// What was seen; shares of one, `None` where the system does not say.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Signs {
    /// See [`Limits::away`]; `None` for several threads.
    pub away: Option<f64>,
    /// See [`Limits::queued`].
    pub queued: Option<f64>,
    /// See [`Limits::stolen`].
    pub stolen: Option<f64>,
    /// See [`Limits::others`].
    pub others: Option<f64>,
    /// See [`Limits::drift`].
    pub drift: Option<f64>,
    /// See [`Limits::spread`].
    pub spread: Option<f64>,
}

impl Signs {
    /// One sentence for each sign beyond its limit; none for a machine that was ours.
    pub fn complaints(&self, limits: &Limits) -> Vec<String> {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let mut said = Vec::new();
        let mut say = |sign: Option<f64>, limit: f64, text: &dyn Fn(String) -> String| {
            said.extend(sign.filter(|sign| sign.abs() > limit).map(|sign| text(percent(sign))));
        };
        say(self.away, limits.away, &|x| format!("the processor was taken away for {x} of the time"));
        say(self.queued, limits.queued, &|x| format!("this thread waited in the queue for a processor for {x} of the time"));
        say(self.stolen, limits.stolen, &|x| format!("the host took {x} of this virtual machine's time"));
        say(self.others, limits.others, &|x| format!("other programs used {x} of the other processors"));
        say(self.drift, limits.drift, &|x| format!("the reference network's time changed by {x} while measuring"));
        say(self.spread, limits.spread, &|x| format!("the reference network's time varies by {x}"));
        said
    }
}

/// The system's counters at the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    start: Instant,
    work: Work,
    own: f64,
    queued: Option<f64>,
    system: Option<System>,
}

impl Watch {
    /// Begins to watch, on the thread that will measure.
    pub fn start(work: Work) -> Watch {
        let own = Work::Process.now().as_secs_f64();
        Watch { start: Instant::now(), work, own, queued: queued(), system: System::now() }
    }

    /// What was seen since, given the times of the reference network.
    pub fn finish(&self, reference: &[Time]) -> Signs {
        let wall = self.start.elapsed().as_secs_f64().max(1e-9);
        let own = Work::Process.now().as_secs_f64() - self.own;
        let one = self.work == Work::Thread;
        let mut signs = in_times(reference, one);
        signs.queued = self.queued.zip(queued()).map(|(before, now)| (now - before) / wall);
        if let (Some(before), Some(now)) = (self.system, System::now()) {
            let total = (now.total - before.total).max(1e-9);
            signs.stolen = Some((now.stolen - before.stolen) / total);
            let free = wall * now.processors as f64 - own;
            let others = now.busy - before.busy - own;
            // Counters of the system go by hundredths of a second: too coarse for a tenth.
            signs.others = (now.processors > 1 && wall > 0.2).then(|| (others / free.max(1e-9)).clamp(0.0, 1.0));
        }
        signs
    }
}

/// Signs in the times of the reference network alone.
fn in_times(reference: &[Time], one_thread: bool) -> Signs {
    let cpu: Vec<f64> = reference.iter().map(|time| time.cpu).collect();
    if cpu.len() < 12 {
        return Signs::default();
    }
    let away: f64 = reference.iter().map(|time| (time.wall - time.cpu).max(0.0)).sum::<f64>()
        / reference.iter().map(|time| time.wall).sum::<f64>().max(1e-9);
    let third = cpu.len() / 3;
    let (first, last) = (median(&cpu[..third]), median(&cpu[cpu.len() - third..]));
    let mut sorted = cpu.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let quartiles = sorted[cpu.len() * 3 / 4] - sorted[cpu.len() / 4];
    Signs {
        away: one_thread.then_some(away),
        drift: Some(last / first - 1.0),
        spread: Some(quartiles / median(&cpu)),
        ..Signs::default()
    }
}

/// Seconds that this thread spent in the queue for a processor so far (Linux).
fn queued() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse::<f64>().ok().map(|nanos| nanos / 1e9)
}

/// Seconds that all processors together spent so far (Linux).
#[derive(Clone, Copy, Debug, PartialEq)]
struct System {
    total: f64,
    busy: f64,
    stolen: f64,
    processors: usize,
}

impl System {
    fn now() -> Option<System> {
        System::read(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// `cpu user nice system idle iowait irq softirq steal …`, in hundredths of a second.
    fn read(text: &str) -> Option<System> {
        let all = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<f64> = all.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [user, nice, system, idle, wait, irq, soft, stolen, ..] = ticks[..] else { return None };
        let numbered = |line: &&str| line.starts_with("cpu") && line[3..].starts_with(|c: char| c.is_ascii_digit());
        let busy = user + nice + system + irq + soft;
        Some(System {
            total: (busy + idle + wait + stolen) / 100.0,
            busy: busy / 100.0,
            stolen: stolen / 100.0,
            processors: text.lines().filter(numbered).count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::statistics::tests::Uniform;

    fn times(of: impl Fn(usize, f64) -> Time) -> Vec<Time> {
        let mut uniform = Uniform(5);
        (0..60).map(|at| of(at, uniform.time(0.01))).collect()
    }

    #[test]
    fn a_quiet_machine_gives_no_reason_to_complain() {
        let quiet = times(|_, t| Time { wall: 1.001 * t, cpu: t });
        assert_eq!(in_times(&quiet, true).complaints(&Limits::default()), Vec::<String>::new());
    }

    #[test]
    fn each_disturbance_is_named() {
        let said = |times: &[Time]| in_times(times, true).complaints(&Limits::default());
        let shared = times(|_, t| Time { wall: 2.0 * t, cpu: t });
        assert_eq!(said(&shared), ["the processor was taken away for 50 % of the time"]);
        let drifting = times(|at, t| Time { wall: t * (1.0 + at as f64 / 400.0), cpu: t * (1.0 + at as f64 / 400.0) });
        assert!(matches!(&said(&drifting)[..], [one] if one.contains("changed by 10 %")), "{:?}", said(&drifting));
        let restless = times(|at, t| Time { wall: t * (1.0 + (at % 2) as f64), cpu: t * (1.0 + (at % 2) as f64) });
        assert!(said(&restless).iter().any(|s| s.contains("varies by")), "{:?}", said(&restless));
        // Several threads work for more time than goes by: nothing can be said about what was taken away.
        assert_eq!(in_times(&shared, false).away, None);
        assert_eq!(in_times(&shared[..5], true), Signs::default());
    }

    #[test]
    fn the_systems_counters_are_read() {
        let text =
            "cpu  100 20 30 400 50 1 2 7 0 0\ncpu0 50 10 15 200 25 0 1 3 0 0\ncpu1 50 10 15 200 25 1 1 4 0 0\nintr 5\n";
        let expected = System { total: 6.1, busy: 1.53, stolen: 0.07, processors: 2 };
        assert_eq!(System::read(text), Some(expected));
        assert_eq!(System::read("cpu  1 2\n"), None);
        let signs = Signs { stolen: Some(0.3), others: Some(0.9), queued: Some(0.0), ..Signs::default() };
        assert_eq!(signs.complaints(&Limits::default()).len(), 2);
    }
}
