"""Recordings as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import resample_poly

from ftkit.tasks.sound import resample


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rate", "new_rate"), [(22_050, 8_000), (8_000, 16_000), (44_100, 16_000)])
def test_the_filter_that_is_kept_is_the_one_that_scipy_designs(rate: int, new_rate: int, dtype: type):
    samples = np.random.default_rng(0).standard_normal(rate // 10).astype(dtype)
    expected = resample_poly(samples, new_rate, rate).astype(np.float32)
    for _ in range(2):
        assert np.array_equal(resample(samples, rate, new_rate), expected)


def test_a_tone_above_half_the_lower_rate_is_taken_out():
    times = np.arange(16_000) / 16_000
    low, high = (resample(np.sin(2 * np.pi * hertz * times), 16_000, 8_000) for hertz in (1_000, 6_000))
    assert np.abs(low[200:-200]).max() > 0.95
    assert np.abs(high[200:-200]).max() < 0.01
