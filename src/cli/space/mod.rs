//! `space`: search spaces, one file for each verb.

mod arguments;
mod certify;
mod check;
mod compare;
mod count;
mod evolve;
mod growing;
mod named;
mod price;
mod rank;
mod sample;
mod score;
mod scoring;
mod search;
mod show;
mod specialize;
mod subnets;
mod tables;

use clap::{Args, Subcommand};

use super::Failure;

/// Search spaces: score them, evolve them, and find the best subnet, with a proof
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt space score onnxw --choice 151122-023231 --tables lut.tar.gz --fixed-ms 160=1.75,192=2.24,224=2.80 --limit 10"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Show(show::Arguments),
    Count(count::Arguments),
    Sample(sample::Arguments),
    Specialize(specialize::Arguments),
    Score(score::Arguments),
    Evolve(evolve::Arguments),
    Search(search::Arguments),
    Subnets(subnets::Arguments),
    Certify(certify::Arguments),
    Check(check::Arguments),
    Compare(compare::Arguments),
    Price(price::Arguments),
    Rank(rank::Arguments),
    Tables(tables::Arguments),
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.verb {
        Verb::Show(arguments) => show::run(arguments),
        Verb::Count(arguments) => count::run(arguments),
        Verb::Sample(arguments) => sample::run(arguments),
        Verb::Specialize(arguments) => specialize::run(arguments),
        Verb::Score(arguments) => score::run(arguments),
        Verb::Evolve(arguments) => evolve::run(arguments),
        Verb::Search(arguments) => search::run(arguments),
        Verb::Subnets(arguments) => subnets::run(arguments),
        Verb::Certify(arguments) => certify::run(arguments),
        Verb::Check(arguments) => check::run(arguments),
        Verb::Compare(arguments) => compare::run(arguments),
        Verb::Price(arguments) => price::run(arguments),
        Verb::Rank(arguments) => rank::run(arguments),
        Verb::Tables(arguments) => tables::run(arguments),
    }
}
