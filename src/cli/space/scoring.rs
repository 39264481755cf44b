//! What verbs that score spaces have in common: what a score is made of, and the page that shows results.

use std::path::PathBuf;

use clap::Args;
use spaceevo::file::{refuse_existing, write_whole};
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::search::best::Best;
use spaceevo::search::exact::{Exact, Precision};
use spaceevo::search::sampled::{self, Sampling};
use spaceevo::search::score::NO_SUBNET;
use spaceevo::search::{Choice, Formula, Hyperspace, Pool, Score};

use super::super::arguments::usage;
use super::super::{Failure, say};
use super::arguments::{Loaded, TableArguments, find_hyperspace, limit_ns};

/// The spaces that are scored, and how.
#[derive(Args)]
pub(super) struct Scoring {
    /// Hyperspace: a shipped name, or a .seir file
    space: String,
    #[command(flatten)]
    tables: TableArguments,
    #[command(flatten)]
    pub(super) score: ScoreArguments,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What scores need, read and checked.
pub(super) struct Scored {
    pub(super) hyperspace: Hyperspace,
    pub(super) loaded: Loaded,
    pub(super) formula: Formula,
}

impl Scoring {
    /// Reads the tables.
    pub(super) fn load(&self) -> Result<Scored, Failure> {
        let formula = self.score.formula()?;
        let hyperspace = find_hyperspace(&self.space)?;
        let loaded = self.tables.load(&hyperspace)?;
        Ok(Scored { hyperspace, loaded, formula })
    }

    /// The same for verbs whose scores are exact, whatever they are asked for: `what` says why.
    pub(super) fn load_exact(&self, what: &str) -> Result<Scored, Failure> {
        if self.score.method != "exact" {
            return Err(Failure::Usage(usage(format!("{what}: leave --method out"))));
        }
        self.load()
    }
}

impl Scored {
    /// Refuses limits of which no subnet of any space meets one: all scores would be those of nothing. Where some are met, the others
    /// are warned of.
    pub(super) fn can_be_met(&self) -> Result<(), Failure> {
        let Some(fastest) = Best::new(&self.loaded.pool).curve(1).into_iter().next() else { return Ok(()) };
        let beyond: Vec<f64> =
            self.formula.limits.iter().filter(|&&l| u64::from(l) < fastest.latency).map(|&l| f64::from(l) / 1e6).collect();
        let all = beyond.len() == self.formula.limits.len();
        for ms in beyond {
            let what = format!("no subnet of {} is within {ms} ms", self.hyperspace.name);
            let (least, resolution) = (fastest.latency as f64 / 1e6, fastest.resolution);
            let note = format!("the fastest takes {least:.4} ms, at {resolution} pixels: --limit must be above that");
            match all {
                true => return Err(Diagnostic::error("space-limit", Loc::Unknown, what).note(note).into()),
                false => say(&format!("warning: {what}; {note}")),
            }
        }
        Ok(())
    }
}

/// Where a page is written to.
#[derive(Args)]
pub(super) struct PageArguments {
    /// Write the result as a self-contained HTML page
    #[arg(long, value_name = "R.html")]
    pub(super) report: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(long)]
    pub(super) force: bool,
}

impl PageArguments {
    /// Refuses a page that exists, before anything is computed.
    pub(super) fn check(&self) -> Result<(), Failure> {
        Ok(self.report.iter().try_for_each(|path| refuse_existing(path, self.force))?)
    }

    /// Writes the page, if one is asked for.
    pub(super) fn write(&self, page: impl FnOnce() -> String) -> Result<(), Failure> {
        match &self.report {
            Some(path) => Ok(write_whole(path, page().as_bytes(), self.force)?),
            None => Ok(()),
        }
    }
}

/// What a score is made of, and how it is computed.
#[derive(Args)]
pub(super) struct ScoreArguments {
    /// Latency limit in milliseconds; several are scored one by one and added
    #[arg(long, value_name = "MS", required = true)]
    pub(super) limit: Vec<f64>,
    /// Share of subnets within the limit below which a space is penalized
    #[arg(long, default_value_t = 0.08)]
    t0: f64,
    /// Exponent of that penalty
    #[arg(long, default_value_t = 0.01)]
    a: f64,
    /// How many of the best subnets the mean loss is of
    #[arg(long, default_value_t = 50)]
    top: usize,
    /// Of how many random subnets
    #[arg(long, default_value_t = 100_000)]
    draws: usize,
    /// 'sampled' draws them, as published; 'exact' computes what that tends to
    #[arg(long, default_value = "exact", value_parser = ["exact", "sampled"])]
    pub(super) method: String,
    /// Seed of everything that is random
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Sampled: the same random numbers for every space, so that differences are less noisy
    #[arg(long)]
    common: bool,
    /// Sampled: draw only rows whose widths agree from stage to stage
    #[arg(long)]
    consistent: bool,
}

/// Scores spaces, in order.
pub(super) type Judge<'a> = Box<dyn Fn(&[Choice]) -> Vec<Score> + Sync + 'a>;

impl ScoreArguments {
    pub(super) fn formula(&self) -> Result<Formula, Failure> {
        let limits = self.limit.iter().map(|&ms| limit_ns(ms)).collect::<Result<_, _>>()?;
        if self.top == 0 || self.top > self.draws || !(0.0..=1.0).contains(&self.t0) || !(0.0..=10.0).contains(&self.a) {
            return Err(Failure::Usage(usage("--top must be 1 to --draws, --t0 0 to 1, and --a 0 to 10")));
        }
        if (self.common || self.consistent) && self.method == "exact" {
            return Err(Failure::Usage(usage("--common and --consistent are options of --method sampled")));
        }
        Ok(Formula { limits, t0: self.t0, a: self.a, top: self.top, draws: self.draws })
    }

    fn sampling(&self) -> Sampling {
        Sampling { seed: self.seed, common: self.common, consistent: self.consistent, ..Sampling::default() }
    }

    /// A scorer for many spaces.
    pub(super) fn judge<'a>(&self, pool: &'a Pool, formula: &'a Formula, precision: Precision) -> Judge<'a> {
        if self.method == "exact" {
            let exact = Exact::new(pool, formula.clone(), precision);
            return Box::new(move |choices: &[Choice]| exact.score_all(choices));
        }
        let sampling = self.sampling();
        Box::new(move |choices: &[Choice]| choices.iter().map(|c| sampled::score(pool, c, formula, &sampling)).collect())
    }

    /// All that a score depends on, in one line.
    pub(super) fn line(&self) -> String {
        let limits: Vec<String> = self.limit.iter().map(f64::to_string).collect();
        let ScoreArguments { t0, a, top, draws, method, common, consistent, .. } = self;
        format!(
            "limits={} t0={t0} a={a} top={top} draws={draws} method={method} common={common} consistent={consistent}",
            limits.join(",")
        )
    }
}

/// A row of a table of scores.
pub(super) fn score_line(name: &str, score: &Score) -> String {
    let part = |l: &spaceevo::search::LimitScore| {
        let loss = if l.loss >= NO_SUBNET { "no subnet".to_owned() } else { format!("loss {:.4}", l.loss) };
        format!(
            "  {:.2} ms: score {:.4}, {loss}, {:.3} % within, penalty {:.4}",
            l.limit_ms,
            l.score,
            100.0 * l.feasible,
            l.penalty
        )
    };
    let parts: Vec<String> = score.limits.iter().map(part).collect();
    format!("{name}  score {:.4}\n{}", score.score, parts.join("\n"))
}
