"""What a step computes is what is repeated outside of it."""

from __future__ import annotations

import torch
from limit import Products, by_themselves
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode


def test_all_matrix_products_of_a_step_are_counted_and_repeated_as_they_were():
    torch.manual_seed(0)
    batch, weight = torch.randn(3, 20, 8), torch.randn(16, 8, requires_grad=True)
    bias = torch.zeros(16, requires_grad=True)
    counter, products = FlopCounterMode(display=False), Products()
    with counter, products:
        products.listening = True
        hidden = functional.linear(batch, weight, bias)
        (hidden @ hidden.transpose(1, 2)).square().sum().backward()
        products.listening = False
        functional.linear(batch, weight)
    once = 2 * 3 * 20 * 8 * 16
    operations, seconds = by_themselves(products.met)
    assert operations == counter.get_total_flops() - once
    assert seconds > 0
    for product in products.met:
        for operand in product.operands:
            drawn = operand.drawn()
            assert (drawn.shape, drawn.stride(), drawn.dtype) == (operand.shape, operand.stride, operand.dtype)
