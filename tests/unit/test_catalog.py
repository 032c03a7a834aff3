from __future__ import annotations

import re
from pathlib import Path

import pytest

from ftkit import catalog
from ftkit.catalog import Asset, InstalledSource, PipSource, WebSource
from ftkit.errors import UnknownNameError
from ftkit.paths import data_folder

MODELS = ["minilm", "efficientnet-lite0", "whisper-tiny-en", "smollm2-135m"]
DATA = [
    "rotten-tomatoes",
    "newsgroups",
    "reuters-r8",
    "elpv",
    "mnist-5k",
    "spoken-digits-synthetic",
    "digits-captcha",
    "digits-spokennumbers",
    "fsdd",
]
NOTICE = Path(__file__).parents[2] / "NOTICE"
HEXADECIMAL = re.compile(r"[0-9a-f]{64}")


def test_the_catalog_names_every_model_and_data_set() -> None:
    assets = catalog.load_catalog().values()
    assert [asset.name for asset in assets if asset.kind == "model"] == MODELS
    assert [asset.name for asset in assets if asset.kind == "data"] == DATA


def test_an_unknown_name_is_explained() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown asset 'mini-lm'\. Did you mean 'minilm'\?"):
        catalog.asset("mini-lm")


def test_changing_the_returned_dictionary_changes_nothing() -> None:
    catalog.load_catalog().clear()
    assert catalog.asset("minilm").title == "all-MiniLM-L6-v2"


@pytest.mark.parametrize("asset", catalog.load_catalog().values(), ids=lambda asset: asset.name)
class TestEveryAsset:
    def test_says_what_it_is_and_whom_to_credit(self, asset: Asset) -> None:
        assert asset.title
        assert asset.description.endswith(".")
        assert asset.licence
        assert asset.homepage.startswith("http")
        for citation in asset.citations:
            assert citation.authors
            assert 1990 < citation.year < 2030
        assert asset.citation.title in str(asset.citation)

    def test_pins_its_source(self, asset: Asset) -> None:
        (source,) = asset.sources
        match source:
            case PipSource():
                assert source.version == asset.version
                assert asset.archive.startswith(source.package.lower().replace("-", "_") + f"-{source.version}-")
                assert HEXADECIMAL.fullmatch(asset.archive_sha256)
            case WebSource():
                assert source.url.startswith("https://")
                assert asset.version in source.url
                assert asset.version in asset.archive
            case InstalledSource():
                assert asset.archive_bytes == asset.member_bytes == 0
                return
        assert asset.archive_bytes > 0
        assert asset.member_bytes > 0

    def test_every_file_has_a_hash_a_size_and_a_place_of_its_own(self, asset: Asset) -> None:
        for member in asset.members:
            assert HEXADECIMAL.fullmatch(member.sha256)
            assert member.bytes > 0
            assert catalog.is_safe_path(member.path)
        for member_set in asset.member_sets:
            assert HEXADECIMAL.fullmatch(member_set.digest)
            assert member_set.bytes > member_set.count > 0
        assert len({member.path for member in asset.members}) == len(asset.members)

    def test_has_a_card_when_it_is_data(self, asset: Asset) -> None:
        card = catalog.card_text(asset.name)
        if asset.kind == "model":
            assert card == ""
            return
        assert card.startswith(f"# {asset.title}\n")
        parts = ["What it is", "Where it comes from", "Splits", "Licence", "Cite", "Known problems", "Not for"]
        assert re.findall(r"^\*\*(.+?)\.\*\*", card, flags=re.MULTILINE) == parts

    def test_is_credited_in_the_notice(self, asset: Asset) -> None:
        text = " ".join(NOTICE.read_text(encoding="utf-8").split())
        for source in asset.sources:
            if isinstance(source, PipSource | InstalledSource):
                assert source.package in text
        assert asset.citation.authors.split(",")[0].removesuffix(" and others").split(". ")[-1] in text


def test_every_card_belongs_to_an_asset() -> None:
    cards = {path.name for path in (data_folder() / "cards").iterdir()}
    assert cards == {f"{name}.md" for name in DATA}


def test_fingerprints_tell_assets_apart() -> None:
    fingerprints = [asset.fingerprint for asset in catalog.load_catalog().values()]
    assert len(set(fingerprints)) == len(fingerprints)


@pytest.mark.parametrize("name", ["elpv", "fsdd"])
def test_share_alike_data_carry_a_notice_with_their_licence(name: str) -> None:
    asset = catalog.asset(name)
    assert asset.licence in asset.notice
    assert "creativecommons.org" in asset.licence_url


def test_elpv_says_everywhere_that_it_is_not_for_commercial_use() -> None:
    assert "not for commercial use" in catalog.asset("elpv").notice
    assert "not for commercial use" in catalog.card_text("elpv")
    assert "NOT FOR COMMERCIAL USE" in NOTICE.read_text(encoding="utf-8")


def test_only_the_ten_digits_are_taken_from_the_clips() -> None:
    for name in ("digits-captcha", "digits-spokennumbers"):
        assert [member.path for member in catalog.asset(name).members] == [f"{digit}.wav" for digit in range(10)]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../a",
        "a/../../b",
        "a/..",
        "./a",
        "a//b",
        "C:a",
        "C:/a",
        "a\\b",
        "..\\a",
        "\\\\host\\share",
        "a\nb",
        "a\x00b",
    ],
)
def test_a_path_that_could_leave_its_folder_is_not_safe(path: str) -> None:
    assert not catalog.is_safe_path(path)


@pytest.mark.parametrize("path", ["a", "a/b.txt", "a/b/", "a..b", "...", "name with spaces/é.wav"])
def test_an_ordinary_path_is_safe(path: str) -> None:
    assert catalog.is_safe_path(path)
