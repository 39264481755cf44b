//! The best subnet: against brute force over all rows of small hyperspaces, with proofs that hold and proofs that do not.

mod kit;

use kit::{pool, published, published_pool, small, sources};
use spaceevo_search::best::Best;
use spaceevo_search::certificate::certify;
use spaceevo_search::check::check;
use spaceevo_search::consistent;
use spaceevo_search::objectives::{Limits, search};
use spaceevo_search::pool::{latency, loss};
use spaceevo_search::random::Random;
use spaceevo_search::{Pool, Tables};
use xxhash_rust::xxh3::xxh3_128;

/// Every combination of one row for each stage: loss, latency, MACs, parameters.
fn all_subnets(pool: &Pool, tables: &Tables) -> Vec<[u64; 4]> {
    let mut all = Vec::new();
    for r in 0..pool.resolutions.len() {
        let mut sums = vec![[0; 4]];
        for stage in 0..pool.hyperspace.stages.len() {
            let windows = pool.hyperspace.stages[stage].windows();
            let mut next = Vec::new();
            for choice in 0..pool.choices(stage) {
                let table = tables.table(stage, choice / windows, choice % windows).expect("no gaps");
                for item in &pool.entry(stage, choice, r).items {
                    let row = &table.rows[item.row as usize];
                    let add = [loss(item.pair).into(), latency(item.pair).into(), row.macs, row.params];
                    next.extend(sums.iter().map(|s: &[u64; 4]| std::array::from_fn(|i| s[i] + add[i])));
                }
            }
            sums = next;
        }
        all.extend(sums);
    }
    all
}

#[test]
fn a_thousand_small_hyperspaces_have_the_best_that_brute_force_finds() {
    let mut random = Random::new(&[1]);
    for case in 0..1000 {
        let space = small(&mut random);
        let tables = Tables::parse(&sources(&space, 6, &mut random), &space).expect("random tables");
        let pool = pool(&tables);
        let all = all_subnets(&pool, &tables);
        let best = Best::new(&pool);
        let fastest = all.iter().map(|s| s[1]).min().expect("some");
        let slowest = all.iter().map(|s| s[1]).max().expect("some");
        assert_eq!(best.within(fastest - 1), None, "case {case}");
        for limit in [fastest, (3 * fastest + slowest) / 4, (fastest + slowest) / 2, slowest] {
            let found = best.within(limit).expect("something is within");
            let least = all.iter().filter(|s| s[1] <= limit).map(|s| s[0]).min();
            assert_eq!(Some(found.loss), least, "case {case}, limit {limit}");
            assert!(found.latency <= limit);
            let described = found.describe(&pool, &tables).expect("rows are there");
            assert!((described.loss * 1e6 - found.loss as f64).abs() < 0.5);
            let text = certify(&best, &pool, tables.checksum(), limit);
            let checked = check(&text, &tables).expect("a proof");
            assert_eq!(checked.best, Some((found.loss, found.latency, found.resolution)), "case {case}");
        }
        if case % 10 == 0 {
            let most = |i: usize| all.iter().map(|s| s[i]).sum::<u64>() / all.len() as u64;
            let limits = Limits { latency: most(1), macs: Some(most(2)), params: Some(most(3)), targets: vec![] };
            let answer = search(&pool, &tables, &limits, 5, 1_000_000).expect("random tables");
            let mut within: Vec<u64> =
                all.iter().filter(|s| s[1] <= most(1) && s[2] <= most(2) && s[3] <= most(3)).map(|s| s[0]).collect();
            within.sort_unstable();
            assert!(answer.complete);
            assert_eq!(
                answer.found.iter().map(|f| f.loss).collect::<Vec<_>>(),
                within[..within.len().min(5)],
                "case {case}"
            );
            let single = search(&pool, &tables, &limits, 1, 1_000_000).expect("random tables");
            assert_eq!(single.found.first().map(|f| f.loss), within.first().copied(), "case {case}");
            // Stopped early, it does not claim more than it knows.
            let early = search(&pool, &tables, &limits, 1, 1).expect("random tables");
            let reached = early.found.first().map(|f| f.loss).into_iter().chain(early.bound).min();
            assert!(within.first().is_none_or(|&w| reached.is_some_and(|b| b <= w)), "case {case}");
        }
    }
}

#[test]
fn subnets_whose_widths_join_are_the_best_of_those() {
    let mut random = Random::new(&[7]);
    let mut none = 0;
    for case in 0..200 {
        let space = small(&mut random);
        let tables = Tables::parse(&sources(&space, 8, &mut random), &space).expect("random tables");
        let pool = pool(&tables);
        // Loss, latency and last width of all that join.
        let mut all: Vec<(u64, u64)> = Vec::new();
        for r in 0..pool.resolutions.len() {
            let mut begun: Vec<(u64, u64, Option<u32>)> = vec![(0, 0, None)];
            for stage in 0..space.stages.len() {
                let rows: Vec<_> = (0..pool.choices(stage)).flat_map(|c| pool.entry(stage, c, r).items.clone()).collect();
                let joined = |b: &(u64, u64, Option<u32>)| {
                    let b = *b;
                    let fits = move |i: &&spaceevo_search::pool::Item| b.2.is_none_or(|width| width == i.channels);
                    let next = move |i: &spaceevo_search::pool::Item| {
                        (b.0 + u64::from(loss(i.pair)), b.1 + u64::from(latency(i.pair)), Some(i.width))
                    };
                    rows.iter().filter(fits).map(next).collect::<Vec<_>>()
                };
                begun = begun.iter().flat_map(joined).collect();
            }
            all.extend(begun.iter().map(|b| (b.0, b.1)));
        }
        let middle = all.iter().map(|s| s.1).sum::<u64>() / all.len().max(1) as u64;
        for limit in [0, middle, u64::MAX] {
            let want = all.iter().filter(|s| s.1 <= limit).map(|s| s.0).min();
            let found = consistent::within(&pool, limit);
            assert_eq!(found.as_ref().map(|f| f.loss), want, "case {case}, limit {limit}");
            none += usize::from(found.is_none());
            let Some(found) = found else { continue };
            let described = found.describe(&pool, &tables).expect("rows are there");
            assert!((described.loss * 1e6 - found.loss as f64).abs() < 0.5 && found.latency <= limit);
        }
    }
    assert!((200..500).contains(&none), "{none}");
}

