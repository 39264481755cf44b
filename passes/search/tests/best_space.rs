//! The best space: against scoring all spaces of small hyperspaces one by one, with proofs that hold and proofs that do not.

mod kit;

use kit::{all_spaces, counted, pool, published, published_pool, small, sources, subnets};
use spaceevo_search::best_space::best_space;
use spaceevo_search::check::{Rows, check_space, least_score};
use spaceevo_search::exact::{Exact, Precision};
use spaceevo_search::pool::{latency, loss};
use spaceevo_search::random::Random;
use spaceevo_search::sampled::draws;
use spaceevo_search::space_certificate::certify_space;
use spaceevo_search::tilt::{Bounds, Tilt};
use spaceevo_search::{Formula, Hyperspace, Pool, Tables};
use xxhash_rust::xxh3::xxh3_128;

/// A small hyperspace with its tables, and limits that some of its subnets meet.
fn case(random: &mut Random) -> (Hyperspace, Tables, Pool, Formula) {
    let space = small(random);
    let tables = Tables::parse(&sources(&space, 24, random), &space).expect("random tables");
    let pool = pool(&tables);
    let mut times: Vec<u32> = draws(&pool, &space.choice_at(0), 999, 0).iter().map(|&p| latency(p)).collect();
    times.sort_unstable();
    let formula = Formula { limits: vec![times[200], times[500]], draws: 1000, ..Formula::default() };
    (space, tables, pool, formula)
}

#[test]
fn the_best_of_all_spaces_is_found_and_proved() {
    let mut random = Random::new(&[21]);
    for n in 0..60 {
        let (space, tables, pool, formula) = case(&mut random);
        let exact = Exact::new(&pool, formula.clone(), Precision::FAST);
        let scores: Vec<f64> = all_spaces(&space).iter().map(|c| exact.score(c).score).collect();
        let most = scores.iter().copied().fold(0.0, f64::max);
        let best = best_space(&exact, &pool).expect("some meet the limits");
        assert!((best.score / most - 1.0).abs() < 1e-5, "case {n}: {} of {most}", best.score);
        let checked = check_space(&certify_space(&best, &exact, &pool, tables.checksum()), &tables).expect("a proof");
        assert_eq!((checked.spaces, checked.open), (space.spaces(), best.contenders.len()), "case {n}");
        assert_eq!(checked.space, space.print_choice(&best.choice));
        // Bounds are bounds whatever the exponents: also on spaces that begin alike.
        let tilts = [Tilt { loss: 9.0, latency: 0.7, share: 0.3 }, Tilt { loss: 25.0, latency: 2.0, share: 1.1 }];
        let bounds = Bounds::new(&pool, &formula, &tilts);
        for (choice, score) in all_spaces(&space).iter().zip(&scores) {
            let indices: Vec<usize> = (0..space.stages.len()).map(|s| pool.choice_index(choice, s)).collect();
            // The grid blurs rough distributions by a cell or two.
            for begun in 1..=indices.len() {
                assert!(bounds.at_most(&indices[..begun]) >= score * 0.98, "case {n}, {choice:?}");
            }
        }
    }
}

#[test]
fn scores_lie_between_what_rows_alone_say() {
    let mut random = Random::new(&[23]);
    let mut near = 0;
    for n in 0..60 {
        let (space, _, pool, formula) = case(&mut random);
        for limit in formula.limits {
            // So many draws that the best few are a whole number, a part of one, or all that are within the limit.
            for draws in [100_000, 1000, 60] {
                let formula = Formula { limits: vec![limit], draws, ..Formula::default() };
                let choice = space.choice_at(space.spaces() - 1);
                let (share, mean) = counted(&subnets(&pool, &choice), limit, formula.tail());
                let found = share * draws as f64 >= 1.0;
                let truth = formula.under(limit, share, found.then_some(mean)).score;
                let indices: Vec<usize> = (0..space.stages.len()).map(|s| pool.choice_index(&choice, s)).collect();
                let pairs = |s: usize, r: usize| pool.entry(s, indices[s], r).pairs.iter();
                let rows = |s: usize, r: usize| pairs(s, r).map(|&p| (loss(p).into(), latency(p).into())).collect();
                let stage = |s: usize| (0..pool.resolutions.len()).map(|r| rows(s, r)).collect::<Rows>();
                let stages: Vec<Rows> = (0..indices.len()).map(stage).collect();
                let least = least_score(&formula, &stages.iter().collect::<Vec<_>>());
                assert!(least <= truth, "case {n}, {limit} ns, {draws} draws: {least} is above {truth}");
                near += usize::from(least > truth * 0.99);
                let tilts = [Tilt::fit(&pool, &formula, limit, &choice)];
                let most = Bounds::new(&pool, &formula, &tilts).at_most(&indices);
                assert!(most >= truth * (1.0 - 1e-9), "case {n}, {limit} ns, {draws} draws: {most} is below {truth}");
            }
        }
    }
    assert!(near > 300, "{near} of 360 are within a hundredth");
}

