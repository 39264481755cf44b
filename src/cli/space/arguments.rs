//! What verbs on spaces have in common: the space, its tables, and what a score is made of.

use std::path::PathBuf;

use clap::Args;
use spaceevo::search::exact::{Exact, Precision};
use spaceevo::search::sampled::{self, Sampling};
use spaceevo::search::{Choice, Formula, Hyperspace, Pool, Score, Tables, Terms};
use spaceevo::spaces::Space;

use super::super::arguments::usage;
use super::super::{Failure, say};

/// A hyperspace by shipped name, or from a `.seir` file.
pub(super) fn find_hyperspace(name: &str) -> Result<Hyperspace, Failure> {
    Ok(find_space(name)?.page.hyperspace)
}

/// A space by shipped name, or from a `.seir` file.
pub(super) fn find_space(name: &str) -> Result<Space, Failure> {
    spaceevo::spaces::load(name).map_err(|mut found| match found.pop() {
        Some(unknown) if unknown.code == "space-unknown" => Failure::Usage(unknown),
        last => {
            found.extend(last);
            Failure::Rejected(found)
        }
    })
}

/// Tables, and how rows become losses and latencies of networks.
#[derive(Args)]
pub(super) struct TableArguments {
    /// Published tables: a folder, a .tar or .tar.gz, or a file that 'space tables --binary' wrote
    #[arg(long, value_name = "DIR")]
    tables: PathBuf,
    /// Milliseconds of the parts that are not searched, by resolution: 160=1.75,192=2.24; 160/3=1.80 is for window 3 of the last stage
    #[arg(long, value_name = "RES=MS,...", value_delimiter = ',', required = true)]
    fixed_ms: Vec<String>,
    /// Factors of the stages' losses, as fitted to trained networks (default: 1 for each, as published)
    #[arg(long, value_name = "W,...", value_delimiter = ',')]
    weights: Vec<f64>,
    /// What a resolution adds to the loss: 160=0.12,192=0.05; without it small pictures win: on published tables 160 pixels up to 27 ms, 224 never
    #[arg(long, value_name = "RES=LOSS,...", value_delimiter = ',')]
    resolution_loss: Vec<String>,
}

/// Tables that were read, and the pool made of them.
pub(super) struct Loaded {
    pub(super) tables: Tables,
    pub(super) pool: Pool,
}

impl TableArguments {
    pub(super) fn load(&self, hyperspace: &Hyperspace) -> Result<Loaded, Failure> {
        let tables = Tables::open(&self.tables, hyperspace)?;
        for gap in tables.gaps.iter().take(5) {
            super::super::show(&spaceevo::Diagnostic { severity: spaceevo::ir::Severity::Warning, ..gap.diagnostic() });
        }
        if tables.gaps.len() > 5 {
            say(&format!("and {} more gaps; what needs a missing table is left out", tables.gaps.len() - 5));
        }
        let pool = Pool::new(&tables, self.terms(&tables.resolutions)?).map_err(|d| match d.code {
            "usage" => Failure::Usage(d),
            _ => d.into(),
        })?;
        Ok(Loaded { tables, pool })
    }

    fn terms(&self, resolutions: &[u32]) -> Result<Terms, Failure> {
        let mut terms = Terms { weights: self.weights.clone(), ..Terms::default() };
        for item in &self.fixed_ms {
            let (key, ms) = pair(item, "--fixed-ms")?;
            let ns = nanoseconds(ms).ok_or_else(|| malformed(item, "--fixed-ms"))?;
            match key.split_once('/') {
                None => terms.fixed.push((key.parse().map_err(|_| malformed(item, "--fixed-ms"))?, ns)),
                Some((r, w)) => {
                    let number = |text: &str| text.parse::<u32>().map_err(|_| malformed(item, "--fixed-ms"));
                    let window = u8::try_from(number(w)?).map_err(|_| malformed(item, "--fixed-ms"))?;
                    terms.fixed_by_window.push((number(r)?, window, ns));
                }
            }
        }
        // Resolutions that the tables do not have would be mistaken for ones that count.
        if let Some((r, _)) = terms.fixed.iter().find(|(r, _)| !resolutions.contains(r)) {
            return Err(Failure::Usage(usage(format!(
                "the tables have no rows at resolution {r}, only at {resolutions:?}"
            ))));
        }
        for item in &self.resolution_loss {
            let (key, loss) = pair(item, "--resolution-loss")?;
            terms.resolutions.push((key.parse().map_err(|_| malformed(item, "--resolution-loss"))?, loss));
        }
        Ok(terms)
    }
}

fn malformed(item: &str, flag: &str) -> Failure {
    Failure::Usage(usage(format!("{flag} takes RESOLUTION=NUMBER, separated by commas, not '{item}'")))
}

fn pair<'a>(item: &'a str, flag: &str) -> Result<(&'a str, f64), Failure> {
    let parts = item.split_once('=').and_then(|(key, value)| Some((key, value.parse().ok()?)));
    parts.ok_or_else(|| malformed(item, flag))
}

/// Nanoseconds of milliseconds, if they are a number of at most 4 seconds.
pub(super) fn nanoseconds(ms: f64) -> Option<u32> {
    (0.0..=4000.0).contains(&ms).then(|| (ms * 1e6).round() as u32)
}

/// A limit of the command line in nanoseconds.
pub(super) fn limit_ns(ms: f64) -> Result<u32, Failure> {
    let ns = nanoseconds(ms).filter(|&ns| ns > 0);
    ns.ok_or_else(|| Failure::Usage(usage(format!("a limit is a number of milliseconds above 0 and up to 4000, not {ms}"))))
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

/// Spaces of the command line, which must have tables.
pub(super) fn choices(loaded: &Loaded, texts: &[String]) -> Result<Vec<Choice>, Failure> {
    let choice = |text: &String| {
        let choice = loaded.tables.hyperspace.parse_choice(text).map_err(Failure::Usage)?;
        loaded.tables.covers(&choice)?;
        Ok(choice)
    };
    texts.iter().map(choice).collect()
}

/// A row of a table of scores.
pub(super) fn score_line(name: &str, score: &Score) -> String {
    let part = |l: &spaceevo::search::LimitScore| {
        format!(
            "  {:.2} ms: score {:.4}, loss {:.4}, {:.3} % within, penalty {:.4}",
            l.limit_ms,
            l.score,
            l.loss,
            100.0 * l.feasible,
            l.penalty
        )
    };
    let parts: Vec<String> = score.limits.iter().map(part).collect();
    format!("{name}  score {:.4}\n{}", score.score, parts.join("\n"))
}
