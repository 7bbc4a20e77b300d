"""Times Inception v3 in eager PyTorch and the program's FID network in turns, one thread each, the same batch.

    python3 bench/compare_inception.py build/bench/bm_crescendo --rounds 5      # PyTorch and torchvision

Eager is what pytorch-fid and torch-fidelity run: convolution, batch norm and ReLU one by one, channels first. Its
weights are random, which costs the same. Times are those of the processor, so that other work on the machine disturbs
them less.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

import torch
import torchvision

BENCHMARK = "inception/fp32/8"
BATCH = 8
GFLOP_PER_IMAGE = 11.42
PRODUCT = (1225, 576, 192)  # rows, inner, columns: a convolution of the network's middle


def cpu_seconds(work, repeats: int) -> float:
    work()
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def own_seconds(program: str) -> float:
    """A picture's, by the benchmark's time of its only thread."""
    run = subprocess.run([program, f"--benchmark_filter={BENCHMARK}$", "--benchmark_format=json"], check=True,
                         stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    result = json.loads(run.stdout)["benchmarks"][0]
    if result.get("error_occurred"):
        raise SystemExit(f"{BENCHMARK}: {result['error_message']}")
    return 1 / result["items_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="bm_crescendo")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    net = torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=False).eval()
    x = torch.randn(BATCH, 3, 299, 299)
    rows, inner, columns = PRODUCT
    a, b = torch.randn(rows, inner), torch.randn(inner, columns)
    rounds = []
    for _ in range(args.rounds):
        eager = cpu_seconds(lambda: net(x), 2) / BATCH
        product = 2e-9 * rows * inner * columns / cpu_seconds(lambda: a @ b, 30)
        own = own_seconds(args.program)
        rounds.append((eager, own, eager / own, product, GFLOP_PER_IMAGE / own / product))
        print("eager %.1f ms, own %.1f ms an image, %.2f times as fast; product %.0f GFLOP/s, of it %.2f" % (
            1e3 * eager, 1e3 * own, eager / own, product, rounds[-1][4]), flush=True)
    eager, own, ratio, product, share = (statistics.median(r[i] for r in rounds) for i in range(5))
    print("medians: eager %.1f ms, own %.1f ms an image, %.2f times as fast; product %.0f GFLOP/s, of it %.2f" % (
        1e3 * eager, 1e3 * own, ratio, product, share))


if __name__ == "__main__":
    main()
