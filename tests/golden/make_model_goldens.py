#!/usr/bin/env python3
"""Writes model.json beside this file: what the networks, the loss and the plans should give, in a few KB.

A plain statement of the formulas in eager PyTorch and float64, apart from the program's own code. Weights and inputs
are a formula of their name and index (`drawn`), which tests/golden_test.cc computes as well, so that only results are
stored. Made with PyTorch 1.13.1.
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def drawn(name, *shape):
    """sin(i^2 / 2 + 1.3 i + phase of the name), rounded to fp32. Shaped like a matrix it has full rank."""
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    phase = sum((k + 1) * c for k, c in enumerate(name.encode())) % 1009
    return torch.sin(0.5 * i * i + 1.3 * i + phase).float().double().reshape(shape)


def weight(name, *shape):
    """As `drawn`, as large as layers begin: norms near 1, biases small, matrices by their fan-in, tables as drawn."""
    values = drawn(name, *shape)
    if len(shape) == 1:
        return (1.0 if name.endswith(".weight") else 0.0) + 0.1 * values
    return values * (math.sqrt(2 / math.prod(shape[1:])) if len(shape) != 3 else 1.0)


def linear(name, x, out):
    return x @ weight(name + ".weight", out, x.shape[-1]).T + weight(name + ".bias", out)


def layer_norm(name, x):
    width = x.shape[-1]
    return F.layer_norm(x, (width,), weight(name + ".weight", width), weight(name + ".bias", width), 1e-6)


# ---------------------------------------------------------------------------
# Backbone: width 8, 2 heads, 1 + 1 blocks, 16 tokens of 2 channels, 2 rows in front, 3 classes.

WIDTH, HEADS, TOKENS, CHANNELS, FRONT, CLASSES = 8, 2, 16, 2, 2, 3


def block(name, x):
    b, n, d = x.shape
    qkv = linear(name + ".attn.qkv", layer_norm(name + ".norm1", x), 3 * d)
    q, k, v = qkv.reshape(b, n, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-2, -1) / math.sqrt(d // HEADS)
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, d)
    x = x + linear(name + ".attn.proj", mixed, d)
    hidden = F.gelu(linear(name + ".mlp.fc1", layer_norm(name + ".norm2", x), 2 * d))
    return x + linear(name + ".mlp.fc2", hidden, d)


def encoder(tokens, labels, missing):
    rows = weight("class_emb.weight", CLASSES, WIDTH)[labels].unsqueeze(1).expand(-1, FRONT, -1)
    x = torch.cat([rows, linear("z_proj", tokens, WIDTH)], 1)
    x = layer_norm("z_proj_ln", x + weight("encoder_pos_embed_learned", 1, FRONT + TOKENS, WIDTH))
    keep = torch.cat([torch.ones(len(x), FRONT, dtype=torch.bool), ~missing], 1)
    x = torch.stack([row[k] for row, k in zip(x, keep)])
    return layer_norm("encoder_norm", block("encoder_blocks.0", x))


def decoder(encoded, missing):
    x = linear("decoder_embed", encoded, WIDTH)
    all_rows = weight("mask_token", 1, 1, WIDTH).repeat(len(x), FRONT + TOKENS, 1)
    keep = torch.cat([torch.ones(len(x), FRONT, dtype=torch.bool), ~missing], 1)
    for row, k, given in zip(all_rows, keep, x):
        row[k] = given
    x = block("decoder_blocks.0", all_rows + weight("decoder_pos_embed_learned", 1, FRONT + TOKENS, WIDTH))
    x = layer_norm("decoder_norm", x)[:, FRONT:]
    return x + weight("diffusion_pos_embed_learned", 1, TOKENS, WIDTH)


def backbone(goldens):
    tokens, labels = drawn("tokens", 2, TOKENS, CHANNELS), torch.tensor([2, 0])
    hidden = torch.zeros(2, TOKENS, dtype=torch.bool)
    hidden[0, [1, 2, 5, 7, 8, 11, 15]] = True
    hidden[1, [0, 3, 4, 6, 9, 10, 14]] = True
    for mode, missing in ("unmasked", torch.zeros_like(hidden)), ("masked", hidden):
        encoded = encoder(tokens, labels, missing)
        goldens[f"backbone.{mode}.encoder"] = encoded
        goldens[f"backbone.{mode}.z"] = decoder(encoded, missing)


# ---------------------------------------------------------------------------
# Head: tokens of 2 channels, conditions of width 8, width 8, 2 blocks.

TIMES = [0, 17, 100, 500, 999]  # at t = 1 the bound is what near-equal numbers leave, which fp32 gives to 1.5e-5


def head(x, t, z, level):
    net, w = "diffloss.net", 8
    frequencies = torch.exp(-math.log(10000) * torch.arange(128) / 128)
    angles = t.double()[:, None] * frequencies
    time = torch.cat([angles.cos(), angles.sin()], -1)
    y = linear(net + ".time_embed.mlp.2", F.silu(linear(net + ".time_embed.mlp.0", time, w)), w)
    y = F.silu(y + linear(net + ".cond_embed", z, w) + linear(net + ".index_cond_embed", level, w))
    x = linear(net + ".input_proj", x, w)
    for i in range(2):
        name = f"{net}.res_blocks.{i}"
        shift, scale, gate = linear(name + ".adaLN_modulation.1", y, 3 * w).chunk(3, -1)
        h = layer_norm(name + ".in_ln", x) * (1 + scale) + shift
        x = x + gate * linear(name + ".mlp.2", F.silu(linear(name + ".mlp.0", h, w)), w)
    shift, scale = linear(net + ".final_layer.adaLN_modulation.1", y, 2 * w).chunk(2, -1)
    return linear(net + ".final_layer.linear", F.layer_norm(x, (w,), eps=1e-6) * (1 + scale) + shift, 2 * CHANNELS)


def loss(answer, x0, x_t, t, noise, bar, beta):
    """Mean square of eps, and the bound of the variance in bits per channel."""
    eps, fraction = answer.chunk(2, -1)
    before = torch.cat([torch.ones(1), bar[:-1]])
    posterior = beta * (1 - before) / (1 - bar)
    smallest = torch.log(torch.cat([posterior[1:2], posterior[1:]]))[t][:, None]
    largest = torch.log(beta)[t][:, None]
    at = lambda table: table[t][:, None]
    of_x0, of_xt = beta * before.sqrt() / (1 - bar), (1 - before) * (1 - beta).sqrt() / (1 - bar)
    mean_of = lambda x: at(of_x0) * x + at(of_xt) * x_t
    guess = (x_t - at((1 - bar).sqrt()) * eps) / at(bar.sqrt())
    log_variance = (fraction + 1) / 2 * largest + (1 - (fraction + 1) / 2) * smallest
    difference = mean_of(x0) - mean_of(guess)
    divergence = 0.5 * (log_variance - smallest - 1 + torch.exp(smallest - log_variance)
                        + difference**2 * torch.exp(-log_variance))
    # The last step is judged by the likelihood of x0's bin, 2/255 wide; the normal distribution by its tanh formula.
    below = lambda v: 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
    centred, narrow = x0 - mean_of(guess), torch.exp(-0.5 * log_variance)
    upper, lower = below(narrow * (centred + 1 / 255)), below(narrow * (centred - 1 / 255))
    mass = torch.where(x0 < -0.999, upper, torch.where(x0 > 0.999, 1 - lower, upper - lower))
    likelihood = -torch.log(mass.clamp(min=1e-12))
    bound = torch.where((t == 0)[:, None], likelihood, divergence)
    return ((eps - noise) ** 2).mean(-1), bound.mean(-1) / math.log(2)


def diffusion(goldens):
    t, rows = torch.tensor(TIMES), len(TIMES)
    z, level = drawn("z", rows, 8), torch.tensor([[0.0], [2.0], [7.0], [15.0], [3.0]])
    goldens["head.output"] = head(drawn("x", rows, CHANNELS), t, z, level)
    cosine = [math.cos((k / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(1001)]
    beta = torch.tensor([min(1 - cosine[k + 1] / cosine[k], 0.999) for k in range(1000)])
    bar = torch.cumprod(1 - beta, 0)
    x0, noise = drawn("x0", rows, CHANNELS), drawn("noise", rows, CHANNELS)
    x_t = bar.sqrt()[t][:, None] * x0 + (1 - bar).sqrt()[t][:, None] * noise
    mse, vb = loss(head(x_t, t, z, level), x0, x_t, t, noise, bar, beta)
    goldens["loss.mse"], goldens["loss.vb"] = mse, vb


# ---------------------------------------------------------------------------
# KL-VAE: 8 channels, multipliers 1 and 2, one residual block a level, latents of 2 channels, groups of 4.

GROUPS = 4


def conv(name, x, out, kernel=3, **how):
    how.setdefault("padding", kernel // 2)
    return F.conv2d(x, weight(name + ".weight", out, x.shape[1], kernel, kernel), weight(name + ".bias", out), **how)


def group_norm(name, x):
    channels = x.shape[1]
    return F.group_norm(x, GROUPS, weight(name + ".weight", channels), weight(name + ".bias", channels), 1e-6)


def residual(name, x, out):
    h = conv(name + ".conv1", F.silu(group_norm(name + ".norm1", x)), out)
    h = conv(name + ".conv2", F.silu(group_norm(name + ".norm2", h)), out)
    return h + (x if x.shape[1] == out else conv(name + ".nin_shortcut", x, out, 1))


def attention(name, x):
    b, c, height, width = x.shape
    normed = group_norm(name + ".norm", x)
    q, k, v = (conv(f"{name}.{part}", normed, c, 1).reshape(b, c, -1) for part in "qkv")
    weights = (q.transpose(1, 2) @ k / math.sqrt(c)).softmax(-1)  # (b, asking, asked)
    return x + conv(name + ".proj_out", (v @ weights.transpose(1, 2)).reshape(b, c, height, width), c, 1)


def middle(name, x):
    x = residual(name + ".block_1", x, x.shape[1])
    return residual(name + ".block_2", attention(name + ".attn_1", x), x.shape[1])


def encode(image):
    x = conv("encoder.conv_in", image, 8)
    x = residual("encoder.down.0.block.0", x, 8)
    x = conv("encoder.down.0.downsample.conv", F.pad(x, (0, 1, 0, 1)), 8, stride=2, padding=0)
    x = attention("encoder.down.1.attn.0", residual("encoder.down.1.block.0", x, 16))
    x = F.silu(group_norm("encoder.norm_out", middle("encoder.mid", x)))
    return conv("quant_conv", conv("encoder.conv_out", x, 4), 4, 1)


def decode(latents):
    x = middle("decoder.mid", conv("decoder.conv_in", conv("post_quant_conv", latents, 2, 1), 16))
    for level, channels in (1, 16), (0, 8):
        for i in range(2):
            x = residual(f"decoder.up.{level}.block.{i}", x, channels)
        if level:
            x = conv(f"decoder.up.{level}.upsample.conv", F.interpolate(x, scale_factor=2, mode="nearest"), channels)
    return conv("decoder.conv_out", F.silu(group_norm("decoder.norm_out", x)), 3)


def tokenizer(goldens):
    goldens["vae.moments"] = encode(drawn("image", 1, 3, 8, 12))
    goldens["vae.image"] = decode(drawn("latents", 1, 2, 4, 6))


# ---------------------------------------------------------------------------
# Next-scale: what VAR makes of latents of 2 channels and side 6, at sides 2, 4 and 6 with tokens of 2 x 2 cells, as the
# residuals of FoundationVision/VAR's quantiser without codes, and as FlowAR's plain averages. Area and bicubic are
# PyTorch's own.


def tokens_of(x):
    b, c, side, _ = x.shape
    return x.reshape(b, c, side // 2, 2, side // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, 4 * c)


def next_scale(goldens):
    latents = drawn("latents", 2, 2, 6, 6)
    down = lambda x, side: F.interpolate(x, size=(side, side), mode="area")
    up = lambda x: F.interpolate(x, size=(6, 6), mode="bicubic", align_corners=False)
    for residual in True, False:
        inputs, targets, so_far, rest = [], [], torch.zeros_like(latents), latents
        for side in 2, 4, 6:
            if side > 2:
                inputs.append(tokens_of(down(so_far, side)))
            scale = down(rest, side)
            targets.append(tokens_of(scale))
            so_far = so_far + up(scale) if residual else up(scale)
            rest = latents - so_far if residual else latents
        name = "next_scale." + ("residual" if residual else "plain")
        goldens[name + ".inputs"], goldens[name + ".targets"] = torch.cat(inputs, 1), torch.cat(targets, 1)


# ---------------------------------------------------------------------------
# Plans of the presets for 256 tokens, 16 levels and guidance 3.


def plans():
    quarter = lambda share: math.cos(math.pi / 2 * share)
    hidden = lambda k, steps: 256 if k == 0 else math.floor(256 * quarter(k / steps))
    rising = lambda over: lambda k: 1 + 2 * k / over
    warming = lambda k: 0.8 + 0.2 * (1 - quarter((k + 1) / 10))

    def steps(count, level, filters, masked, guidance, temperature, inner):
        return [dict(level=level(k), filter=filters(k), masked=masked(k), guidance=guidance(k),
                     temperature=temperature(k), inner_steps=inner(k)) for k in range(count)]

    following = lambda levels: lambda k: levels[k + 1] if k + 1 < len(levels) else None
    nomask = [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    text = [0, 2, 3, 4, 5, 6, 7, 8, 10, 13]
    told, kept = [0, 12, 12, 4, 5, 6, 7, 8, 9, 10, 11], [None, 12, 4, 5, 6, 7, 8, 9, 10, 11, None]
    spread = [round(k * 15 / 9) for k in range(10)]
    always = lambda value: lambda k: value
    out = {
        "published-nomask": steps(10, nomask.__getitem__, following(nomask), always(0), rising(10), warming,
                                  always(100)),
        "published-mask": steps(11, told.__getitem__, kept.__getitem__, lambda k: hidden(k, 11), rising(11),
                                lambda k: 0.85 + 0.15 * k / 11, always(100)),
        "published-t2i": steps(10, text.__getitem__, following(text), lambda k: hidden(k, 10), always(3), warming,
                               always(100)),
        "paper": steps(10, spread.__getitem__, following(spread), lambda k: hidden(k, 10), rising(9),
                       always(1), lambda k: round(40 + 60 * k / 9)),
    }
    left, masked = 256, []
    for k in range(64):
        masked.append(left)
        left = 0 if k == 63 else max(1, min(left - 1, math.floor(256 * quarter((k + 1) / 64))))
    # Guidance follows a count that is at least one at the last step, too.
    guidance = lambda k: 1 + 2 * (256 - (masked[k + 1] if k < 63 else 1)) / 256
    out["mar"] = steps(64, always(0), always(None), masked.__getitem__, guidance, always(1), always(100))
    return out


def main():
    goldens = {}
    backbone(goldens)
    diffusion(goldens)
    tokenizer(goldens)
    next_scale(goldens)
    tensors = {name: {"shape": list(t.shape), "values": [float(f"{v:.7g}") for v in t.flatten().tolist()]}
               for name, t in goldens.items()}
    entries = tensors | {"plan." + name: plan for name, plan in plans().items()}
    lines = [f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in entries.items()]
    path = pathlib.Path(__file__).resolve().parent / "model.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
