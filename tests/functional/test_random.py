# SPDX-License-Identifier: Apache-2.0
"""Random numbers: Philox's own words, new ones at every call, the same after a seed.

The generator is written here again from its paper, with its authors' known answer, so that a
number is a known function of seed, call, draw and index.
"""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from cases.random import distributed
from comparators import Mismatch, same_bits
from lamella import _core, nn
from lamella import functional as F
from lamella.errors import DTypeError, ShapeError
from programs import draw


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox 4x32-10 of counters, (blocks, 4) words of 32 bits."""
    c = counter.astype(np.uint64).T.copy()
    low, (k0, k1) = np.uint64(2**32 - 1), key
    for _ in range(10):
        p0, p2 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        high0, high2 = p0 >> np.uint64(32), p2 >> np.uint64(32)
        c = np.stack(
            [high2 ^ c[1] ^ np.uint64(k0), p2 & low, high0 ^ c[3] ^ np.uint64(k1), p0 & low]
        )
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c.T


def words(count: int, key: int, stream: int) -> np.ndarray:
    blocks = np.arange(-(-count // 4), dtype=np.uint64)
    high = np.zeros_like(blocks)
    counter = np.stack(
        [blocks, high, high + np.uint64(stream % 2**32), high + np.uint64(stream >> 32)], 1
    )
    return philox(counter, (key % 2**32, key >> 32)).reshape(-1)[:count]


def uniform(n: int, dtype: str, key: int, stream: int) -> np.ndarray:
    if dtype == "float32":
        return ((words(n, key, stream) >> np.uint64(8)) * 2.0**-24).astype(dtype)
    pair = words(2 * n, key, stream).reshape(-1, 2)
    return ((pair[:, 0] | pair[:, 1] << np.uint64(32)) >> np.uint64(11)) * 2.0**-53


def normal(n: int, dtype: str, key: int, stream: int) -> np.ndarray:
    """Box and Muller's transform of the same bits in long double, and each pair's radius."""
    n += n % 2
    real = np.longdouble
    if dtype == "float32":
        found = words(n, key, stream).reshape(-1, 2)
        tail = (found[:, 0].astype(real) + real(0.5)) * real(2) ** -32
        turn = (found[:, 1].astype(np.uint32).view(np.int32) + real(0.5)) * real(2) ** -31
    else:
        found = words(2 * n, key, stream).reshape(-1, 2)
        joined = (found[:, 0] | found[:, 1] << np.uint64(32)).reshape(-1, 2)
        tail = ((joined[:, 0] >> np.uint64(11)).astype(real) + real(0.5)) * real(2) ** -53
        turn = ((joined[:, 1].view(np.int64) >> 11).astype(real) + real(0.5)) * real(2) ** -52
    radius, angle = np.sqrt(-2 * np.log(tail)), turn * (4 * np.arctan(real(1)))
    found = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return np.stack([found, np.stack([radius, radius], 1)]).reshape(2, -1)


def test_the_generator_is_philox():
    # kat_vectors of Random123 1.14: the digits of pi.
    counter = np.array([[0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]])
    want = [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
    assert philox(counter, (0xA4093822, 0x299F31D0))[0].tolist() == want


KEY = 0x123456789ABCDEF


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 130, 1001])
def test_known_numbers(isa, threads, dtype, n):
    """Every element, the second call and another stream, whatever the register and the team."""
    unit = 2.0**-24 if dtype == "float32" else 2.0**-53
    for call, stream in ((0, 0), (1, 0), (2, 5)):
        of = KEY, call * 2**16 + stream
        _core.seed(KEY)
        for _ in range(call + 1):
            (got,) = draw(dtype, n, "uniform", stream).run([])
        same_bits(got, uniform(n, dtype, *of))
        _core.seed(KEY)
        for _ in range(call + 1):
            (got,) = draw(dtype, n, "normal", stream).run([])
        want, radius = normal(n, dtype, *of)[:, :n]
        # The angle is rounded three times in [2, 4), and counts by the radius, which is below 9; a
        # probability near one is rounded by half a unit, and a radius near zero is its root.
        bound = 32 * unit * (1 + radius / 8) + unit / np.maximum(radius, unit**0.5)
        assert (np.abs(got - want) <= bound).all()


def test_any_team_draws_the_same(isa):
    before, found = lm.get_num_threads(), set()
    try:
        for count in (1, 2, 3):
            lm.set_num_threads(count)
            lm.manual_seed(5)
            found.add(b"".join(f(70_001, dtype=d).tobytes() for f in (F.rand, F.randn)
                               for d in ("float32", "float64")))  # fmt: skip
    finally:
        lm.set_num_threads(before)
    assert len(found) == 1


def test_the_same_normal_numbers_on_every_machine_with_fma():
    found = set()
    was = _core.isa()
    try:
        for one in set(_core.isas()) - {"baseline"}:
            _core.select_isa(one)
            _core.seed(3)
            found.add(draw("float32", 5000, "normal").run([])[0].tobytes())
    finally:
        _core.select_isa(was)
    assert len(found) <= 1


def test_a_wrong_distribution_is_found():
    x = np.random.default_rng(0).uniform(size=60_000)
    distributed(x, "uniform")
    for wrong in (x**1.05, x * 0.97, np.where(x < 0.02, 0.5, x)):
        with pytest.raises(Mismatch):
            distributed(wrong, "uniform")
    with pytest.raises(Mismatch):
        distributed(np.random.default_rng(0).normal(size=60_000) * 1.1, "normal")


def test_moments_and_neighbours():
    lm.manual_seed(11)
    z = F.randn(400_000).astype(np.float64)
    n = z.size
    # Six standard deviations of each sample moment of a normal variable.
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - mean) < 6 * (variance / n) ** 0.5
    for lag in (1, 2, 3, 4, 64):
        assert abs((z[lag:] * z[:-lag]).mean()) < 6 / n**0.5


class Noisy(nn.Module):
    def forward(self, x):
        return (
            F.rand_like(x),
            F.rand_like(x),
            F.randn_like(x),
            F.bernoulli(x),
            F.rand(x.shape[0], 2),
        )


def test_a_net_draws_anew_at_every_call_and_place():
    net, x = Noisy(), np.full((40, 30), 0.5, np.float32)
    lm.manual_seed(1)
    first, second = net(x), net(x)
    drawn = [*first[:3], *second[:3]]
    assert len({one.tobytes() for one in drawn}) == 6
    assert (first[3] != second[3]).any()
    lm.manual_seed(1)
    again = net(x)
    for one, other in zip(first, again, strict=True):
        same_bits(one, other)
    # Another size keeps drawing, with the extents of the call.
    for rows in (3, 8, 21, 40):
        found = net(x[:rows])
        assert [one.shape for one in found] == [(rows, 30)] * 4 + [(rows, 2)]
        assert (found[0] != net(x[:rows])[0]).any()


def test_what_is_drawn_in_a_trace_is_no_constant():
    class Net(nn.Module):
        def forward(self, x):
            return F.rand(3), x + F.dropout(np.ones(30, np.float32))

    net, x = Net(), np.zeros(30, np.float32)
    found = [net(x) for _ in range(20)]
    assert (
        len({one.tobytes() for one, _ in found}) == len({one.tobytes() for _, one in found}) == 20
    )


def test_bernoulli():
    lm.manual_seed(2)
    p = np.repeat(np.float64([0.0, 0.25, 0.9, 1.0]), 10_000).reshape(4, -1)
    for dtype in ("float32", "float64"):
        y = F.bernoulli(p.astype(dtype))
        assert y.dtype == dtype
        assert np.isin(y, (0, 1)).all()
        bound = 6 * np.sqrt(p[:, 0] * (1 - p[:, 0]) / p.shape[1])
        assert (np.abs(y.mean(1) - p[:, 0]) <= bound).all()
    assert abs(F.bernoulli(np.zeros(10_000), 0.3).mean() - 0.3) < 6 * (0.21 / 10_000) ** 0.5
    bad = np.float32([-0.1, 1.1, np.nan, np.inf])
    assert np.isnan(F.bernoulli(bad)).all()


def test_randint():
    lm.manual_seed(4)
    x = F.randint(-3, 5, (80_000,))
    assert x.dtype == np.int64
    share = np.bincount(x + 3, minlength=8) / x.size
    assert share.size == 8
    assert (np.abs(share - 1 / 8) < 6 * (7 / 64 / x.size) ** 0.5).all()
    wide = F.randint(2**53, (1000,))
    assert wide.min() >= 0
    assert 2**52 < wide.max() < 2**53
    assert set(F.randint(2, (50, 2), dtype="float32").ravel()) == {0.0, 1.0}
    for bad in ((3, 3, (2,)), (5, 2, (2,)), (2**60, (2,)), (-(2**60), 0, (2,))):
        with pytest.raises(ValueError, match="no such range"):
            F.randint(*bad)
    with pytest.raises(TypeError, match="no size"):
        F.randint(3)


def test_no_draw_has_a_gradient():
    class Net(nn.Module):
        def forward(self, x):
            return (x * F.rand_like(x) + F.bernoulli(x)).sum()

    lm.manual_seed(9)
    x = np.full((5, 7), 0.5, np.float32)
    _, d = lm.gradients(Net())(x, wrt="x")
    lm.manual_seed(9)
    same_bits(d["x"], F.rand_like(x))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: F.rand(2, -1), ShapeError),
        (lambda: F.rand((2, 1.5)), ShapeError),
        (lambda: F.randn("3"), ShapeError),
        (lambda: F.rand(2**40, 2**40), ShapeError),
        (lambda: F.rand(2, dtype="int64"), DTypeError),
        (lambda: F.rand_like(np.arange(3)), DTypeError),
        (lambda: F.bernoulli(np.arange(3)), DTypeError),
        (lambda: F.bernoulli(np.ones(3), 1.5), ValueError),
        (lambda: F.bernoulli(np.ones(3), float("nan")), ValueError),
        (lambda: draw("float32", 3, "cauchy"), ValueError),
        (lambda: draw("int64", 3, "normal"), ValueError),
        (lambda: draw("float32", 3, "normal", 2**16), ValueError),
    ],
)
def test_bad_arguments(call, error):
    with pytest.raises(error):
        call()


def test_out_and_no_elements():
    out = np.empty((2, 3), np.float32)
    assert F.rand(2, 3, out=out) is out
    assert F.randn(0, 3).shape == (0, 3)
    assert F.rand(()).shape == F.rand().shape == ()
