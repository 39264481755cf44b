//! The greedy extractor against the exact one.

use spaceevo_egraph::extract::{Alternative, Problem, exact, greedy};
use spaceevo_testkit::instance::Dice;

/// A random problem: classes with one to four nodes, which read mostly classes below them, often shared ones, and now and
/// then one above, so that choices can run in circles.
fn problem(dice: &mut Dice) -> Problem {
    let count = 8 + dice.below(20);
    let mut problem = Problem::default();
    for class in 0..count {
        let mut nodes = Vec::new();
        for _ in 0..if class < 3 { 1 } else { 1 + dice.below(4) } {
            let mut children: Vec<usize> = Vec::new();
            for _ in 0..if class < 3 { 0 } else { 1 + dice.below(3) } {
                let near = class.saturating_sub(1 + dice.below(5));
                children.push(if dice.below(12) == 0 { dice.below(count) } else { near });
            }
            children.retain(|&child| child != class);
            nodes.push(Alternative { cost: [0.0, 1.0, 5.0, 20.0, 33.0][dice.below(5)] + dice.below(10) as f64, children });
        }
        problem.classes.push(nodes);
    }
    problem.roots = vec![count - 1, count - 2];
    problem
}

#[test]
fn greedy_is_near_the_optimum() {
    let (mut proved, mut equal, mut worst) = (0, 0, 1.0f64);
    let mut dice = Dice(11);
    while proved < 240 {
        let problem = problem(&mut dice);
        let Some(best) = exact(&problem, 100_000) else { continue };
        let (best, found) = (problem.cost(&best).unwrap(), greedy(&problem, None).expect("there is a choice"));
        let found = problem.cost(&found).unwrap();
        assert!(found >= best - 1e-9, "greedy found {found}, below the optimum {best}");
        proved += 1;
        equal += usize::from(found <= best + 1e-9);
        worst = worst.max(if best > 0.0 { found / best } else { 1.0 });
    }
    println!("{proved} problems: greedy is optimal in {equal}, and at worst {worst:.4} of the optimum");
    assert!(worst <= 1.01, "greedy is {worst:.4} of the optimum");
}

#[test]
fn what_is_shared_is_paid_once() {
    let node = |cost: f64, children: &[usize]| Alternative { cost, children: children.to_vec() };
    // As trees, the first node of class 2 would cost 1 + 8 + 8, the second one 10; shared, it is 9 to 10.
    let problem = Problem {
        classes: vec![vec![node(8.0, &[])], vec![node(10.0, &[])], vec![node(1.0, &[0, 0]), node(0.0, &[1])]],
        roots: vec![2],
    };
    for choice in [greedy(&problem, None).unwrap(), exact(&problem, 100).unwrap()] {
        assert_eq!((problem.cost(&choice), choice[2]), (Some(9.0), Some(0)));
    }
}

#[test]
fn circles_are_no_choice() {
    let node = |cost: f64, children: &[usize]| Alternative { cost, children: children.to_vec() };
    let mut problem =
        Problem { classes: vec![vec![node(0.0, &[1]), node(9.0, &[])], vec![node(0.0, &[0])]], roots: vec![1] };
    assert_eq!(problem.cost(&greedy(&problem, None).unwrap()), Some(9.0));
    assert_eq!(problem.cost(&exact(&problem, 100).unwrap()), Some(9.0));
    problem.classes[0].pop();
    assert_eq!((greedy(&problem, None), exact(&problem, 100)), (None, None));
}

#[test]
fn a_start_is_never_made_worse() {
    let mut dice = Dice(3);
    for _ in 0..50 {
        let problem = problem(&mut dice);
        let Some(start) = greedy(&problem, None) else { continue };
        let again = greedy(&problem, Some(&start)).unwrap();
        assert!(problem.cost(&again).unwrap() <= problem.cost(&start).unwrap());
    }
}

#[test]
fn a_part_leaves_what_is_below_it_open() {
    let node = |cost: f64, children: &[usize]| Alternative { cost, children: children.to_vec() };
    let problem = Problem {
        classes: vec![vec![node(8.0, &[])], vec![node(2.0, &[0]), node(9.0, &[])], vec![node(1.0, &[1, 1])]],
        roots: vec![2],
    };
    assert_eq!(problem.cost(&exact(&problem, 100).unwrap()), Some(10.0));
    let part = problem.part(2, 2);
    assert_eq!((part.classes.len(), part.cost(&exact(&part, 100).unwrap())), (3, Some(3.0)), "what is read below is given");
    assert_eq!(problem.part(2, 9).cost(&greedy(&problem.part(2, 9), None).unwrap()), Some(10.0));
}
