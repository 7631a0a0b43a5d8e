#!/usr/bin/python3
"""train_on_gpu.py - carries a checkpoint of `vqz train` (preset photo, RGB, one process) forward on a GPU.

    vqz train PICTURES -o codec.vqm --init default --lambda 0.4 --steps 2000   # stop it: codec.vqm.ckpt is there
    samples/train_on_gpu.py codec.vqm.ckpt PICTURES --seconds 600
    vqz train PICTURES -o codec.vqm --init default --lambda 0.4 --steps 2000 --resume   # the last steps, the model

Needs PyTorch with CUDA, NumPy and Pillow.  Networks, quantiser, prior, losses, crops, held-out pictures and
optimiser are those of trainer/ (preset.c, prior.h, quantiser.h, train.c), written for many crops at once; a step
is one CUDA graph.  PICTURES is a folder without folders in it, of which the run could read every file.  The
checkpoint is replaced at the end; its step is set so that --resume does the last part of the run, where the
learning rate is low.
"""
import argparse
import concurrent.futures
import math
import os
import re
import sys
import time
import zlib

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

LEVELS, D = 7, 64
CODES = [1024] + [512] * 3 + [256] * 8 + [128] * 20 + [64] * 32  # of plane c, which is channel c
STAGES = [0, 1, 2, 4, 8, 16, 32, 64]                             # first channels of the prior's stages
FLOOR, MIN_SPREAD, MAX_SPREAD, LOGISTIC, MAX_PULL = 1e-6, -4.0, 5.75, 0.55132890, 6.0
EMA_DECAY, SCALAR_WEIGHT = 0.99, 0.05
OUTLIER, CLIP = 5.0, 2.0

RUN_STATE = np.dtype([("step", "u8"), ("skipped", "u8"), ("restarted", "u8"), ("phase_step", "u8"), ("pixels", "u8"),
                      ("seconds", "f8"), ("log_size", "u8"), ("random", "u8", 4), ("hard", "u4"), ("pad", "u4"),
                      ("level_error", "f8", 16), ("level_dissimilarity", "f8", 16), ("epoch_usage", "f8"),
                      ("epoch_perplexity", "f8"), ("epoch_pixels", "u8")])


# ---- the networks, as flat parameters ----

