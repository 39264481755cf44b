//! The statistics of `benches/`, where `cargo bench` runs no tests.

#[path = "../benches/convert/statistics.rs"]
mod statistics;

use statistics::Summary;

#[test]
fn medians_and_extremes() {
    let odd = Summary::of(&[3.0, 1.0, 2.0]);
    assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
    assert_eq!(Summary::of(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
    assert_eq!(Summary::of(&[7.0]).interval, (7.0, 7.0));
}

#[test]
fn intervals_are_those_of_the_tables() {
    // Ranks (from 1) and confidence of the sign-test interval for the median.
    for (n, low, high, confidence) in [(5, 1, 5, 0.9375), (6, 1, 6, 0.96875), (9, 2, 8, 0.9609375), (20, 6, 15, 0.958611)] {
        let numbers: Vec<f64> = (1..=n).rev().map(f64::from).collect();
        let found = Summary::of(&numbers);
        assert_eq!(found.interval, (f64::from(low), f64::from(high)), "{n}");
        assert!((found.confidence - confidence).abs() < 1e-6, "{n}: {}", found.confidence);
    }
}