/// The text with a line changed and all checksums right again.
fn forged(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    let body = &text[..text.rfind("end ").expect("the last line")];
    let body = body.replacen(from, to, 1);
    format!("{body}end {:032x}\n", xxh3_128(body.as_bytes()))
}

#[test]
fn proofs_that_were_tampered_with_are_refused() {
    let mut random = Random::new(&[2]);
    let space = small(&mut random);
    let tables = Tables::parse(&sources(&space, 12, &mut random), &space).expect("random tables");
    let pool = pool(&tables);
    let best = Best::new(&pool);
    let limit = best.curve(3)[1].latency;
    let text = certify(&best, &pool, tables.checksum(), limit);
    check(&text, &tables).expect("untouched, it holds");
    let claim = text.lines().find(|l| l.starts_with("claim ")).expect("a claim");
    let words: Vec<&str> = claim.split(' ').collect();
    let number = |i: usize| words[i].parse::<u64>().expect("a number");
    let pick = text.lines().find(|l| l.starts_with("pick ")).expect("a pick");
    let bound = text.lines().find(|l| l.starts_with("bound ")).expect("a bound");
    let step = bound.split(' ').nth(3).expect("a step");
    let (at, loss) = step.split_once(':').expect("latency and loss");
    let higher = format!("{at}:{}", loss.parse::<u64>().expect("a number") + 1);
    for (from, to) in [
        (claim.to_owned(), format!("claim {} {} {}", number(1) - 1, number(2), number(3))),
        (claim.to_owned(), format!("claim {} {} {}", number(1) + 1, number(2), number(3))),
        (claim.to_owned(), "claim none".to_owned()),
        (format!("{pick}\n"), String::new()),
        (pick.to_owned(), "pick 999 0".to_owned()),
        (step.to_owned(), higher),
        (format!("{bound}\n"), String::new()),
        (format!("limit {limit}"), format!("limit {}", number(2) - 1)),
        (format!("{:032x}", tables.checksum()), "0".repeat(32)),
        ("hyperspace small".to_owned(), "hyperspace other".to_owned()),
        ("weights 1".to_owned(), "weights 2".to_owned()),
        ("resolution 32 ".to_owned(), "resolution 33 ".to_owned()),
        ("bound 32 1 ".to_owned(), "bound 32 1 x".to_owned()),
    ] {
        let refused = check(&forged(&text, &from, &to), &tables).expect_err(&from);
        assert_eq!(refused.code, "certificate", "{from} -> {to}");
    }
    // A changed text whose checksum was not made again, and one that was cut off.
    assert!(
        check(&text.replacen("limit", "limit ", 1), &tables).expect_err("changed").message.contains("changed or damaged")
    );
    assert!(check(&text[..text.len() / 2], &tables).expect_err("cut off").message.contains("not complete"));
    // No subnet at all is a claim like any other.
    let none = certify(&best, &pool, tables.checksum(), 1);
    assert_eq!(check(&none, &tables).expect("a proof").best, None);
}

#[test]
fn the_whole_published_hyperspace_is_searched() {
    let (Some(tables), Some(pool)) = (published(), published_pool()) else { return };
    let best = Best::new(&pool);
    let found = best.within(10_000_000).expect("something is within 10 ms");
    assert_eq!((found.loss, found.latency), (2_341_500, 9_951_100));
    // The sum of losses is blind to resolution: 160 pixels win under every limit that these tables were made for, and 224 never.
    for point in best.curve(200) {
        assert_eq!(point.resolution, if point.latency < 27_468_300 { 160 } else { 192 }, "{point:?}");
    }
    assert_eq!(best.within(27_468_299).map(|f| f.resolution), Some(160));
    assert_eq!(best.within(27_468_300).map(|f| (f.resolution, f.loss)), Some((192, 2_016_000)));
    // A term for the resolution corrects that.
    let terms = spaceevo_search::Terms { resolutions: vec![(160, 0.12), (192, 0.05)], ..pool.terms.clone() };
    let corrected = Pool::new(tables, terms).expect("terms of resolutions that are there");
    let resolutions: Vec<u32> = Best::new(&corrected).curve(100).iter().map(|f| f.resolution).collect();
    assert!(resolutions.contains(&160) && resolutions.contains(&224), "{resolutions:?}");
    for limit in [8_000_000, 10_000_000, 25_000_000] {
        let text = certify(&best, &pool, tables.checksum(), limit);
        let checked = check(&text, tables).expect("a proof");
        assert_eq!(checked.best.map(|b| b.0), best.within(limit).map(|f| f.loss));
    }
}
