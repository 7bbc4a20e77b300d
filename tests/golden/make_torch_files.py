#!/usr/bin/env python3
"""Writes io_zip.pth and io_legacy.pth beside this file: one checkpoint in both forms of torch.save().

The values follow from their names and shapes (arange), so that the tests can compute them. Made with PyTorch 1.13.1.
"""
import argparse
import collections
import pathlib

import numpy
import torch


def checkpoint():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    weights = collections.OrderedDict()
    weights["base"] = base
    weights["transposed"] = base.t()                  # strides (1, 6), same storage
    weights["part"] = base[1:3, 2:5]                  # offset 8, strides (6, 1), same storage
    weights["expanded"] = torch.tensor([7.0]).expand(3, 2)  # strides (0, 0)
    for name in "float64 float16 bfloat16 int64 int32 int16 int8 uint8".split():
        weights[name] = torch.arange(5).to(getattr(torch, name))
    weights["bool"] = torch.tensor([True, False, True])
    weights["scalar"] = torch.tensor(2.5)
    weights["empty"] = torch.empty(0, 3)
    linear = torch.nn.Linear(2, 1)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.5, -0.25]]))
        linear.bias.fill_(3)
    args = argparse.Namespace(lr=1e-4, batch=-3, big=2**40, name="fär", flag=True, nothing=None, betas=(0.9, 0.95),
                              sizes=[1, 2], device=torch.device("cuda:0"), dtype=torch.float16)
    return {
        "model": weights,
        "model_ema": {"w": torch.nn.Parameter(torch.arange(3.0))},   # _rebuild_parameter
        "module": linear.state_dict(),                               # OrderedDict with the attribute _metadata
        "optimizer": {"state": {0: {"step": 10, "exp_avg": torch.ones(2)}}, "param_groups": [{"params": [0]}]},
        "args": args,
        "epoch": 399,
        "best": numpy.float64(0.125),
        "count": numpy.int64(7),
        "shape": torch.Size([2, 3]),
        "names": {"only"},
        "raw": b"\x00\xff",
        "huge": 3**60,
    }


def main():
    folder = pathlib.Path(__file__).parent
    torch.save(checkpoint(), folder / "io_zip.pth")
    torch.save(checkpoint(), folder / "io_legacy.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
