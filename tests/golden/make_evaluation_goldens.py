#!/usr/bin/env python3
"""Writes evaluation.json beside this file: what the measures of crescendo/metrics should give on small drawn features.

A plain statement of the formulas in NumPy and SciPy, float64, apart from the program's own code: matrix roots by sqrtm
as in the published evaluators, neighbours by whole matrices of differences, permutations by numpy.random.RandomState.
Features are a formula of their name and index (`drawn`), which crescendo/metrics/goldens_test.cc computes as well.
"""
import json
import math
import pathlib

import numpy as np
import scipy.linalg


def drawn(name, *shape):
    """sin(i^2 / 2 + 1.3 i + phase of the name), rounded to fp32, as in make_model_goldens.py."""
    i = np.arange(math.prod(shape), dtype=np.float64)
    phase = sum((k + 1) * c for k, c in enumerate(name.encode())) % 1009
    return np.sin(0.5 * i * i + 1.3 * i + phase).astype(np.float32).astype(np.float64).reshape(shape)


def moved(name, *shape):
    """Narrower than `drawn`, and elsewhere; rounded to fp32 at each step, as the test does."""
    return (np.float32(0.75) * drawn(name, *shape).astype(np.float32) + np.float32(0.5)).astype(np.float64)


# ---------------------------------------------------------------------------
# numpy.random: sums of position times number stand for long permutations.


def permutations():
    weigh = lambda order: int(sum((i + 1) * int(v) for i, v in enumerate(order)))
    out = {"7": np.random.RandomState(2020).permutation(7).tolist(),
           "1": np.random.RandomState(5).permutation(1).tolist()}
    for n in 1000, 4096, 50000:
        out[f"weighed {n}"] = weigh(np.random.RandomState(2020).permutation(n))
    state = np.random.RandomState(7)  # several draws of one state
    out["choices"] = [state.choice(n, k, replace=False).tolist() for n, k in ((50, 4), (9, 9), (1000, 3))]
    return out


# ---------------------------------------------------------------------------
# Frechet distance.


def frechet(a, b):
    mean_a, mean_b, cov_a, cov_b = a.mean(0), b.mean(0), np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root).real)


def frechet_of_few(a, b):
    """tr (S1 S2)^(1/2) is the nuclear norm of A B^T, A and B the centred rows over the root of N - 1."""
    centred = [(x - x.mean(0)) / math.sqrt(len(x) - 1) for x in (a, b)]
    nuclear = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(means + (centred[0] ** 2).sum() + (centred[1] ** 2).sum() - 2 * nuclear)


# ---------------------------------------------------------------------------
# Inception Score.


def score(logits):
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return float(np.exp((p * (np.log(p) - np.log(p.mean(0, keepdims=True)))).sum(1).mean()))


def inception_scores():
    logits = 4 * drawn("logits", 97, 11)
    shuffled = logits[np.random.RandomState(2020).permutation(97)]
    parts = [score(shuffled[i * 97 // 10:(i + 1) * 97 // 10]) for i in range(10)]
    in_order = [score(logits[i:i + 30]) for i in range(0, 97, 30)]
    return {"mean": float(np.mean(parts)), "deviation": float(np.std(parts)), "one split": score(logits),
            "parts of 30": float(np.mean(in_order))}


# ---------------------------------------------------------------------------
# Neighbours.


def half(x):
    return np.asarray(x, np.float16).astype(np.float32)


def exact(u, v):
    return ((u[:, None] - v[None]) ** 2).sum(-1)


def adm_fp16(u, v):
    """Every result of |u|^2 - 2 u.v + |v|^2 rounded to fp16, sums within a product or a norm in fp32."""
    u, v = half(u), half(v)
    norm = lambda x: half(half(x * x).sum(1, dtype=np.float32))
    products = half(u @ v.T)
    return np.maximum(half(half(norm(u)[:, None] - 2 * products) + norm(v)[None]), 0)


def neighbours(real, generated, k, distances):
    def radii(x):
        d = distances(x, x)
        np.fill_diagonal(d, -1)
        return np.sort(d, 1)[:, k]

    d = distances(real, generated)
    in_real, in_generated = d <= radii(real)[:, None], d <= radii(generated)[None]
    return {"precise": int(in_real.any(0).sum()), "recalled": int(in_generated.any(1).sum()),
            "covered": int(in_real.any(1).sum()), "density": float(in_real.sum() / (k * len(generated)))}


# ---------------------------------------------------------------------------
# Kernel distance.


def kernel_distance(first, second, subsets, size):
    kernel = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3
    state = np.random.RandomState(2020)
    values = []
    for _ in range(subsets):
        x = first[state.choice(len(first), size, replace=False)]
        y = second[state.choice(len(second), size, replace=False)]
        within = sum(kernel(z, z).sum() - np.trace(kernel(z, z)) for z in (x, y)) / (size * (size - 1))
        values.append(within - 2 * kernel(x, y).mean())
    return {"mean": float(np.mean(values)), "deviation": float(np.std(values)), "first": float(values[0])}


def main():
    real, generated = drawn("real", 90, 6), moved("generated", 70, 6)
    # In many dimensions distances lie close to each other, and fp16 tells fewer of them apart.
    wide, wide_too = 24 * drawn("wide", 160, 40), 24 * moved("wide too", 200, 40)
    few, few_too = drawn("few", 7, 12), moved("few too", 9, 12)
    goldens = {
        "permutations": permutations(),
        "moments": {"mean": real.mean(0).tolist(), "covariance": np.cov(real, rowvar=False).tolist()},
        "frechet": frechet(real, generated),
        "frechet.few": frechet_of_few(few, few_too),
        "inception_score": inception_scores(),
        "neighbours.fp32": neighbours(real, generated, 3, exact),
        "neighbours.k5": neighbours(real, generated, 5, exact),
        "neighbours.wide": neighbours(wide, wide_too, 3, exact),
        "neighbours.adm-fp16": neighbours(wide, wide_too, 3, adm_fp16),
        "kernel_distance": kernel_distance(generated, real, 5, 40),
    }
    lines = [f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in goldens.items()]
    path = pathlib.Path(__file__).resolve().parent / "evaluation.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
