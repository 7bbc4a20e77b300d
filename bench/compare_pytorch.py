"""Times FAR's sampler written in eager PyTorch, alone or in turns with `crescendo bench` (--against).

The sampler as a research script would state it, with random weights: every inner step evaluates the whole head for
every token, and once any outer step is guided all of them carry the unconditional half. What is slow in such scripts
only by accident (tables copied to the device at every step) is left out. Modules bear the published names, so that
load_state_dict() takes published weights. PyTorch 1.13 or 2.x.

Letters: B images, L tokens, C numbers of a token, D width of the transformer, W width of the head, M rows of the head.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import Callable, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TRAINING_TIMESTEPS = 1000
PARTS = ("backbone", "head", "decode", "all")


class DecoderSize(NamedTuple):
    channels: tuple[int, ...] = (128, 128, 256, 256, 512)  # of every level, the finest first
    blocks: int = 3  # of a level
    groups: int = 32  # of a norm
    middle: bool = True  # two blocks and attention before the first level
    shuffle: int = 1  # side of the square of pixels that a position of the last level becomes


class Size(NamedTuple):
    width: int  # D
    blocks: int  # of the encoder, and as many of the decoder
    heads: int
    head_blocks: int
    head_width: int = 1024  # W
    classes: int = 1000
    buffer: int = 64  # copies of the class vector in front of the tokens
    levels: int = 16
    side: int = 16  # of the latent
    channels: int = 16  # of the latent
    patch: int = 1  # side of the square of the latent that is a token
    latent_scale: float = 0.2325
    decoder: DecoderSize = DecoderSize()

    @property
    def tokens(self) -> int:  # L
        return (self.side // self.patch) ** 2

    @property
    def token(self) -> int:  # C
        return self.channels * self.patch ** 2


layer_norm = partial(nn.LayerNorm, eps=1e-6)
conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1)

SIZES = {
    "far-b": Size(768, 12, 12, 6), "far-l": Size(1024, 16, 16, 3), "far-h": Size(1280, 20, 16, 3),
    # The model in the box, so that times stand beside the quality that is measured with it.
    "shapes-64": Size(192, 3, 6, 3, 256, classes=80, buffer=4, channels=3, patch=4, latent_scale=1.033,
                      decoder=DecoderSize((64,), blocks=2, groups=16, middle=False, shuffle=4)),
}


# ---- Transformer: (tokens, class) -> z

def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # (B, heads, N, d) each
    if hasattr(F, "scaled_dot_product_attention"):  # PyTorch 2: what a model of today would call
        return F.scaled_dot_product_attention(q, k, v)
    return F.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), -1) @ v


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = layer_norm(width), layer_norm(width)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D) -> (B, N, D)
        q, k, v = self.attn["qkv"](self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.attn["proj"](attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Far(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.size, width = size, size.width
        buffer, tokens = size.buffer, size.tokens

        def table(*shape: int) -> nn.Parameter:
            return nn.Parameter(0.02 * torch.randn(shape))

        self.class_emb = nn.Embedding(size.classes, width)
        self.fake_latent, self.mask_token = table(1, width), table(1, 1, width)
        self.encoder_pos_embed_learned = table(1, buffer + tokens, width)
        self.decoder_pos_embed_learned = table(1, buffer + tokens, width)
        self.diffusion_pos_embed_learned = table(1, tokens, width)
        self.z_proj, self.z_proj_ln = nn.Linear(size.token, width), layer_norm(width)
        self.encoder_blocks = nn.ModuleList(Block(width, size.heads) for _ in range(size.blocks))
        self.decoder_blocks = nn.ModuleList(Block(width, size.heads) for _ in range(size.blocks))
        self.encoder_norm, self.decoder_norm = layer_norm(width), layer_norm(width)
        self.decoder_embed = nn.Linear(width, width)
        self.diffloss = nn.ModuleDict({"net": Head(size.token, width, size.head_width, size.head_blocks)})

    def forward(self, tokens: Tensor, condition: Tensor, visible: Tensor | None) -> Tensor:
        """Tokens (B, L, C), class vectors (B, D), visible (B, L), as many in each row, or None for all: z (B, L, D)."""
        buffer = self.size.buffer
        x = self.z_proj(tokens) + self.encoder_pos_embed_learned[:, buffer:]
        if visible is not None:
            x = x[visible].view(len(x), int(visible[0].sum()), x.shape[2])  # (B, V, D)
        classes = condition.unsqueeze(1) + self.encoder_pos_embed_learned[:, :buffer]
        x = self.z_proj_ln(torch.cat([classes, x], 1))
        for block in self.encoder_blocks:
            x = block(x)
        x = self.decoder_embed(self.encoder_norm(x))  # (B, buffer + V, D)
        if visible is not None:
            every = self.mask_token.to(x.dtype).repeat(len(x), self.size.tokens, 1)
            every[visible] = x[:, buffer:].flatten(0, 1)
            x = torch.cat([x[:, :buffer], every], 1)
        x = x + self.decoder_pos_embed_learned
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_norm(x)[:, buffer:] + self.diffusion_pos_embed_learned


# ---- Diffusion head: (x_t, t, z, level) -> eps and variance fraction, a row per token

def two_layers(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, width), nn.SiLU(), nn.Linear(width, width))


def modulation(width: int, chunks: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), nn.Linear(width, chunks * width))


class HeadBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.in_ln, self.mlp, self.adaLN_modulation = layer_norm(width), two_layers(width, width), modulation(width, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # (M, W) each
        shift, scale, gate = self.adaLN_modulation(y).chunk(3, 1)
        return x + gate * self.mlp(self.in_ln(x) * (1 + scale) + shift)


class Head(nn.Module):
    def __init__(self, token: int, z_width: int, width: int, blocks: int):
        super().__init__()
        self.time_embed = nn.ModuleDict({"mlp": two_layers(256, width)})
        self.cond_embed, self.index_cond_embed = nn.Linear(z_width, width), nn.Linear(1, width)
        self.input_proj = nn.Linear(token, width)
        self.res_blocks = nn.ModuleList(HeadBlock(width) for _ in range(blocks))
        self.final_layer = nn.ModuleDict(
            {"adaLN_modulation": modulation(width, 2), "linear": nn.Linear(width, 2 * token)})

    def forward(self, x: Tensor, t: Tensor, z: Tensor, level: Tensor) -> Tensor:
        """x (M, C), t (M, 1), z (M, D), level (M, 1) -> (M, 2C)."""
        angles = t * torch.exp(torch.arange(128, device=t.device) * (-math.log(10000) / 128))
        y = self.time_embed["mlp"](torch.cat([angles.cos(), angles.sin()], 1))
        y = y + self.cond_embed(z) + self.index_cond_embed(level)
        x = self.input_proj(x)
        for block in self.res_blocks:
            x = block(x, y)
        shift, scale = self.final_layer["adaLN_modulation"](y).chunk(2, 1)
        return self.final_layer["linear"](F.layer_norm(x, x.shape[1:], eps=1e-6) * (1 + scale) + shift)


# ---- Decoder of the tokenizer: latent -> image

def group_norm(groups: int, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    def __init__(self, before: int, channels: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = group_norm(groups, before), conv3x3(before, channels)
        self.norm2, self.conv2 = group_norm(groups, channels), conv3x3(channels, channels)
        self.nin_shortcut = nn.Identity() if before == channels else nn.Conv2d(before, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class SpatialAttention(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = group_norm(groups, channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (part(h).flatten(2).transpose(1, 2).unsqueeze(1) for part in (self.q, self.k, self.v))
        return x + self.proj_out(attention(q, k, v).squeeze(1).transpose(1, 2).reshape(x.shape))


class UpLevel(nn.Module):
    def __init__(self, before: int, channels: int, size: DecoderSize, doubles: bool):
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(channels if i else before, channels, size.groups) for i in range(size.blocks))
        self.upsample = nn.ModuleDict({"conv": conv3x3(channels, channels)} if doubles else {})

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return self.upsample["conv"](F.interpolate(x, scale_factor=2.0)) if self.upsample else x


class KlDecoder(nn.Module):
    def __init__(self, latent: int, size: DecoderSize):
        super().__init__()
        channels, groups = size.channels, size.groups
        first, last = channels[0], channels[-1]
        mid = {"block_1": ResidualBlock(last, last, groups), "attn_1": SpatialAttention(last, groups),
               "block_2": ResidualBlock(last, last, groups)} if size.middle else {}
        up = [UpLevel(before, here, size, i > 0)
              for i, (before, here) in enumerate(zip(channels[1:] + (last,), channels))]
        self.shuffle = size.shuffle
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)
        self.decoder = nn.ModuleDict({
            "conv_in": conv3x3(latent, last), "mid": nn.ModuleDict(mid), "up": nn.ModuleList(up),
            "norm_out": group_norm(groups, first), "conv_out": conv3x3(first, 3 * size.shuffle ** 2)})

    def forward(self, latent: Tensor) -> Tensor:  # (B, channels, side, side) -> (B, 3, height, width)
        parts = self.decoder
        x = parts["conv_in"](self.post_quant_conv(latent))
        for layer in [*parts["mid"].values(), *reversed(parts["up"])]:
            x = layer(x)
        return F.pixel_shuffle(parts["conv_out"](F.silu(parts["norm_out"](x))), self.shuffle)


# ---- Sampling

class Step(NamedTuple):  # an outer step, as in crescendo/order/plan.h
    level: int
    filter: int | None
    masked: int
    guidance: float
    temperature: float
    inner_steps: int


def make_plan(size: Size, preset: str, steps: int, masks: bool, cfg: float, inner: tuple[int, int]) -> list[Step]:
    paper, last = preset == "paper", max(steps - 1, 1)
    levels = [int(k * (size.levels - 1) / last + 0.5) for k in range(steps)] if paper else [0, *range(2, 11)][:steps]
    ramp = steps - 1 if paper else steps  # guidance as published ends one step short of cfg
    return [Step(
        level=levels[k],
        filter=levels[k + 1] if k + 1 < steps else None,
        masked=int(size.tokens * math.cos(math.pi / 2 * k / steps)) if masks else 0,
        guidance=1 + (cfg - 1) * k / ramp if ramp else cfg,
        temperature=1.0 if paper else 0.8 + 0.2 * (1 - math.cos(math.pi / 2 * (k + 1) / steps)),
        inner_steps=int(inner[0] + k / last * (inner[1] - inner[0]) + 0.5) if steps > 1 else inner[1],
    ) for k in range(steps)]


def cosine_alpha_bar() -> list[float]:
    def curve(t: int) -> float:
        return math.cos((t / TRAINING_TIMESTEPS + 0.008) / 1.008 * math.pi / 2) ** 2

    alpha_bar = [1.0]
    for t in range(TRAINING_TIMESTEPS):
        alpha_bar.append(alpha_bar[-1] * (1 - min(1 - curve(t + 1) / curve(t), 0.999)))
    return alpha_bar[1:]


def respaced_timesteps(steps: int) -> list[int]:
    timesteps, at = [], 0.0
    for _ in range(steps):
        timesteps.append(round(at))
        at += (TRAINING_TIMESTEPS - 1) / max(steps - 1, 1)  # a running sum; i * stride would round elsewhere
    return timesteps


def denoise(head: Head, z: Tensor, step: Step, guided: bool, draw: Callable[[], Tensor]) -> Tensor:
    """Ancestral sampling with the learned variance: z (B or 2B, L, D), the conditional half first -> (B, L, C)."""
    timesteps, alpha_bar = respaced_timesteps(step.inner_steps), cosine_alpha_bar()
    tokens, z = z.shape[1], z.flatten(0, 1)
    x = draw().flatten(0, 1)  # (M, C)
    level = torch.full((len(z), 1), float(step.level), device=z.device)
    for i in reversed(range(step.inner_steps)):
        t = torch.full((len(z), 1), float(timesteps[i]), device=z.device)
        eps, fraction = head(torch.cat([x, x]) if guided else x, t, z, level).float().chunk(2, 1)
        if guided:
            eps_class, eps_none = eps.chunk(2)
            eps, fraction = eps_none + step.guidance * (eps_class - eps_none), fraction[:len(x)]

        now, before = alpha_bar[timesteps[i]], alpha_bar[timesteps[i - 1]] if i else 1.0
        beta = 1 - now / before
        x0 = x / math.sqrt(now) - eps * math.sqrt(1 / now - 1)
        x = (x0 * beta * math.sqrt(before) + x * (1 - before) * math.sqrt(1 - beta)) / (1 - now)  # posterior mean
        if i:
            low, high = math.log(beta * (1 - before) / (1 - now)), math.log(beta)
            log_variance = low + (fraction + 1) / 2 * (high - low)
            x = x + torch.exp(log_variance / 2) * draw().flatten(0, 1) * step.temperature
    return x.unflatten(0, (-1, tokens))


def lowpass(latent: Tensor, level: int, levels: int) -> Tensor:
    side = latent.shape[2]
    small = F.adaptive_avg_pool2d(latent, math.ceil(side * level / levels))
    return F.interpolate(small, size=(side, side), mode="bicubic", align_corners=False)


def latent_of(tokens: Tensor, size: Size) -> Tensor:  # (B, L, C) -> (B, channels, side, side)
    return F.fold(tokens.transpose(1, 2), (size.side, size.side), size.patch, stride=size.patch)


def tokens_of(latent: Tensor, size: Size) -> Tensor:
    return F.unfold(latent, size.patch, stride=size.patch).transpose(1, 2)


def seconds(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def sample(model: Far, labels: Tensor, plan: list[Step], draw: Callable[[], Tensor], place: Tensor,
           times: dict[str, float]) -> Tensor:
    """Labels (B) -> latents (B, channels, side, side). draw() gives normal numbers (B, L, C); place (B, L) says where
    each position stands in the order: it is hidden while that is below the number of masked tokens."""
    size, guided = model.size, any(step.guidance != 1 for step in plan)
    condition = model.class_emb(labels)
    if guided:
        condition = torch.cat([condition, model.fake_latent.expand_as(condition)])
    twice = 2 if guided else 1
    tokens = torch.zeros(len(labels), size.tokens, size.token, device=labels.device)  # x_0: nothing is known yet
    for k, step in enumerate(plan):
        start_s = seconds(labels.device)
        visible = (place >= step.masked).repeat(twice, 1) if step.masked else None
        z = model(tokens.repeat(twice, 1, 1), condition, visible)
        backbone_s = seconds(labels.device)
        tokens = denoise(model.diffloss["net"], z, step, guided, draw)
        times["head"] += seconds(labels.device) - backbone_s
        times["backbone"] += backbone_s - start_s
        latent = latent_of(tokens, size)
        if step.filter is not None:
            tokens = tokens_of(lowpass(latent, step.filter, size.levels), size)
        if k + 1 < len(plan) and plan[k + 1].masked:
            tokens = tokens * (place >= plan[k + 1].masked).unsqueeze(2)
    return latent


# ---- Timing: seconds per image of each part

@torch.no_grad()
def time_pytorch(model: Far, decoder: KlDecoder | None, plan: list[Step], images: int, bf16: bool) -> dict[str, float]:
    size, device = model.size, model.fake_latent.device
    times = dict.fromkeys(PARTS, 0.0)
    start_s = seconds(device)
    labels = torch.arange(images, device=device) % size.classes
    place = torch.rand(images, size.tokens, device=device).argsort(1)
    draw = partial(torch.randn, images, size.tokens, size.token, device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        latent = sample(model, labels, plan, draw, place, times)
    if decoder is not None:  # in fp32, as Crescendo's
        decode_start_s = seconds(device)
        decoder(latent / size.latent_scale).cpu()
        times["decode"] = seconds(device) - decode_start_s
    times["all"] = seconds(device) - start_s
    return {part: s / images for part, s in times.items()}


def time_crescendo(a: argparse.Namespace, plan: list[Step]) -> dict[str, float]:
    same_plan = ["--preset", a.preset, "--levels", ",".join(str(step.level) for step in plan),
                 "--mask" if a.masks else "--no-mask", "--cfg", str(a.cfg),
                 "--diffusion-steps", "{}:{}".format(*a.diffusion_steps), "--dtype", a.dtype]
    what = "--size" if a.size.startswith("far-") else "--model"
    command = [a.against, "bench", what, a.size, "--images", str(a.images), "--device", a.device,
               "--threads", str(a.threads), "--quiet", "--json", *["--no-decode"] * a.no_decode,
               *(same_plan if a.using is None else shlex.split(a.using))]
    torch.cuda.empty_cache()  # leaves a GPU's memory to the other process
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"status {done.returncode} of {' '.join(command)}\n{done.stderr.strip()}")
    try:
        answer = json.loads(done.stdout)
        return dict(zip(PARTS, [answer[key] for key in ("backbone_s", "head_s", "decode_s", "s_per_image")]))
    except (ValueError, KeyError) as error:
        raise RuntimeError(f"{a.against} bench printed no times") from error


def compare(a: argparse.Namespace) -> dict:
    """Runs of both in turns, so that what else the machine does falls on both alike."""
    torch.set_num_threads(a.threads)
    if a.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("--device cuda: this PyTorch sees no CUDA device")
    size = SIZES[a.size]
    plan = make_plan(size, a.preset, a.steps, a.masks, a.cfg, a.diffusion_steps)
    model = Far(size).to(a.device)
    decoder = None if a.no_decode else KlDecoder(size.channels, size.decoder).to(a.device)
    timed = {"Crescendo": partial(time_crescendo, a, plan)} if a.against else {}
    timed["PyTorch"] = partial(time_pytorch, model, decoder, plan, a.images, a.dtype == "bf16")
    if a.device == "cuda":  # kernels are loaded when they are first used
        timed["PyTorch"]()
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in timed}
    for i in range(a.repeat):
        for name, run in timed.items():
            runs[name].append(run())
            print(f"run {i + 1} of {a.repeat}, {name}: {runs[name][-1]['all']:.3f} s per image", file=sys.stderr)
    medians = {name: {part: statistics.median(run[part] for run in runs[name]) for part in PARTS} for name in runs}
    out = {key: getattr(a, key) for key in ("size", "images", "device", "dtype", "threads", "preset", "masks", "cfg")}
    out["using"] = a.using
    return {**out, "outer_steps": len(plan), "inner_steps": sum(step.inner_steps for step in plan),
            "torch": torch.__version__, "s_per_image": medians, "runs": runs}


def print_table(out: dict) -> None:
    place = f"CPU with {out['threads']} thread(s)" if out["device"] == "cpu" else "CUDA"
    print(f"{out['size']}, {out['dtype']}, {place}, batch of {out['images']}, PyTorch {out['torch']}; {out['preset']} "
          f"{'with' if out['masks'] else 'without'} masks, cfg {out['cfg']:g}, {out['outer_steps']} outer and "
          f"{out['inner_steps']} inner steps")
    if out["using"] is not None:
        print(f"Crescendo with {out['using']}")
    theirs, ours = out["s_per_image"]["PyTorch"], out["s_per_image"].get("Crescendo")
    print(f"{'s per image':12}{'PyTorch':>12}" + (f"{'Crescendo':>12}{'ratio':>12}" if ours else ""))
    for part in PARTS:
        if theirs[part] > 0:  # the decoder may be left out
            beside = f"{ours[part]:12.3f}{theirs[part] / ours[part]:12.2f}" if ours else ""
            print(f"{part:12}{theirs[part]:12.3f}{beside}")
    if ours:
        ratios = [p["all"] / c["all"] for p, c in zip(out["runs"]["PyTorch"], out["runs"]["Crescendo"])]
        print(f"medians of {len(ratios)} runs each; ratio of all, run by run: {min(ratios):.2f} to {max(ratios):.2f}")


# ---- Command line

def inner_steps(text: str) -> tuple[int, int]:
    parts = text.split(":")
    if len(parts) > 2 or not all(p.isascii() and p.isdigit() and 1 <= int(p) <= TRAINING_TIMESTEPS for p in parts):
        raise argparse.ArgumentTypeError(f"must be T or A:B, of 1..{TRAINING_TIMESTEPS}, got '{text}'")
    return int(parts[0]), int(parts[-1])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time FAR's sampler in eager PyTorch, alone or beside Crescendo's.",
                                     usage="%(prog)s [options]", allow_abbrev=False)
    add = parser.add_argument
    add("--size", choices=SIZES, default="far-b",
        help="a published size or the model in the box, here with random weights (default: far-b)")
    add("--images", type=int, default=1, metavar="N", help="images in the one batch that is timed (default: 1)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    add("--dtype", choices=("fp32", "bf16"), default="fp32", help="bf16 by autocast, on cuda (default: fp32)")
    add("--preset", choices=("paper", "published-nomask"), default="published-nomask",
        help="levels, guidance, inner steps, masks (paper: yes) (default: published-nomask)")
    add("--no-mask", action="store_true", help="all tokens visible from the start")
    add("--steps", type=int, default=10, metavar="K", help="outer steps; of published-nomask the first K (default: 10)")
    add("--diffusion-steps", type=inner_steps, metavar="T",
        help="inner steps, or A:B from the first to the last outer step (default: the preset's)")
    add("--cfg", type=float, default=3.0, metavar="S", help="guidance scale; 1 is none (default: 3)")
    add("--no-decode", action="store_true", help="leave out the tokenizer's decoder")
    add("--threads", type=int, default=0, metavar="N", help="CPU threads; 0 is $OMP_NUM_THREADS, or one per core")
    add("--against", metavar="PATH", help="crescendo program to time in turns with PyTorch, with the same options")
    add("--using", metavar="OPTIONS", help="what `bench` is told of the sampler in place of the same plan, in one word: "
        "'--preset fast --no-mask --dtype bf16'")
    add("--repeat", type=int, default=1, metavar="N", help="runs of each, of which the medians count (default: 1)")
    add("--json", action="store_true", help="print the result as JSON, with every run")
    a = parser.parse_args()

    paper = a.preset == "paper"
    most = SIZES[a.size].levels if paper else 10
    for holds, rule in (
            (a.images >= 1, f"--images must be at least 1, got {a.images}"),
            (1 <= a.steps <= most, f"--steps must be in 1..{most} with preset {a.preset}, got {a.steps}"),
            (math.isfinite(a.cfg) and a.cfg >= 0, f"--cfg must be a number of at least 0, got {a.cfg}"),
            (0 <= a.threads <= 4096, f"--threads must be in 0..4096, got {a.threads}"),
            (a.repeat >= 1, f"--repeat must be at least 1, got {a.repeat}"),
            (a.dtype == "fp32" or a.device == "cuda", "--dtype bf16 needs --device cuda"),
            (a.using is None or a.against is not None, "--using goes with --against"),
            (a.against is None or os.access(a.against, os.X_OK), f"--against {a.against}: no program of that name")):
        if not holds:
            parser.error(rule)
    a.against = a.against and os.path.abspath(a.against)
    a.masks = paper and not a.no_mask
    a.diffusion_steps = a.diffusion_steps or ((40, 100) if paper else (100, 100))
    if a.threads == 0:  # PyTorch has heeded the variable; without it Debian's takes one thread
        a.threads = torch.get_num_threads() if os.environ.get("OMP_NUM_THREADS") else os.cpu_count() or 1
    return a


def main() -> int:
    a = parse_arguments()
    try:
        out = compare(a)
    except (RuntimeError, OSError) as error:
        print(f"compare_pytorch: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(out, indent=2)) if a.json else print_table(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