class Conv:
    """A convolution (cout, kernel, kernel, cin) with a bias for each set; its place is in the flat parameters."""

    def __init__(self, shapes, cin, cout, kernel, sets=1, full=None):
        self.shape, self.sets, self.at = (cout, kernel, kernel, cin), sets, len(shapes)
        self.full = full  # channels of which a causal convolution sees all positions; None: not causal
        shapes.append(self.shape)
        shapes.append((sets, cout))

    def __call__(self, tensors, x, levels, stride=1):
        weights, biases = tensors[self.at], tensors[self.at + 1]
        bias = biases[0] if self.sets == 1 else None
        y = F.conv2d(x.permute(0, 3, 1, 2), weights.permute(0, 3, 1, 2), None, stride, self.shape[1] // 2)
        y = y.permute(0, 2, 3, 1)
        return y + (bias if self.sets == 1 else biases[levels][:, None, None]).to(y.dtype)


def leaky(x):
    return F.leaky_relu(x, 0.125)


def space_to_depth(x, b):
    n, h, w, c = x.shape
    return x.reshape(n, h // b, b, w // b, b, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h // b, w // b, b * b * c)


def depth_to_space(x, b):
    n, h, w, c = x.shape
    return x.reshape(n, h, w, b, b, c // (b * b)).permute(0, 1, 3, 2, 4, 5).reshape(n, h * b, w * b, c // (b * b))


class Networks:
    """Layers in the order of preset.c: the flat parameters are those of a checkpoint."""

    def __init__(self):
        self.shapes = s = []
        self.linear_in, self.first = Conv(s, 192, D, 1), Conv(s, 48, 64, 3)
        self.r1 = Conv(s, 64, 64, 3), Conv(s, 64, 64, 3)
        self.down = Conv(s, 64, 128, 3, LEVELS)
        self.r2 = Conv(s, 128, 128, 3), Conv(s, 128, 128, 3)
        self.r3 = Conv(s, 128, 128, 3), Conv(s, 128, 128, 3)
        self.last = Conv(s, 128, D, 1)
        self.linear_out, self.enter = Conv(s, D, 192, 1), Conv(s, D, 96, 3, LEVELS)
        self.r4 = Conv(s, 96, 96, 3), Conv(s, 96, 96, 3)
        self.up = Conv(s, 96, 128, 3)
        self.r5 = Conv(s, 32, 32, 3), Conv(s, 32, 32, 3)
        self.leave = Conv(s, 32, 48, 3)
        self.deviations_at = len(s)
        s.append((D,))
        self.prior = []
        for begin, end in zip(STAGES, STAGES[1:]):
            kernel = 5 if end <= 8 else 3
            self.prior.append((Conv(s, end, 64, kernel, LEVELS, begin), Conv(s, 64, 64, 1),
                               Conv(s, 64, 2 * (end - begin), 1, LEVELS)))
        self.steps_at = len(s)
        s.append((LEVELS, D))
        self.books_at = len(s)
        s.extend((LEVELS, codes) for codes in CODES)
        self.sizes = [int(np.prod(shape)) for shape in s]
        self.convs = [c for v in vars(self).values() for c in (v if isinstance(v, (tuple, list)) else [v])]
        self.convs = [c for c in self.convs if isinstance(c, Conv)] + [c for stage in self.prior for c in stage]

    def split(self, flat):
        return [t.view(shape) for t, shape in zip(flat.split(self.sizes), self.shapes)]

    def trained(self):
        """1 for parameters that follow a gradient: not what causal convolutions must not see, nor books."""
        mask = torch.ones(sum(self.sizes))
        tensors = self.split(mask)
        for c in self.convs:
            if c.full is not None:
                w = tensors[c.at].view(c.shape[0], -1, c.shape[3])
                w[:, w.shape[1] // 2:, c.full:] = 0
        for t in [tensors[self.deviations_at]] + tensors[self.books_at:]:
            t.zero_()
        return mask

    def residual(self, t, pair, x, levels, last):
        y = x + pair[1](t, leaky(pair[0](t, x, levels)), levels)
        return leaky(y) if last else y

    def analysis(self, t, x, levels):
        y = leaky(self.first(t, space_to_depth(x, 4), levels))
        y = self.residual(t, self.r1, y, levels, False)
        y = leaky(self.down(t, y, levels, 2))
        y = self.residual(t, self.r2, y, levels, False)
        y = self.residual(t, self.r3, y, levels, True)
        return self.last(t, y, levels) + self.linear_in(t, space_to_depth(x, 8), levels)

    def synthesis(self, t, z, levels):
        y = leaky(self.enter(t, z, levels))
        y = self.residual(t, self.r4, y, levels, True)
        y = depth_to_space(leaky(self.up(t, y, levels)), 2)
        y = self.residual(t, self.r5, y, levels, True)
        y = self.leave(t, y, levels) + depth_to_space(self.linear_out(t, z, levels), 2)
        return depth_to_space(y, 4)

    def stage(self, t, i, context, levels):
        """Outputs of a stage of the prior: means (in deviations) and log2 spreads, (batch, y, x, channels)."""
        a, b, c = self.prior[i]
        y = c(t, leaky(b(t, leaky(a(t, context[..., :STAGES[i + 1]], levels)), levels)), levels).float()
        return y[..., 0::2], y[..., 1::2]


class LogisticBits(torch.autograd.Function):
    """Bits of a value at a distance from the mean, with the limits on its gradients of prior.c."""

    @staticmethod
    def parts(distance, spread):
        inverse = torch.exp2(-spread.clamp(MIN_SPREAD, MAX_SPREAD)) / LOGISTIC
        magnitude = distance.abs()
        a, b = (0.5 - magnitude) * inverse, (-0.5 - magnitude) * inverse
        sa, sb = torch.sigmoid(a), torch.sigmoid(b)
        return inverse, a, b, sa, sb

    @staticmethod
    def forward(ctx, distance, spread):
        ctx.save_for_backward(distance, spread)
        _, _, _, sa, sb = LogisticBits.parts(distance, spread)
        return -torch.log2(sa - sb + FLOOR)

    @staticmethod
    def backward(ctx, grad):
        distance, spread = ctx.saved_tensors
        inverse, a, b, sa, sb = LogisticBits.parts(distance, spread)
        to_bits = -1.44269504 / (sa - sb + FLOOR)
        da, db = sa * (1 - sa), sb * (1 - sb)
        sign = torch.where(distance < 0, -1.0, 1.0)
        pull = (to_bits * -(da - db) * inverse * sign).clamp(-MAX_PULL, MAX_PULL) * grad
        by_spread = to_bits * -(da * a - db * b) * 0.69314718 * grad
        beyond = ((spread < MIN_SPREAD) & (by_spread > 0)) | ((spread > MAX_SPREAD) & (by_spread < 0))
        return pull, torch.where(beyond, torch.zeros_like(by_spread), by_spread)


# ---- pictures ----

def training_files(folder, seed, holdout=0.05):
    """The files that `vqz train` trains on: without the held-out ones of corpus.c."""
    def mix(z):
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2 ** 64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2 ** 64
        return z ^ z >> 31
    files = sorted((e.path for e in os.scandir(folder) if e.is_file()), key=os.fsencode)
    base = mix((seed + 0x9E3779B97F4A7C15) % 2 ** 64)
    order = sorted(range(len(files)), key=lambda i: (mix((base + i) % 2 ** 64), i))
    held = set(order[:min(max(int(len(files) * holdout + 0.5), 1), len(files) - 1)])
    return [f for i, f in enumerate(files) if i not in held]


class Corpus:
    """All pictures in the device's memory; crops shrink by an exact area average, as corpus_crop.c does."""

    def __init__(self, files, device, crop, min_scale, flip):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            pictures = list(pool.map(lambda f: np.array(Image.open(f).convert("RGB")), files))
        pictures = [p for p in pictures if min(p.shape[:2]) >= crop]
        self.device, self.crop, self.flip = device, crop, flip
        self.widest = math.ceil(crop / min_scale)
        self.least = min_scale
        areas = np.array([p.shape[0] * p.shape[1] for p in pictures], "i8")
        self.pixels_in_all = int(areas.sum())
        self.before = torch.tensor(np.concatenate([[0], np.cumsum(areas)]), device=device)
        self.height = torch.tensor([p.shape[0] for p in pictures], device=device)
        self.width = torch.tensor([p.shape[1] for p in pictures], device=device)
        self.pixels = torch.tensor(np.concatenate([p.reshape(-1, 3) for p in pictures]), device=device)

    def crops(self, count):
        """(count, crop, crop, 3) in [-1, 1)."""
        size, device = self.crop, self.device
        # float64: a float32 draw could not reach every pixel
        draw = (torch.rand(count, device=device, dtype=torch.float64) * self.pixels_in_all).long()
        picture = torch.searchsorted(self.before, draw, right=True) - 1
        height, width = self.height[picture], self.width[picture]
        scale = self.least + (1 - self.least) * torch.rand(count, device=device)
        side = torch.minimum(torch.ceil(size / scale).long().clamp(size, self.widest), torch.minimum(height, width))
        y = (torch.rand(count, device=device) * (height - side + 1)).long()
        x = (torch.rand(count, device=device) * (width - side + 1)).long()
        reach = torch.arange(self.widest, device=device)
        rows = y[:, None] + torch.minimum(reach, side[:, None] - 1)
        columns = x[:, None] + torch.minimum(reach, side[:, None] - 1)
        at = self.before[picture][:, None, None] + rows[:, :, None] * width[:, None, None] + columns[:, None, :]
        window = self.pixels[at].float()
        ratio = (side.float() / size)[:, None, None]
        out = torch.arange(size, device=device, dtype=torch.float32)[None, :, None]
        source = reach.float()[None, None, :]
        cover = (torch.minimum((out + 1) * ratio, source + 1) - torch.maximum(out * ratio, source)).clamp(min=0) / ratio
        across = cover
        if self.flip:
            mirrored = torch.rand(count, device=device) < 0.5
            across = torch.where(mirrored[:, None, None], cover.flip(1), cover)
        window = torch.einsum("bij,bjkc->bikc", cover, window)
        window = torch.einsum("bij,bkjc->bkic", across, window)
        return torch.round(window) / 128 - 1


# ---- training ----

class Training:
    def __init__(self, checkpoint, corpus, batch, device):
        self.networks, self.corpus, self.batch, self.device = Networks(), corpus, batch, device
        text = checkpoint.fingerprint
        setting = lambda name: float(re.search(rf"\b{name} ([-+.e0-9]+)", text).group(1))
        self.rate, self.beta, self.beta2 = setting("lr"), setting("beta"), 0.99
        lambdas = [setting("lambda") * 0.006 * 2.35 ** (LEVELS - 1 - l) for l in range(LEVELS)]
        self.lambdas = torch.tensor(lambdas, device=device)
        self.flat = torch.tensor(checkpoint.parameters, device=device).requires_grad_()
        self.m, self.v = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.mask = self.networks.trained().to(device)
        self.level_error = torch.tensor(checkpoint.run["level_error"][0][:LEVELS].astype("f4"), device=device)
        self.levels = torch.arange(batch, device=device) % LEVELS
        self.present = torch.bincount(self.levels, minlength=LEVELS).float()
        self.lr, self.steps = torch.zeros((), device=device), torch.zeros((), device=device)
        self.norm_average = torch.zeros((), device=device)
        self.report = torch.zeros(4, device=device)  # sums: loss, error in dB, bits per pixel, skipped
        # Books of all planes in one tensor, value v at v + middle; counts average 1 a book.
        self.most = max(CODES)
        self.middle = torch.tensor([c // 2 for c in CODES], device=device)
        self.codes = torch.tensor(CODES, device=device)
        self.counts = self.padded(checkpoint.counts)
        self.sums = self.padded(checkpoint.sums)
        self.books = torch.zeros(LEVELS, D, self.most, device=device)
        self.exists = torch.arange(self.most, device=device) < self.codes[:, None]
        self.refresh_books()

    def padded(self, planes):
        out = torch.zeros(LEVELS, D, self.most)
        for c, plane in enumerate(planes):
            out[:, c, :CODES[c]] = torch.tensor(plane)
        return out.to(self.device)

    def refresh_books(self):
        value = torch.arange(self.most, device=self.device) - self.middle[:, None]
        entry = (self.sums + SCALAR_WEIGHT * value) / (self.counts + SCALAR_WEIGHT)
        self.books.copy_(torch.where(self.exists, entry, torch.zeros_like(entry)))

    def entry(self, value, begin, end):
        """Codebook entries of values (batch, y, x, channels), in steps."""
        code = value.long() + self.middle[begin:end]
        book = (self.levels[:, None] * D + torch.arange(begin, end, device=self.device)) * self.most
        return self.books.view(-1)[book[:, None, None] + code]

    def forward(self, flat, x, hard):
        """Loss and what is to be followed of a step."""
        t, levels, n = self.networks.split(flat), self.levels, self.networks
        autocast = torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)
        with autocast:
            latent = n.analysis(t, x, levels)
        latent = latent.float()
        log_steps, log_deviations = t[n.steps_at], t[n.deviations_at].detach()
        log_steps = log_steps.detach() if hard else log_steps
        step = torch.exp(log_steps)[levels][:, None, None]
        ratio = torch.exp(log_deviations - log_steps)[levels][:, None, None]
        inverse_deviations = torch.exp(-log_deviations)
        y = latent / step
        bits = x.new_zeros(self.batch)
        if not hard:
            quantised = latent + step * (torch.round(y) - y).detach()
            context = quantised * inverse_deviations
            value = y + torch.rand_like(y) - 0.5
            for i, (begin, end) in enumerate(zip(STAGES, STAGES[1:])):
                with autocast:
                    mean, spread = n.stage(t, i, context, levels)
                distance = value[..., begin:end] - mean * ratio[..., begin:end]
                bits = bits + LogisticBits.apply(distance, spread).sum((1, 2, 3))
            commitment = None
        else:
            values = []
            context = latent.new_zeros(latent.shape)
            for i, (begin, end) in enumerate(zip(STAGES, STAGES[1:])):
                with torch.no_grad():
                    value = self.choose(t, i, latent, context, step, ratio)
                    context[..., begin:end] = (self.entry(value, begin, end) * step[..., begin:end] *
                                               inverse_deviations[begin:end])
                values.append(value)
                scaled = latent * inverse_deviations
                with autocast:
                    mean, spread = n.stage(t, i, scaled + (context - scaled).detach(), levels)
                own = y[..., begin:end]
                straight = own + (value - own).detach()
                distance = straight - mean * ratio[..., begin:end]
                bits = bits + LogisticBits.apply(distance, spread).sum((1, 2, 3))
            value = torch.cat(values, 3)
            codes = self.entry(value, 0, D) * step
            quantised = latent + (codes - latent).detach()
            commitment = (latent - codes).square().sum((1, 2, 3))
            self.value, self.latent = value, latent.detach()
        with autocast:
            output = n.synthesis(t, quantised, levels)
        errors = (output.float() - x).square().mean((1, 2, 3))
        per = x[0].numel()
        weights = 1 / self.level_error[levels] / self.batch
        loss = (weights * errors).sum() + (weights * self.lambdas[levels] * bits).sum() / per
        if commitment is not None:
            loss = loss + self.beta * (weights * commitment).sum() / per
        return loss, errors.detach(), bits.detach()

    def choose(self, t, i, latent, context, step, ratio):
        begin, end = STAGES[i], STAGES[i + 1]
        levels, n = self.levels, self.networks
        z, s = latent[..., begin:end], step[..., begin:end]
        inverse_deviations = torch.exp(-t[n.deviations_at][begin:end])
        y = z / s
        low, high = -self.middle[begin:end], (self.codes - 1 - self.middle)[begin:end]
        nearest = torch.minimum(torch.maximum(torch.round(y), low), high)
        towards = nearest - torch.sign(nearest)
        lambdas = self.lambdas[levels][:, None, None, None]
        entries = self.entry(nearest, begin, end), self.entry(towards, begin, end)
        distances = [((y - e) * s).square() for e in entries]
        chosen = s * torch.round(y)
        for _ in range(2):
            own = context.clone()
            own[..., begin:end] = chosen * inverse_deviations
            with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
                mean, spread = n.stage(t, i, own, levels)
            mean = mean * ratio[..., begin:end]
            costs = [d + lambdas * LogisticBits.apply(v - mean, spread)
                     for d, v in zip(distances, (nearest, towards))]
            smaller = costs[1] < costs[0]
            value = torch.where(smaller, towards, nearest)
            chosen = torch.where(smaller, entries[1], entries[0]) * s
        return value

    def step(self, hard):
        with torch.no_grad():
            x = self.corpus.crops(self.batch)
        loss, errors, bits = self.forward(self.flat, x, hard)
        gradient, = torch.autograd.grad(loss, self.flat)
        with torch.no_grad():
            self.apply(gradient * self.mask, loss)
            if hard:
                self.update_books()
            sums = torch.zeros_like(self.level_error).index_add_(0, self.levels, errors - self.level_error[self.levels])
            self.level_error.add_(0.02 * sums)
            mean_bits = bits.mean() / (self.corpus.crop ** 2)
            decibels = -10 * torch.log10(self.level_error / 4).mean()
            self.report.add_(torch.stack([loss.detach(), decibels, mean_bits, torch.zeros_like(loss)]))

    def apply(self, gradient, loss):
        norm = gradient.norm()
        fine = torch.isfinite(norm) & torch.isfinite(loss)
        warm = self.steps < 50
        average = self.norm_average
        outlier = ~warm & (norm > OUTLIER * average)
        seen = torch.where(outlier, OUTLIER * average, norm)
        keep = torch.where(warm, 1 / (self.steps + 1), torch.full_like(norm, 0.02))
        average.copy_(torch.where(fine, average + keep * (seen - average), average))
        accepted = fine & ~outlier
        self.steps.add_(1)
        scale = torch.where(norm > CLIP * average, CLIP * average / norm, torch.ones_like(norm))
        g = torch.where(accepted, gradient * scale, torch.zeros_like(gradient))
        self.m.mul_(0.9).add_(g, alpha=0.1)
        self.v.mul_(self.beta2).add_(g * g, alpha=1 - self.beta2)
        correct1, correct2 = 1 - 0.9 ** self.steps, 1 - self.beta2 ** self.steps
        change = self.lr * (self.m / correct1) / ((self.v / correct2).sqrt() + 1e-8)
        self.flat.sub_(torch.where(accepted, change, torch.zeros_like(change)) * self.mask)
        self.report[3] += ~accepted

    def update_books(self):
        """Moving averages, as update_book of quantiser.c keeps them for scalar planes."""
        book = (self.levels[:, None] * D + torch.arange(D, device=self.device)) * self.most
        at = (book[:, None, None] + self.value.long() + self.middle).view(-1)
        per_level = self.present[:, None, None] * self.value[0, ..., 0].numel()
        scale = self.codes[:, None] / per_level
        count = torch.zeros(LEVELS * D * self.most, device=self.device)
        count.index_add_(0, at, torch.ones_like(at, dtype=torch.float32))
        steps = torch.exp(self.networks.split(self.flat.detach())[self.networks.steps_at])
        y = self.latent / steps[self.levels][:, None, None]
        total = torch.zeros_like(count).index_add_(0, at, y.reshape(-1))
        self.counts.mul_(EMA_DECAY).add_((1 - EMA_DECAY) * scale * count.view_as(self.counts))
        self.sums.mul_(EMA_DECAY).add_((1 - EMA_DECAY) * scale * total.view_as(self.sums))
        self.refresh_books()

    def make_graph(self, hard):
        """The step as something to call."""
        self.lr.zero_()  # warming up must not train
        kept = [s.detach().clone() for s in self.state()]
        if self.device.type != "cuda":
            return lambda: self.step(hard)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step(hard)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step(hard)
        with torch.no_grad():
            for s, k in zip(self.state(), kept):
                s.copy_(k)
        return graph.replay

    def state(self):
        return [self.flat, self.m, self.v, self.level_error, self.norm_average, self.steps, self.counts, self.sums,
                self.books, self.report]


class Checkpoint:
    def __init__(self, path):
        data = open(path, "rb").read()
        if data[:8] != b"VQZCKPT2" or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], sys.byteorder):
            sys.exit(f"{path}: not a whole checkpoint of vqz train")
        self.fingerprint = data[8:520].split(b"\0")[0].decode()
        wanted = "preset photo, processes 1, channels 3, latent channels 64,"
        if not self.fingerprint.startswith(wanted):
            sys.exit(f"{path}: made with \"{self.fingerprint}\"; this program knows \"{wanted}\" alone")
        at = 520
        self.head = data[:at]
        self.run = np.frombuffer(data, RUN_STATE, 1, at).copy()
        at += RUN_STATE.itemsize
        self.scalars = np.frombuffer(data, "f8", 3, at).copy()
        at += 24
        networks = Networks()
        count = sum(networks.sizes)
        self.parameters, self.m, self.v = (np.frombuffer(data, "f4", count, at + 4 * i * count).copy() for i in range(3))
        at += 12 * count
        codes = LEVELS * sum(CODES)
        self.quantiser = np.frombuffer(data, "f4", LEVELS + 4 * codes, at).copy()
        at += self.quantiser.nbytes
        self.tail = data[at:-4]
        if len(self.tail) != 8 * codes:
            sys.exit(f"{path}: made by another version of vqz")
        self.counts, self.sums = [], []
        first = LEVELS
        for codes in CODES:  # of a plane: counts, sums, bits, usage
            size = LEVELS * codes
            self.counts.append(self.quantiser[first:first + size].reshape(LEVELS, codes))
            self.sums.append(self.quantiser[first + size:first + 2 * size].reshape(LEVELS, codes))
            first += 4 * size

    def take(self, training, steps, pixels, seconds, part):
        """The state of a training; `part` is where in the run --resume goes on."""
        networks = training.networks
        self.parameters[:] = training.flat.detach().cpu().numpy()
        self.m[:], self.v[:] = training.m.cpu().numpy(), training.v.cpu().numpy()
        counts, sums, books = (t.cpu().numpy() for t in (training.counts, training.sums, training.books))
        first = sum(networks.sizes[:networks.books_at])
        for c, codes in enumerate(CODES):
            self.counts[c][:], self.sums[c][:] = counts[:, c, :codes], sums[:, c, :codes]
            self.parameters[first:first + LEVELS * codes] = books[:, c, :codes].reshape(-1)
            first += LEVELS * codes
        total = int(re.search(r"\bsteps (\d+)", self.fingerprint).group(1))
        if total == 0:
            sys.exit("the checkpoint's run has no --steps; give it some")
        run = self.run
        run["step"], run["hard"] = int(total * part), 1
        run["phase_step"] = 0
        run["pixels"] += pixels
        run["seconds"] += seconds
        run["level_error"][0][:LEVELS] = training.level_error.cpu().numpy()
        self.scalars[:] = steps, float(training.norm_average), steps

    def save(self, path):
        data = self.head + b"".join(a.tobytes() for a in (self.run, self.scalars, self.parameters, self.m, self.v,
                                                        self.quantiser)) + self.tail
        with open(path + ".part", "wb") as file:
            file.write(data + zlib.crc32(data).to_bytes(4, sys.byteorder))
        os.replace(path + ".part", path)


def main():
    parser = argparse.ArgumentParser(description="carry a checkpoint of vqz train forward on a GPU")
    parser.add_argument("checkpoint")
    parser.add_argument("pictures")
    parser.add_argument("--seconds", type=float, required=True, help="of training")
    parser.add_argument("--batch", type=int, default=126)
    parser.add_argument("--rate", type=float, help="learning rate at first (the checkpoint's)")
    parser.add_argument("--warm", type=float, default=0.2, help="part of the time with noise for codes")
    parser.add_argument("--constant", type=float, default=0.4, help="part before the learning rate falls")
    parser.add_argument("--resume-at", type=float, default=0.97, help="part of its run where vqz train goes on")
    parser.add_argument("--device", default="cuda", help="cpu: for tests")
    parser.add_argument("--output", help="another file than the checkpoint")
    args = parser.parse_args()
    began = time.perf_counter()
    checkpoint = Checkpoint(args.checkpoint)
    setting = lambda name: re.search(rf"\b{name} ([-+.e0-9]+)", checkpoint.fingerprint).group(1)
    device = torch.device(args.device)
    torch.manual_seed(int(setting("seed")))
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    corpus = Corpus(training_files(args.pictures, int(setting("seed"))), device, int(setting("crop")),
                    float(setting("scale")), setting("flip") == "1")
    training = Training(checkpoint, corpus, args.batch, device)
    rate = args.rate or training.rate
    print(f"{corpus.height.numel()} pictures, {corpus.pixels_in_all / 1e6:.1f} megapixels; set up in "
          f"{time.perf_counter() - began:.0f} s", flush=True)
    start = last = time.perf_counter()
    hard, phase_step, step, spent, shown = None, 0, 0, 0.0, 0
    while spent < args.seconds:
        part = spent / args.seconds
        if hard != (part >= args.warm):
            hard = part >= args.warm
            before = time.perf_counter()
            run = training.make_graph(hard)
            phase_step = step
            now = time.perf_counter()
            print(f"{'hard' if hard else 'noise'} phase from step {step}, made in {now - before:.1f} s", flush=True)
            start += now - before
            last = now
        decay = 1 if part < args.constant else 0.5 * (1 + math.cos(math.pi * (part - args.constant) / (1 - args.constant)))
        training.lr.fill_(rate * min(1, (step - phase_step + 1) / 100) * (0.01 + 0.99 * decay))
        run()
        step += 1
        if step % 10 == 0 and device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        spent = now - start
        if now - last >= 5 or spent >= args.seconds:
            count = step - shown
            loss, decibels, bits, skipped = (training.report / count).tolist()
            training.report.zero_()
            print(f"{spent:6.0f} s  step {step}  {count * args.batch * corpus.crop ** 2 / (now - last) / 1e6:.1f} Mpx/s  "
                  f"loss {loss:.4f}  {decibels:.3f} dB  {bits:.4f} bpp  skipped {skipped * count:.0f}", flush=True)
            shown, last = step, now
    checkpoint.take(training, step, step * args.batch * corpus.crop ** 2, spent, args.resume_at)
    checkpoint.save(args.output or args.checkpoint)


main()
