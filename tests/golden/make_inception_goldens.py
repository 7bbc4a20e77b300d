"""Makes inception.json: what the FID Inception network and its three ways of preparing pictures answer.

Weights and pictures are a formula of their name and index (a counter-based hash), which the C++ tests compute, too. The
network is torchvision's Inception v3 with the pools of the FID network, in float64; TensorFlow 1's resize is stated in
NumPy's float32, the other two are PyTorch's and Pillow's own.

    python3 tests/golden/make_inception_goldens.py      # PyTorch 1.13 or later, torchvision, Pillow
"""

import hashlib
import json
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torchvision.models.inception as tv
from PIL import Image
from torch.nn import functional as F

SIDE = 299
U64 = np.uint64


def bits(name: str, count: int) -> np.ndarray:
    """`count` words of 64 bits: SplitMix64 over counters that begin at a hash of the name (FNV-1a)."""
    start = 0xCBF29CE484222325
    for byte in name.encode():
        start = (start ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = U64(start) + np.arange(1, count + 1, dtype=U64) * U64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
        return z ^ (z >> U64(31))


def uniform(name: str, shape: tuple, low: float, high: float) -> torch.Tensor:
    part = (bits(name, math.prod(shape)) >> U64(40)).astype(np.float64) / 2**24  # [0, 1)
    return torch.from_numpy((low + (high - low) * part).astype(np.float32).reshape(shape))


def weight(name: str, shape: tuple) -> torch.Tensor:
    if name.endswith("conv.weight"):
        bound = math.sqrt(6 / math.prod(shape[1:]))
        return uniform(name, shape, -bound, bound)
    if name.endswith(("bn.weight", "bn.running_var")):
        return uniform(name, shape, 0.5, 1.5)
    return uniform(name, shape, -0.1, 0.1)


def picture(width: int, height: int) -> np.ndarray:
    name = f"picture {width} x {height}"
    return (bits(name, width * height * 3) >> U64(56)).astype(np.uint8).reshape(height, width, 3)


def tf_input(x: np.ndarray) -> np.ndarray:
    def axis(size):
        at = np.arange(SIDE, dtype=np.float32) * np.float32(size / SIDE)
        low = at.astype(np.int64)
        return low, np.minimum(low + 1, size - 1), at - low.astype(np.float32)

    x = x.astype(np.float32).transpose(2, 0, 1)
    y_low, y_high, dy = axis(x.shape[1])
    x_low, x_high, dx = axis(x.shape[2])
    rows = [x[:, y][:, :, x_low] + (x[:, y][:, :, x_high] - x[:, y][:, :, x_low]) * dx for y in (y_low, y_high)]
    mixed = rows[0] + (rows[1] - rows[0]) * dy[:, None]
    return (mixed - np.float32(128)) / np.float32(128)


def pytorch_fid_input(x: np.ndarray) -> np.ndarray:
    t = torch.from_numpy(x).permute(2, 0, 1).contiguous().float().div(255)[None]
    t = F.interpolate(t, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return (2 * t - 1)[0].numpy()


def clean_input(x: np.ndarray) -> np.ndarray:
    channels = [Image.fromarray(x[:, :, c].astype(np.float32), mode="F") for c in range(3)]
    y = np.stack([np.asarray(c.resize((SIDE, SIDE), Image.BICUBIC)) for c in channels])
    return (np.clip(y, 0, 255) - np.float32(128)) / np.float32(128)


INPUTS = {"tf": tf_input, "pytorch-fid": pytorch_fid_input, "clean": clean_input}


def network() -> torch.nn.Module:
    net = tv.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False).eval()
    average = partial(F.avg_pool2d, count_include_pad=False)
    pools = SimpleNamespace(**{**vars(F), "avg_pool2d": average})
    tv.F = pools
    # Only while the last block runs, its pool takes the maximum.
    net.Mixed_7c.register_forward_pre_hook(lambda *_: setattr(pools, "avg_pool2d", F.max_pool2d))
    net.Mixed_7c.register_forward_hook(lambda *_: setattr(pools, "avg_pool2d", average))
    state = {n: t if n.endswith("num_batches_tracked") else weight(n, tuple(t.shape))
             for n, t in net.state_dict().items()}
    net.load_state_dict(state)
    return net.double()


def features(net: torch.nn.Module, x: np.ndarray) -> dict:
    taps = {}
    net.Mixed_6d.branch1x1.register_forward_hook(lambda m, i, o: taps.update(spatial=o))
    net.avgpool.register_forward_hook(lambda m, i, o: taps.update(pool=o))
    with torch.no_grad():
        net(torch.from_numpy(x)[None].double())
    pool = taps["pool"].flatten(1)
    return {"pool": pool, "logits": pool @ net.fc.weight.T,
            "spatial": taps["spatial"][:, :7].permute(0, 2, 3, 1).flatten(1)}


def main() -> None:
    net = network()
    out = {"inputs": [], "features": {}}
    for width, height in [(64, 48), (299, 299), (400, 350), (301, 17), (1, 1)]:
        for preset, prepare in INPUTS.items():
            x = np.ascontiguousarray(prepare(picture(width, height)))
            assert x.dtype == np.float32 and x.shape == (3, SIDE, SIDE)
            out["inputs"].append({"width": width, "height": height, "preset": preset,
                                  "sha256": hashlib.sha256(x.tobytes()).hexdigest(),
                                  "every_9973rd": [float(f"{v:.9g}") for v in x.reshape(-1)[::9973]]})
    for preset, prepare in INPUTS.items():
        answer = features(net, prepare(picture(64, 48)))
        out["features"][preset] = {name: [float(f"{v:.9g}") for v in t[0, ::4].tolist()] for name, t in answer.items()}
        print(preset, {name: float(t.abs().mean()) for name, t in answer.items()})
    text = json.dumps(out, separators=(",", ":")).replace("},{", "},\n{").replace("],", "],\n")
    Path(__file__).with_name("inception.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
