//! The Beta distribution function against reference values of an independent implementation.
//!
//! The values and the script that made them are in `tests/data`. What follows from a probability, such as
//! when to stop, is not here.

use membrane_core::evidence::Evidence;

/// Both parameters of a row are at most this, or the row belongs to the second bound.
const FIRST_RANGE: f64 = 1e4;
/// What holds in the first range, absolutely; the worst is on the diagonal, 2.9e-11 at Beta(1e4, 1e4).
const FIRST_BOUND: f64 = 4e-11;
/// What holds up to 1e5, absolutely; the worst is 3.1e-7 at Beta(1e5, 1e5).
const SECOND_BOUND: f64 = 4e-7;

struct Row {
    alpha: f64,
    beta: f64,
    x: f64,
    probability_above: f64,
}

fn rows() -> Vec<Row> {
    let text = include_str!("../data/beta_reference.csv");
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<f64> = line.split(',').map(|field| field.parse().unwrap()).collect();
            let [alpha, beta, x, probability_above] = fields[..] else {
                panic!("a row of four numbers is needed, not {line:?}")
            };
            Row { alpha, beta, x, probability_above }
        })
        .collect()
}

#[test]
fn the_beta_distribution_function_holds_to_the_reference_values() {
    let rows = rows();
    let (mut worst_first, mut worst_second) = (0.0_f64, 0.0_f64);
    let mut beyond = Vec::new();
    for Row { alpha, beta, x, probability_above } in &rows {
        let evidence = Evidence { alpha: *alpha, beta: *beta, ..Evidence::NONE };
        let off = (evidence.probability_above(*x) - probability_above).abs();
        assert!(off.is_finite(), "Beta({alpha}, {beta}) above {x} is not a number");
        let first = alpha.max(*beta) <= FIRST_RANGE;
        let (worst, bound) =
            if first { (&mut worst_first, FIRST_BOUND) } else { (&mut worst_second, SECOND_BOUND) };
        *worst = worst.max(off);
        if off > bound {
            beyond.push(format!("Beta({alpha}, {beta}) above {x} is off by {off:e}, more than {bound:e}"));
        }
    }
    println!(
        "campaign: beta_reference rows={} worst_to_1e4={worst_first:.1e} worst_to_1e5={worst_second:.1e}",
        rows.len()
    );
    assert!(rows.len() >= 500, "only {} reference values were read", rows.len());
    assert!(rows.iter().any(|row| row.alpha >= 1e5) && rows.iter().any(|row| row.beta >= 1e5));
    assert!(beyond.is_empty(), "{}", beyond.join("\n"));
}
