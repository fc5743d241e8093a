"""Small output heads with answers, identical in every process; naive implementations in any dtype, float64 included."""

from dataclasses import dataclass, field, replace

import torch

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Case:
    """Hidden states and labels of answers, and the output head."""

    hidden: torch.Tensor  # [N, D]
    weight: torch.Tensor  # [V, D]
    labels: torch.Tensor  # [N]
    cu_seqlens: list[int]  # of chosen, rejected, chosen, ...
    bias: torch.Tensor | None = None
    options: dict = field(default_factory=dict)  # softcap, logit_scale, temperature
    budget_rows: int | None = None  # size of the workspace, in rows

    @property
    def pairs(self):
        return len(self.cu_seqlens) // 2

    @property
    def budget(self):
        """Bytes for `budget_rows` rows, including the extra tile buffer of low precision."""
        if self.budget_rows is None:
            return None
        vocabulary = self.weight.shape[0]
        tile = 0 if self.hidden.dtype in (torch.float32, torch.float64) else 4 * min(8192, vocabulary)
        return self.budget_rows * (vocabulary * self.hidden.dtype.itemsize + tile)

    def to(self, dtype, device="cpu"):
        """Return the case in a dtype and on a device, with leaves that require gradients."""

        def leaf(tensor):
            return tensor.detach().to(device, dtype).requires_grad_()

        bias = None if self.bias is None else leaf(self.bias)
        return replace(
            self, hidden=leaf(self.hidden), weight=leaf(self.weight), bias=bias, labels=self.labels.to(device)
        )

    @property
    def leaves(self):
        found = {"hidden": self.hidden, "weight": self.weight, "bias": self.bias}
        return {name: leaf for name, leaf in found.items() if leaf is not None}


def make_case(lengths, dimensions, vocabulary, *, seed=0, size=1.0, bias=False, masked=(), budget_rows=None, **options):
    """Answers of the given lengths; logits have a standard deviation of about `size`."""
    generator = torch.Generator().manual_seed(seed)
    rows = sum(lengths)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    labels = torch.randint(vocabulary, (rows,), generator=generator)
    if rows:
        labels[-1] = vocabulary - 1
        labels[0] = 0
    labels[list(masked)] = -100
    cu_seqlens = [0]
    for length in lengths:
        cu_seqlens.append(cu_seqlens[-1] + length)
    return Case(
        normal(rows, dimensions),
        normal(vocabulary, dimensions) * size / dimensions**0.5,
        labels,
        cu_seqlens,
        normal(vocabulary) if bias else None,
        options,
        budget_rows,
    )


CASES = {
    "252 rows": make_case([100, 20, 60, 72], 64, 509),
    "507 rows, hidden 123": make_case([200, 107, 150, 50], 123, 1021),
    "a tile and one token": make_case([3, 5, 4, 2], 32, 8193),
    "three tiles": make_case([3, 5], 32, 20011, size=3.0),
    "an empty answer": make_case([5, 0, 0, 7, 0, 0], 32, 301),
    "no pairs": make_case([], 32, 301),
    "all rows masked": make_case([4, 3], 32, 301, masked=range(7)),
    "some rows masked": make_case([4, 3, 6, 5], 32, 301, masked=(1, 4, 12)),
    "huge logits": make_case([6, 5, 4, 8], 32, 301, size=300.0),
    "softcap": make_case([6, 5, 4, 8], 32, 8200, size=6.0, softcap=5.0),
    "bias": make_case([6, 5, 4, 8], 32, 8200, bias=True),
    "scale and temperature": make_case([6, 5, 4, 8], 32, 301, size=8.0, logit_scale=0.4, temperature=1.7),
    "everything": make_case([6, 5, 4, 8], 48, 8200, size=4.0, bias=True, softcap=6.0, logit_scale=0.7, temperature=0.8),
    "one pair": make_case([1, 1], 16, 77),
    "chunks of pairs": make_case([6, 5, 4, 8, 1, 2, 9, 3], 32, 301, budget_rows=16),
    "a pair longer than a chunk": make_case([6, 5, 24, 18, 1, 2], 32, 8200, bias=True, budget_rows=10),
    "a row a chunk": make_case([3, 2, 1, 4], 32, 301, budget_rows=1),
    "softcap in chunks": make_case([6, 5, 24, 18, 1, 2], 32, 301, size=6.0, softcap=4.0, budget_rows=12),
}


def logits_of(case):
    """All logits at once, in the case's dtype."""
    logits = case.hidden @ case.weight.T
    if case.bias is not None:
        logits = logits + case.bias
    logits = logits * case.options.get("logit_scale", 1.0)
    if cap := case.options.get("softcap"):
        logits = cap * torch.tanh(logits / cap)
    return logits / case.options.get("temperature", 1.0)


def naive_tokens(case):
    """Log-probability of each row's label in the case's dtype, 0 where it is masked: [N]."""
    logps = logits_of(case).log_softmax(-1).gather(1, case.labels.clamp(min=0)[:, None])[:, 0]
    return logps.masked_fill(case.labels == -100, 0.0)


def naive_sequences(case):
    """Sums over sequences, in at least float32: [S]."""
    tokens = naive_tokens(case)
    tokens = tokens if tokens.dtype == torch.float64 else tokens.float()
    sums = [tokens[start:end].sum() for start, end in zip(case.cu_seqlens, case.cu_seqlens[1:], strict=False)]
    return torch.stack(sums) if sums else tokens.new_empty(0)


def error(found, exact):
    """Maximum absolute difference, as a float."""
    return (found.double() - exact.double()).abs().max().item() if exact.numel() else 0.0


def relative(found, exact):
    """Relative error in the Frobenius norm; the absolute error if the exact value is zero."""
    size = float(exact.double().norm())
    distance = float((found.double() - exact.double()).norm())
    return distance / size if size > 1e-12 else distance
