//! What verbs on spaces have in common: the space and its tables.

use std::path::PathBuf;

use clap::Args;
use spaceevo::search::{Choice, Hyperspace, Pool, Tables, Terms};
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
        if !tables.gaps.is_empty() {
            say(&format!(
                "{} gaps: what needs such a table is left out ('space tables' lists all of them)",
                tables.gaps.len()
            ));
        }
        let pool = Pool::new(&tables, self.terms(&tables.resolutions)?).map_err(|d| match d.code {
            "usage" if self.fixed_ms.len() < tables.resolutions.len() => {
                let each: Vec<String> = tables.resolutions.iter().map(|r| format!("{r}=MS")).collect();
                Failure::Usage(d.note(format!("these tables need --fixed-ms {}", each.join(","))))
            }
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

/// Spaces of the command line, which must have tables.
pub(super) fn choices(loaded: &Loaded, texts: &[String]) -> Result<Vec<Choice>, Failure> {
    let choice = |text: &String| {
        let choice = loaded.tables.hyperspace.parse_choice(text).map_err(Failure::Usage)?;
        loaded.tables.covers(&choice)?;
        Ok(choice)
    };
    texts.iter().map(choice).collect()
}
