#!/usr/bin/python3
"""pytorch_train.py - training steps of the presets' networks in PyTorch: what `make bench-train` compares with.

The networks, quantiser, losses and optimiser are those of trainer/ (preset.c, quantiser.h, train.c), written
the way PyTorch runs them best: planes and levels are batched products, moving averages are index_add, the
optimiser is the multi-tensor one.  Pictures are random and in memory: loading costs nothing here.  Every
setting is timed - float32 and bfloat16 autocast, contiguous and channels last, eager and traced, upsampling by
transposed convolutions and by shuffles - and one line per setting goes to standard output as CSV:
preset,phase,setting,pixels per second.  PyTorch takes its matrix products from the BLAS that is installed:
with the reference one `classic` is some five times slower than with libopenblas0.

  pytorch_train.py [--preset classic|photo] [--threads N] [--seconds S]
"""
import argparse
import itertools
import os
import sys
import time

try:
    import torch
except ImportError:
    sys.exit("pytorch_train.py: this Python has no PyTorch; Debian: apt install python3-torch libopenblas0, "
             "and run it with /usr/bin/python3")
from torch import nn
from torch.nn import functional as F

LEAK = 0.125


class LevelConv(nn.Conv2d):
    """A convolution with a bias vector for each level."""

    def __init__(self, cin, cout, kernel, stride=1, levels=7):
        super().__init__(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.biases = nn.Parameter(torch.zeros(levels, cout))

    def forward(self, x, levels):
        y = super().forward(x)
        return y + self.biases[levels][:, :, None, None].to(y.dtype)


def conv(cin, cout, kernel, stride=1):
    return nn.Conv2d(cin, cout, kernel, stride, (kernel - 1) // 2)


class ClassicResidual(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.a, self.b, self.last = conv(128, 32, 3), conv(32, 128, 1), last

    def forward(self, x):
        y = x + self.b(F.relu(self.a(F.relu(x))))
        return F.relu(y) if self.last else y


class ClassicAnalysis(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(conv(3, 64, 4, 2), nn.ReLU(), conv(64, 128, 4, 2), nn.ReLU(), conv(128, 128, 3),
                                 ClassicResidual(False), ClassicResidual(True), conv(128, 64, 1))

    def forward(self, x, levels):
        return self.net(x)


def upsample(cin, cout, shuffled):
    """Twice the size.  PyTorch's transposed convolution does not reach oneDNN for training; a 3x3 convolution
    of four times the outputs and a shuffle hold the same function, for 9/4 of the products."""
    if shuffled:
        return nn.Sequential(conv(cin, 4 * cout, 3), nn.PixelShuffle(2))
    return nn.ConvTranspose2d(cin, cout, 4, 2, 1)


class ClassicSynthesis(nn.Module):
    def __init__(self, shuffled):
        super().__init__()
        self.net = nn.Sequential(conv(64, 128, 3), ClassicResidual(False), ClassicResidual(True),
                                 upsample(128, 64, shuffled), nn.ReLU(), upsample(64, 3, shuffled))

    def forward(self, x, levels):
        return self.net(x)


class PhotoResidual(nn.Module):
    def __init__(self, width, last):
        super().__init__()
        self.a, self.b, self.last = conv(width, width, 3), conv(width, width, 3), last

    def forward(self, x):
        y = x + self.b(F.leaky_relu(self.a(x), LEAK))
        return F.leaky_relu(y, LEAK) if self.last else y


class PhotoAnalysis(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = conv(192, 64, 1)
        self.first, self.r1 = conv(48, 64, 3), PhotoResidual(64, False)
        self.down, self.r2, self.r3 = LevelConv(64, 128, 3, 2), PhotoResidual(128, False), PhotoResidual(128, True)
        self.last = conv(128, 64, 1)

    def forward(self, x, levels):
        y = self.r1(F.leaky_relu(self.first(F.pixel_unshuffle(x, 4)), LEAK))
        y = self.r3(self.r2(F.leaky_relu(self.down(y, levels), LEAK)))
        return self.last(y) + self.linear(F.pixel_unshuffle(x, 8))


class PhotoSynthesis(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = conv(64, 192, 1)
        self.first, self.r1 = LevelConv(64, 96, 3), PhotoResidual(96, True)
        self.up, self.r2, self.last = conv(96, 128, 3), PhotoResidual(32, True), conv(32, 48, 3)

    def forward(self, x, levels):
        y = self.r1(F.leaky_relu(self.first(x, levels), LEAK))
        y = self.r2(F.pixel_shuffle(F.leaky_relu(self.up(y), LEAK), 2))
        return F.pixel_shuffle(self.last(y) + F.pixel_shuffle(self.linear(x), 2), 4)


class Quantiser(nn.Module):
    """Codebooks by moving averages, one per level; see quantiser.h for the formulas."""

    def __init__(self, plane_dims, codes, levels, rate):
        super().__init__()
        self.dims, self.codes, self.levels, self.rate = plane_dims, codes, levels, rate
        channels = sum(plane_dims)
        if rate:
            self.log_steps = nn.Parameter(torch.zeros(levels, channels))
            self.log_scales = nn.Parameter(torch.zeros(levels, channels))
            self.lambdas = 0.006 * 2.35 ** torch.arange(levels - 1, -1, -1.0)
        self.books = [torch.randn(levels, codes, d) for d in plane_dims]
        self.counts = [torch.ones(levels, codes) for _ in plane_dims]
        self.sums = [b.clone() for b in self.books]
        self.usage = [torch.zeros(levels, codes) for _ in plane_dims]

    def bits(self, y, levels):
        """Rate of (batch, positions, channels) in steps under the logistic models; a sum per sample."""
        inverse = torch.exp(-self.log_scales.clamp(min=-1.9))[levels][:, None]
        magnitude = y.abs()
        p = torch.sigmoid((0.5 - magnitude) * inverse) - torch.sigmoid((-0.5 - magnitude) * inverse)
        return -torch.log2(p + 1e-9).sum((1, 2))

    def forward(self, latent, levels, hard):
        """latent: (batch, positions, channels) -> quantised (straight through), bits, commitment by sample."""
        batch, positions, _ = latent.shape
        if not hard:
            y = latent / torch.exp(self.log_steps)[levels][:, None]
            quantised = latent + (torch.round(y) * torch.exp(self.log_steps)[levels][:, None] - latent).detach()
            return quantised, self.bits(y + torch.rand_like(y) - 0.5, levels), None
        with torch.no_grad():
            parts, z = [], latent.detach()
            if self.rate:
                steps = torch.exp(self.log_steps)
            first = 0
            for p, d in enumerate(self.dims):
                r = z[:, :, first:first + d]
                entries = self.books[p]
                if self.rate:
                    entries = entries * steps[:, None, first:first + d]
                penalty = entries.square().sum(2)
                if self.rate:
                    frequency = self.counts[p] / self.counts[p].sum(1, keepdim=True)
                    penalty = penalty - self.lambdas[:, None] * torch.log2(frequency + 1e-6)
                if self.levels > 1:
                    cost = torch.baddbmm(penalty[levels][:, None], r, entries[levels].transpose(1, 2), alpha=-2)
                else:
                    cost = torch.addmm(penalty, r.reshape(-1, d), entries[0].t(), alpha=-2)
                indices = cost.argmin(-1).view(batch, positions)
                flat = (indices + levels[:, None] * self.codes).view(-1)
                parts.append(entries.view(-1, d)[flat].view(batch, positions, d))
                self.update(p, flat, r.reshape(-1, d))
                first += d
            codes = torch.cat(parts, 2) if len(parts) > 1 else parts[0]
        commitment = (latent - codes).square().sum((1, 2))
        bits = None
        if self.rate:
            y = (latent + (codes - latent).detach()) / steps[levels][:, None]
            bits = self.bits(y, levels)
        return latent + (codes - latent).detach(), bits, commitment

    def update(self, p, flat, r):
        count = torch.bincount(flat, minlength=self.levels * self.codes).view(self.levels, self.codes).float()
        total = torch.zeros(self.levels * self.codes, r.shape[1]).index_add_(0, flat, r)
        self.usage[p] += count
        self.counts[p].mul_(0.99).add_(count, alpha=0.01)
        self.sums[p].mul_(0.99).add_(total.view_as(self.sums[p]), alpha=0.01)
        self.books[p] = self.sums[p] / (self.counts[p] + 1e-5)[:, :, None]


class Trainer:
    def __init__(self, preset, hard, bfloat16, channels_last, traced, shuffled):
        torch.manual_seed(1)
        self.hard, self.bfloat16, self.classic = hard, bfloat16, preset == "classic"
        if self.classic:
            self.batch, self.crop, self.levels, stride, beta2 = 32, 64, 1, 4, 0.999
            self.analysis, self.synthesis = ClassicAnalysis(), ClassicSynthesis(shuffled)
            self.quantiser = Quantiser([64], 512, 1, False)
        else:
            self.batch, self.crop, self.levels, stride, beta2 = 16, 128, 7, 8, 0.99
            self.analysis, self.synthesis = PhotoAnalysis(), PhotoSynthesis()
            self.quantiser = Quantiser([1] * 4 + [2] * 4 + [4] * 4 + [8] * 2 + [10] * 2, 256, 7, True)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.analysis.to(memory_format=self.format)
        self.synthesis.to(memory_format=self.format)
        self.pictures = (torch.rand(4, self.batch, 3, self.crop, self.crop) * 2 - 1)
        self.level_error = torch.full((self.levels,), 0.01)
        side = self.crop // stride
        if traced:
            levels = torch.arange(self.batch) % self.levels
            x = self.pictures[0].contiguous(memory_format=self.format)
            z = torch.zeros(self.batch, 64, side, side).contiguous(memory_format=self.format)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16, cache_enabled=False):
                self.analysis = torch.jit.trace(self.analysis, (x, levels))
                self.synthesis = torch.jit.trace(self.synthesis, (z, levels))
        modules = [self.analysis, self.synthesis, self.quantiser]
        self.parameters = [p for m in modules for p in m.parameters()]
        self.optimiser = torch.optim.Adam(self.parameters, 1e-3, (0.9, beta2), 1e-8, foreach=True)

    def step(self, number):
        x = self.pictures[number % len(self.pictures)].contiguous(memory_format=self.format)
        levels = torch.arange(self.batch) % self.levels
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            latent = self.analysis(x, levels)
        batch, channels, height, width = latent.shape
        rows = latent.permute(0, 2, 3, 1).reshape(batch, height * width, channels).float()
        quantised, bits, commitment = self.quantiser(rows, levels, self.hard)
        quantised = quantised.view(batch, height, width, channels).permute(0, 3, 1, 2)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            output = self.synthesis(quantised.contiguous(memory_format=self.format), levels)
        errors = (output.float() - x).square().mean((1, 2, 3))
        per = x[0].numel()
        weights = (1 / self.level_error[levels] if self.levels > 1 else torch.ones(batch)) / batch
        loss = (weights * errors).sum()
        if bits is not None:
            loss = loss + (weights * self.quantiser.lambdas[levels] * bits).sum() / per
        if commitment is not None:
            loss = loss + ((weights * commitment).sum() / per if self.levels > 1
                           else 0.25 * commitment.sum() / rows.numel())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        with torch.no_grad():
            self.level_error.index_add_(0, levels, 0.02 * (errors.detach() - self.level_error[levels]))


def timed(trainer, i):
    before = time.perf_counter()
    trainer.step(i)
    return time.perf_counter() - before


def measure(preset, hard, setting, seconds, best):
    """Pixels per second: the median over steps, after warming up.  A first step eight times slower than the
    best setting's is enough (bfloat16 is emulated where the processor does not have it)."""
    trainer = Trainer(preset, hard, *setting)
    pixels = trainer.batch * trainer.crop ** 2
    first = timed(trainer, 0)
    if pixels / first < best / 8:
        return pixels / first
    for i in range(1, 4):
        trainer.step(i)
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 5:
        times.append(timed(trainer, len(times)))
    return pixels / sorted(times)[len(times) // 2]


def main():
    parser = argparse.ArgumentParser(description="training speed of the presets in PyTorch, as CSV")
    parser.add_argument("--preset", choices=["classic", "photo"])
    parser.add_argument("--phase", choices=["noise", "hard"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=1.5, help="for each setting")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    isa = os.environ.get("ATEN_CPU_CAPABILITY", "default")
    for preset, phase in ("photo", "noise"), ("photo", "hard"), ("classic", "hard"):
        if args.preset not in (None, preset) or args.phase not in (None, phase):
            continue
        ups = [False, True] if preset == "classic" else [False]
        best = 0
        for setting in itertools.product([False, True], [False, True], [False, True], ups):
            bfloat16, last, traced, shuffled = setting
            name = " ".join(["bfloat16" if bfloat16 else "float32", "channels_last" if last else "contiguous",
                             "traced" if traced else "eager", "elementwise " + isa] +
                            (["upsampling by shuffle"] if shuffled else []))
            try:
                speed = measure(preset, phase == "hard", setting, args.seconds, best)
                best = max(best, speed)
                print(f"{preset},{phase},{name},{speed:.0f}", flush=True)
            except Exception as error:  # a combination that this PyTorch cannot run is no candidate
                print(f"{preset} {phase}: {name}: {str(error).strip().splitlines()[-1]}", file=sys.stderr)


main()
