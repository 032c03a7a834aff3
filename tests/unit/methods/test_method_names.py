from __future__ import annotations

import pytest

import ftkit
from ftkit.errors import FtkitError, UnknownNameError
from ftkit.methods import METHODS, USUAL_METHODS, Adapter, LoRA, as_method


def test_the_methods_come_in_the_order_in_which_they_are_shown():
    freezing = ["scratch", "linear-probe", "partial", "surgical", "bitfit", "norm-tuning"]
    whole = ["full", "gradual", "discriminative", "lp-ft", "l2-sp", "replay"]
    assert list(METHODS) == [*freezing, *whole, "lora", "dora", "ia3", "adapter", "prompt", "prefix"]


def test_the_usual_methods_are_among_them_in_the_same_order():
    assert [name for name in METHODS if name in USUAL_METHODS] == list(USUAL_METHODS)
    assert len(USUAL_METHODS) == 7


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_says_what_it_is(name: str):
    method = METHODS[name]
    assert method.name == name
    assert method.title
    assert method.trains
    assert set(method.changes) == {"text", "image", "audio"}
    assert {modality for modality, way in method.changes.items() if "does not apply" not in way} == set(
        method.modalities
    )
    assert "arXiv:" in method.paper
    assert 1e-5 < method.typical_rate < 1


@pytest.mark.parametrize("name", list(METHODS))
def test_settings_make_the_same_method_again(name: str):
    method = as_method(name)
    assert as_method(name, **method.settings) == method


def test_a_method_is_taken_as_it_is():
    method = LoRA(rank=3)
    assert as_method(method) is method


def test_an_unknown_method_is_answered_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"Unknown method 'lorra'\. Did you mean 'lora'"):
        as_method("lorra")


def test_an_unknown_setting_is_named():
    with pytest.raises(FtkitError, match=r"method 'lora' can't be set up with \{'ranks': 3\}.*ranks"):
        as_method("lora", ranks=3)


@pytest.mark.parametrize(
    ("method", "setting"),
    [("lora", "rank"), ("dora", "alpha"), ("adapter", "width"), ("prompt", "length"), ("prefix", "length")],
)
@pytest.mark.parametrize("value", [0, -1, 2.5, "many"])
def test_a_size_that_is_no_whole_number_is_refused_before_any_work(method: str, setting: str, value: object):
    with pytest.raises(FtkitError, match=rf"{method} with {setting} = {value!r}: choose a whole number from 1\."):
        as_method(method, **{setting: value})


@pytest.mark.parametrize(
    ("method", "setting", "value"),
    [
        ("partial", "blocks", "two"),
        ("partial", "blocks", -1),
        ("lora", "blocks", 1.5),
        ("lora", "blocks", 0),
        ("adapter", "blocks", 0),
        ("surgical", "first", "a"),
        ("surgical", "first", 0),
        ("surgical", "last", 0),
        ("gradual", "until", "half"),
        ("discriminative", "decay", "none"),
        ("lp-ft", "probe_rate", "low"),
        ("l2-sp", "strength", "strong"),
        ("replay", "strength", None),
    ],
)
def test_a_setting_of_another_kind_is_refused_before_any_work(method: str, setting: str, value: object):
    with pytest.raises(FtkitError, match=rf"{setting} = {value!r}: choose"):
        as_method(method, **{setting: value})


@pytest.mark.parametrize("dropout", [-0.1, 1.0, "half"])
def test_a_dropout_out_of_range_is_refused(dropout: object):
    with pytest.raises(FtkitError, match=r"lora with dropout = .*: choose a number from 0 to below 1"):
        as_method("lora", dropout=dropout)


def test_an_unknown_placement_is_answered_with_the_known_ones():
    with pytest.raises(FtkitError, match="placement 'parallel': choose 'houlsby' or 'pfeiffer'"):
        Adapter(placement="parallel")


def test_the_package_offers_every_method_as_a_class():
    offered = [getattr(ftkit, name) for name in ftkit.__all__]
    assert all(method in offered for method in METHODS.values())
