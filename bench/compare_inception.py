"""Times Inception v3 in eager PyTorch and the program's FID network in turns, one thread each, the same batch.

    python3 bench/compare_inception.py build/bench/bm_crescendo --rounds 5      # PyTorch and torchvision

Eager is what pytorch-fid and torch-fidelity run: convolution, batch norm and ReLU one by one, channels first. Its
weights are random, which costs the same.
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


def eager_seconds(net: torch.nn.Module, x: torch.Tensor, repeats: int = 3) -> float:
    with torch.inference_mode():
        net(x)
        start = time.perf_counter()
        for _ in range(repeats):
            net(x)
        return (time.perf_counter() - start) / repeats / BATCH


def own_seconds(program: str) -> tuple:
    run = subprocess.run([program, f"--benchmark_filter={BENCHMARK}$", "--benchmark_format=json"], check=True,
                         stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    result = json.loads(run.stdout)["benchmarks"][0]
    if result.get("error_occurred"):
        raise SystemExit(f"{BENCHMARK}: {result['error_message']}")
    return 1 / result["items_per_second"], result["of_product"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="bm_crescendo")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    net = torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=False).eval()
    channels_first = torch.randn(BATCH, 3, 299, 299)
    rounds = []
    for _ in range(args.rounds):
        eager = eager_seconds(net, channels_first)
        own, of_product = own_seconds(args.program)
        rounds.append((eager, own, of_product))
        print(f"eager {1e3 * eager:.1f} ms, own {1e3 * own:.1f} ms an image, {eager / own:.2f} times as fast, "
              f"{of_product:.2f} of the product's rate", flush=True)
    eager, own, of_product = (statistics.median(r[i] for r in rounds) for i in range(3))
    ratio = statistics.median(r[0] / r[1] for r in rounds)
    print(f"medians: eager {1e3 * eager:.1f} ms, own {1e3 * own:.1f} ms, {ratio:.2f} times as fast, {of_product:.2f}")


if __name__ == "__main__":
    main()
