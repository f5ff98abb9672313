#!/usr/bin/env python3
"""Writes beta_reference.csv: P(theta > x) for theta ~ Beta(alpha, beta), to 30 digits.

Needs mpmath (1.3 or newer): `pip install mpmath`, then `python3 make_beta_reference.py`.

Every value is computed at 80 digits in two ways that share nothing but the arithmetic, which must
agree to 50 digits after the point or the script stops:

1. a power series whose terms are all positive, so that nothing cancels (DLMF 8.17.8);
2. the continued fraction of DLMF 8.17.22.

Small parameters are compared with mpmath's own `betainc` as well. The parameters and x are doubles;
they are written so that reading them back gives the same doubles.
"""

import random
from pathlib import Path

from mpmath import mp, mpf

mp.dps = 80
AGREE = mpf(10) ** -50
OUT = Path(__file__).with_name("beta_reference.csv")


def front(a, b, x):
    """x^a (1-x)^b / (a B(a,b))"""
    return mp.exp(a * mp.log(x) + b * mp.log(1 - x) + mp.loggamma(a + b) - mp.loggamma(a + 1) - mp.loggamma(b))


def lower_by_series(a, b, x):
    """I_x(a,b) as front * sum of (a+b)_n / (a+1)_n x^n."""
    term = total = mpf(1)
    n = 0
    while True:
        ratio = (a + b + n) / (a + 1 + n) * x
        term *= ratio
        total += term
        n += 1
        # Once the ratio is below 1 and falling, the rest is less than a geometric series.
        if ratio < 1 and term / (1 - ratio) < total * mpf(10) ** -70:
            return front(a, b, x) * total


def lower_by_fraction(a, b, x):
    """I_x(a,b) by the modified Lentz evaluation of the continued fraction."""
    tiny = mpf(10) ** -200
    c, d = mpf(1), 1 - (a + b) * x / (a + 1)
    d = 1 / (d or tiny)
    h = d
    m = 0
    while True:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for coefficient in (even, odd):
            d = 1 / ((1 + coefficient * d) or tiny)
            c = (1 + coefficient / c) or tiny
            h *= c * d
        if abs(c * d - 1) < mpf(10) ** -75:
            return front(a, b, x) * h


def lower(method, a, b, x, mirrored):
    """I_x(a,b), asked directly or as what is left of the mirrored tail."""
    return 1 - method(b, a, 1 - x) if mirrored else method(a, b, x)


def above(alpha, beta, x):
    """P(theta > x). Both ways must agree to 50 digits after the point.

    The series is quick where its argument is small, the fraction on the near side of the mean.
    The fraction's value is taken: there the smaller tail is never what is left of the larger one.
    """
    a, b, x = mpf(alpha), mpf(beta), mpf(x)
    if x <= 0:
        return mpf(1)
    if x >= 1:
        return mpf(0)
    by_series = lower(lower_by_series, a, b, x, mirrored=x > 0.5)
    if x <= a / (a + b):
        value = 1 - lower_by_fraction(a, b, x)
    else:
        value = lower_by_fraction(b, a, 1 - x)
    assert abs(1 - by_series - value) <= AGREE, (alpha, beta, x, by_series, value)
    if a + b <= 60:
        reference = mp.betainc(a, b, x, 1, regularized=True)
        assert abs(reference - value) <= AGREE, (alpha, beta, x, reference, value)
    return value


def parameters():
    """Pairs (alpha, beta) from 1 to 1e5: counts as sessions have them, and fractions as old totals have."""
    edges = [1.0, 1.5, 2.0, 3.0, 10.0, 100.0, 1e3, 1e4, 1e5]
    pairs = [(a, b) for a in edges for b in edges]
    numbers = random.Random(20260101)
    for _ in range(60):
        a, b = (10 ** numbers.uniform(0, 5) for _ in range(2))
        pairs.append((round(a, 3), round(b, 3)) if numbers.random() < 0.5 else (float(int(a)), float(int(b))))
    # Near the decision: alpha and beta for which P(theta > 0.5) is close to 0.95.
    for n in (5, 20, 300, 4_000, 15_000, 90_000):
        d = 1.645 * n**0.5 / 2
        pairs.append((float(round(n / 2 + d)) + 1, float(round(n / 2 - d)) + 1))
    return pairs


def points(a, b):
    """Where each pair is asked: 0.5, around the mean, and far out."""
    mean = a / (a + b)
    deviation = (a * b / (a + b) ** 2 / (a + b + 1)) ** 0.5
    asked = [0.5, mean, mean - deviation, mean + 2 * deviation, mean - 5 * deviation, mean + 9 * deviation]
    return sorted({x for x in asked if 0 < x < 1})


def main():
    rows = [(a, b, x) for a, b in parameters() for x in points(a, b)]
    rows += [(a, b, x) for a, b in ((1.0, 1.0), (1e5, 1.0), (1.0, 1e5), (7.0, 1e5)) for x in
             (0.0, 1e-300, 1e-12, 1e-3, 0.25, 0.75, 0.999, 1 - 2**-53, 1.0)]
    lines = ["alpha,beta,x,probability_above"]
    for a, b, x in dict.fromkeys(rows):
        lines.append(f"{a!r},{b!r},{x!r},{mp.nstr(above(a, b, x), 30, min_fixed=0, max_fixed=0)}")
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines) - 1} rows written to {OUT.name}")


if __name__ == "__main__":
    main()