/// The text with a line changed and its checksum right again.
fn forged(text: &str, edit: impl Fn(&str) -> Option<String>) -> String {
    let body = &text[..text.rfind("end ").expect("the last line")];
    let lines: Vec<String> = body.lines().filter_map(edit).collect();
    let body = lines.join("\n") + "\n";
    assert_ne!(body, text[..text.rfind("end ").expect("the last line")], "nothing was changed");
    format!("{body}end {:032x}\n", xxh3_128(body.as_bytes()))
}

#[test]
fn proofs_about_spaces_that_were_tampered_with_are_refused() {
    let mut random = Random::new(&[22]);
    // One with spaces that bounds leave open beside the best.
    let (space, tables, best, text) = (0..100)
        .find_map(|_| {
            let (space, tables, pool, formula) = case(&mut random);
            let exact = Exact::new(&pool, formula, Precision::FAST);
            let best = best_space(&exact, &pool).filter(|b| b.contenders.len() > 1 && b.contenders.len() < 9)?;
            let text = certify_space(&best, &exact, &pool, tables.checksum());
            best.contenders.iter().all(|c| c.places.iter().all(Option::is_some)).then_some((space, tables, best, text))
        })
        .expect("one of a hundred");
    check_space(&text, &tables).expect("untouched, it holds");
    let own = space.index_of(&best.choice);
    let other = text.lines().filter_map(|l| l.strip_prefix("open ")?.split(' ').next()?.parse::<u128>().ok());
    let other = other.into_iter().find(|&n| n != own).expect("another");
    let score = best.score;
    let replaced = |from: &'static str, to: &'static str| {
        move |line: &str| Some(if line.starts_with(from) { line.replacen(from, to, 1) } else { line.to_owned() })
    };
    let claim = |to: String| move |line: &str| Some(if line.starts_with("claim") { to.clone() } else { line.to_owned() });
    let least =
        |to: f64| move |line: &str| Some(if line.starts_with("least") { format!("least {to}") } else { line.to_owned() });
    let without = |word: String| move |line: &str| (!line.starts_with(&word)).then(|| line.to_owned());
    let shifted = |by: i64| {
        move |line: &str| {
            let Some(rest) = line.strip_prefix(&format!("open {own} ")) else { return Some(line.to_owned()) };
            let (first, rest) = rest.split_once(' ')?;
            Some(format!("open {own} {} {rest}", first.parse::<i64>().ok()? + by))
        }
    };
    let edits: Vec<(&str, String)> = vec![
        ("another space", forged(&text, claim(format!("claim {score} {other}")))),
        ("a higher score", forged(&text, claim(format!("claim {} {own}", score * 1.001)))),
        ("a lower score", forged(&text, claim(format!("claim {} {own}", score * 0.999)))),
        ("no such space", forged(&text, claim(format!("claim {score} 99999999999")))),
        ("nothing", forged(&text, without("claim".into()))),
        ("a space is not named", forged(&text, without(format!("open {other} ")))),
        ("the best is not named", forged(&text, without(format!("open {own} ")))),
        ("a place beside the peak", forged(&text, shifted(3))),
        ("another formula", forged(&text, replaced("formula 0.08 0.01 50 ", "formula 0.08 0.01 90 "))),
        ("a formula without meaning", forged(&text, replaced("formula 0.08 0.01 50 ", "formula 0.08 0.01 0 "))),
        ("a bound that decides too much", forged(&text, least(1.001 * best.least))),
        ("a negative bound", forged(&text, replaced("least ", "least -"))),
        ("other weights", forged(&text, replaced("weights 1 ", "weights 2 "))),
        ("other tables", forged(&text, replaced("tables ", "tables 0"))),
        ("exponents that bound nothing", forged(&text, replaced("tilt ", "tilt -"))),
        ("a word that nobody knows", forged(&text, replaced("least", "leasts"))),
    ];
    for (what, text) in edits {
        let refused = check_space(&text, &tables).expect_err(what);
        assert_eq!(refused.code, "certificate", "{what}: {refused}");
    }
    assert!(check_space(&text.replacen("open", "Open", 1), &tables).expect_err("changed").message.contains("damaged"));
    assert!(check_space(&text[..text.len() / 2], &tables).expect_err("cut off").message.contains("not complete"));
}

#[test]
fn the_best_published_space_is_proved() {
    let (Some(tables), Some(pool)) = (published(), published_pool()) else { return };
    for (limits, name) in [(vec![25], "onnxw-121122-133331"), (vec![15], "onnxw-121122-022231")] {
        let formula = Formula { limits: limits.iter().map(|l| l * 1_000_000).collect(), ..Formula::default() };
        let exact = Exact::new(&pool, formula, Precision::FAST);
        let best = best_space(&exact, &pool).expect("some meet the limit");
        let checked = check_space(&certify_space(&best, &exact, &pool, tables.checksum()), tables).expect("a proof");
        assert_eq!((checked.space.as_str(), checked.spaces), (name, 95_551_488));
    }
}
