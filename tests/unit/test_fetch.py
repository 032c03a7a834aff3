"""Fetching, with a real pip, real processes, a real web server and hand-made hostile archives.

The two small real archives come through `save_archives`: from ``FTKIT_MIRROR`` where that is set, else through pip.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import os
import pickle
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import venv
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from ftkit import catalog
from ftkit.catalog import Asset, Citation, InstalledSource, Member, MemberSet, PipSource, Source, WebSource
from ftkit.errors import AssetError
from ftkit.experiments.demo import fetch_missing
from ftkit.fetch import asset_folder, asset_states, fetch, is_cached, save_archives, verify

REPOSITORY = Path(__file__).parents[2]
SMALL = ["digits-captcha", "digits-spokennumbers"]
FETCH_PICKLED = """
import pickle, sys
from ftkit.errors import FtkitError
from ftkit.fetch import fetch
try:
    print(fetch(pickle.load(open(sys.argv[1], "rb"))))
except FtkitError as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel house")
    saved = save_archives(SMALL, folder, progress=False)
    assert [path.name for path in saved] == [catalog.asset(name).archive for name in SMALL]
    return folder


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty cache, with a space in its name, and no mirror."""
    folder = tmp_path / "my cache"
    monkeypatch.setenv("FTKIT_CACHE", str(folder))
    monkeypatch.delenv("FTKIT_MIRROR", raising=False)
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)


def left_in(cache: Path) -> list[str]:
    """Name what is in the cache, lock files apart."""
    return sorted(
        str(path.relative_to(cache)) for path in cache.glob("assets/*") if path.suffix != ".lock" or path.is_dir()
    )


def make_zip(path: Path, contents: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def make_asset(*sources: Source, archive: str = "made.zip", **fields: object) -> Asset:
    basics = {
        "name": "made",
        "kind": "data",
        "title": "Made by a test",
        "description": "",
        "licence": "none",
        "citations": (Citation("A. Author", "A title", 2020),),
        "homepage": "",
        "version": "1",
        "archive_bytes": 100_000,
    }
    return Asset(**(basics | fields), sources=sources, archive=archive)  # type: ignore[arg-type]


def member(path: str, name: str, content: bytes) -> Member:
    return Member(path, name, len(content), hashlib.sha256(content).hexdigest())


def member_set(pattern: str, folder: str, contents: Mapping[str, bytes]) -> MemberSet:
    digests = b"".join(hashlib.sha256(contents[name]).digest() for name in sorted(contents))
    size = sum(map(len, contents.values()))
    return MemberSet(pattern, folder, len(contents), size, hashlib.sha256(digests).hexdigest())


# --- pip


def test_pip_brings_a_real_asset_and_only_its_members(
    cache: Path, offline: None, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", wheelhouse.as_uri())
    folder = fetch("digits-captcha")
    assert folder == asset_folder("digits-captcha")
    assert sorted(path.name for path in folder.iterdir()) == [".complete.json", *(f"{d}.wav" for d in range(10))]
    for part in catalog.asset("digits-captcha").members:
        assert hashlib.sha256((folder / part.path).read_bytes()).hexdigest() == part.sha256
    assert left_in(cache) == [str(folder.relative_to(cache))]
    bar = capfd.readouterr().err
    assert "Downloading digits-captcha: 100%" in bar
    assert "148k/148k" in bar
    assert "Looking in links" not in bar


def test_a_cached_asset_needs_no_source_and_shows_no_bar(
    cache: Path, offline: None, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FTKIT_MIRROR", str(wheelhouse))
    assert not is_cached("digits-captcha")
    first = fetch("digits-captcha")
    monkeypatch.setenv("FTKIT_MIRROR", str(cache / "gone"))
    capfd.readouterr()
    assert is_cached("digits-captcha")
    assert fetch("digits-captcha") == first
    assert capfd.readouterr().err == ""


def test_a_file_named_pip_in_the_working_folder_is_not_run(
    cache: Path, offline: None, wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('the wrong pip')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_FIND_LINKS", wheelhouse.as_uri())
    assert fetch("digits-captcha", progress=False).is_dir()


def test_an_interpreter_without_pip_is_told_what_to_do(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    with pytest.raises(AssetError, match=r"-m ensurepip.*FTKIT_MIRROR.*captcha-0\.7\.1") as caught:
        fetch("digits-captcha", progress=False)
    assert str(bare) in str(caught.value)
    assert left_in(cache) == []


def test_offline_one_sentence_names_what_is_missing_and_three_ways_to_get_it(cache: Path, offline: None) -> None:
    with pytest.raises(AssetError) as caught:
        fetch("digits-captcha", progress=False)
    message = str(caught.value)
    assert message.startswith(f"digits-captcha is not in the cache {cache} and could not be downloaded (")
    assert "No matching distribution found for captcha==0.7.1" in message
    assert "go online and run `ftkit fetch digits-captcha`" in message
    assert "point FTKIT_MIRROR at a folder that holds captcha-0.7.1-py3-none-any.whl" in message
    assert "FTKIT_CACHE" in message
    assert "\n" not in message
    assert left_in(cache) == []


def test_a_network_that_refuses_is_given_as_the_reason(
    cache: Path, offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(AssetError, match=r"could not be downloaded \(pip .*Failed to establish.*: go online"):
        fetch("digits-captcha", progress=False)


def test_a_wheel_that_pip_finds_elsewhere_is_checked_too(
    cache: Path, offline: None, wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = catalog.asset("digits-captcha").archive
    with zipfile.ZipFile(wheelhouse / name) as archive:
        contents = {part: archive.read(part) for part in archive.namelist()}
    changed = make_zip(tmp_path / name, contents | {"captcha/data/7/default.wav": b"another voice"})
    monkeypatch.setenv("PIP_FIND_LINKS", tmp_path.as_uri())
    found = hashlib.sha256(changed.read_bytes()).hexdigest()
    expected = catalog.asset("digits-captcha").archive_sha256
    with pytest.raises(AssetError, match=rf"expected {expected}, found {found}.*pip \(captcha==0\.7\.1\)"):
        fetch("digits-captcha", progress=False)
    assert left_in(cache) == []


# --- the mirror


def test_a_damaged_archive_in_the_mirror_is_named_and_not_used(
    cache: Path, wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = catalog.asset("digits-captcha")
    damaged = tmp_path / asset.archive
    damaged.write_bytes((wheelhouse / asset.archive).read_bytes()[:-1])
    monkeypatch.setenv("FTKIT_MIRROR", str(tmp_path))
    found = hashlib.sha256(damaged.read_bytes()).hexdigest()
    with pytest.raises(AssetError) as caught:
        fetch(asset, progress=False)
    assert f"expected {asset.archive_sha256}, found {found}" in str(caught.value)
    assert str(damaged) in str(caught.value)
    assert left_in(cache) == []


def test_a_mirror_that_is_no_folder_is_an_error(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTKIT_MIRROR", str(tmp_path / "unplugged stick"))
    with pytest.raises(AssetError, match=r"FTKIT_MIRROR names .*unplugged stick.*not a folder"):
        fetch("digits-captcha", progress=False)


def test_a_mirror_without_the_archive_leaves_the_other_sources(
    cache: Path, offline: None, wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTKIT_MIRROR", str(tmp_path))
    monkeypatch.setenv("PIP_FIND_LINKS", wheelhouse.as_uri())
    assert fetch("digits-captcha", progress=False).is_dir()


def test_a_saved_mirror_serves_a_machine_without_network(
    cache: Path, offline: None, wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTKIT_MIRROR", str(wheelhouse))
    stick = tmp_path / "memory stick"
    (stick / "x").mkdir(parents=True)
    (stick / "captcha-0.7.1-py3-none-any.whl").write_bytes(b"damaged")
    saved = save_archives([*SMALL, "spoken-digits-synthetic", SMALL[0]], stick, progress=False)
    assert [path.name for path in saved] == [catalog.asset(name).archive for name in SMALL]
    assert sorted(path.name for path in stick.iterdir()) == sorted([*(path.name for path in saved), "x"])
    before = [path.stat().st_mtime_ns for path in saved]
    save_archives(SMALL, stick, progress=False)
    assert [path.stat().st_mtime_ns for path in saved] == before
    monkeypatch.setenv("FTKIT_MIRROR", str(stick))
    for name in SMALL:
        assert fetch(name, progress=False) == asset_folder(name)


def test_saving_from_a_damaged_source_saves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "captcha-0.7.1-py3-none-any.whl").write_bytes(b"damaged")
    monkeypatch.setenv("FTKIT_MIRROR", str(tmp_path / "bad"))
    with pytest.raises(AssetError, match="expected"):
        save_archives(["digits-captcha"], tmp_path / "stick", progress=False)
    assert list((tmp_path / "stick").iterdir()) == []


# --- what archives may hold


@pytest.fixture
def mirror(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("FTKIT_MIRROR", str(folder))
    return folder


CLIPS = {"0_a_0.wav": b"zero", "1_a_0.wav": b"one", "1_a_10.wav": b"one again"}
CLIP_SET = member_set("*/recordings/*.wav", "", CLIPS)


def packed(top: str, clips: Mapping[str, bytes] = CLIPS) -> dict[str, bytes]:
    return {f"{top}/recordings/{name}": content for name, content in clips.items()}


@pytest.mark.parametrize("top", ["repository-0123", "another name"])
def test_a_set_is_checked_by_content_whoever_packed_it(cache: Path, mirror: Path, top: str) -> None:
    contents = packed(top) | {f"{top}/setup.py": b"raise SystemExit", f"{top}/recordings/deep/x.wav": b"no"}
    make_zip(mirror / "made.zip", dict(reversed(contents.items())))
    folder = fetch(make_asset(member_sets=(CLIP_SET,)), progress=False)
    assert sorted(path.name for path in folder.iterdir()) == [".complete.json", *sorted(CLIPS)]


@pytest.mark.parametrize(
    "clips",
    [
        CLIPS | {"0_a_0.wav": b"ONE!"},
        CLIPS | {"9_a_9.wav": b"more"},
        dict(list(CLIPS.items())[1:]),
        CLIPS | {"0_a_0.wav": b"longer than the catalog allows" * 100},
    ],
    ids=["changed", "added", "missing", "longer"],
)
def test_a_set_with_other_content_is_refused(cache: Path, mirror: Path, clips: dict[str, bytes]) -> None:
    make_zip(mirror / "made.zip", packed("top", clips))
    with pytest.raises(AssetError, match="expected"):
        fetch(make_asset(member_sets=(CLIP_SET,)), progress=False)
    assert left_in(cache) == []


@pytest.mark.parametrize(
    "name",
    ["../evil.wav", "top/recordings/../../../evil.wav", "/evil.wav", "C:/evil.wav", "C:evil.wav", "top\\..\\evil.wav"],
)
def test_an_archive_with_a_path_that_leaves_its_folder_is_refused(
    cache: Path, mirror: Path, tmp_path: Path, name: str
) -> None:
    make_zip(mirror / "made.zip", packed("top") | {name: b"evil"})
    with pytest.raises(AssetError, match="would leave its folder"):
        fetch(make_asset(member_sets=(CLIP_SET,)), progress=False)
    assert left_in(cache) == []
    assert not list(tmp_path.rglob("*evil*"))


def test_an_archive_with_a_symbolic_link_is_refused(cache: Path, mirror: Path) -> None:
    link = zipfile.ZipInfo("top/recordings/2_a_0.wav")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(make_zip(mirror / "made.zip", packed("top")), "a") as archive:
        archive.writestr(link, "/etc/hostname")
    with pytest.raises(AssetError, match="symbolic link"):
        fetch(make_asset(member_sets=(CLIP_SET,)), progress=False)
    assert left_in(cache) == []


def test_an_archive_that_holds_a_name_twice_is_refused(cache: Path, mirror: Path) -> None:
    made = make_zip(mirror / "made.zip", packed("top"))
    with zipfile.ZipFile(made, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("top/recordings/0_a_0.wav", b"another")
    with pytest.raises(AssetError, match="twice"):
        fetch(make_asset(member_sets=(CLIP_SET,)), progress=False)


def test_a_member_larger_than_it_says_is_not_unpacked_to_the_end(cache: Path, mirror: Path) -> None:
    make_zip(mirror / "made.zip", {"a.bin": bytes(80_000_000)})
    asset = make_asset(members=(member("a.bin", "a.bin", b"small"),))
    started = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(AssetError, match=r"a\.bin is not what the catalog expects"):
        fetch(asset, progress=False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - started < 0.2
    assert left_in(cache) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"<html>log in to the hotel's network</html>", "damaged"), (b"", "damaged")],
    ids=["web page", "empty"],
)
def test_what_is_no_archive_is_called_damaged(cache: Path, mirror: Path, content: bytes, reason: str) -> None:
    (mirror / "made.zip").write_bytes(content)
    with pytest.raises(AssetError, match=reason):
        fetch(make_asset(member_sets=(CLIP_SET,)), progress=False)
    assert left_in(cache) == []


def test_an_archive_without_a_named_member_is_refused(cache: Path, mirror: Path) -> None:
    make_zip(mirror / "made.zip", {"a.txt": b"a"})
    with pytest.raises(AssetError, match=r"lacks 'b\.txt'"):
        fetch(make_asset(members=(member("b.txt", "b.txt", b"b"),)), progress=False)


def test_a_wrong_member_names_expected_found_and_source(cache: Path, mirror: Path) -> None:
    make_zip(mirror / "made.zip", {"a.txt": b"found"})
    with pytest.raises(AssetError) as caught:
        fetch(make_asset(members=(member("a.txt", "a.txt", b"hoped"),)), progress=False)
    for part in (hashlib.sha256(b"hoped").hexdigest(), hashlib.sha256(b"found").hexdigest(), str(mirror), "a.txt"):
        assert part in str(caught.value)
    assert left_in(cache) == []


# --- the cache


@pytest.fixture
def fetched(cache: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FTKIT_MIRROR", str(wheelhouse))
    return fetch("digits-captcha", progress=False)


def test_a_file_that_went_missing_or_short_is_brought_back(fetched: Path) -> None:
    original = (fetched / "3.wav").read_bytes()
    (fetched / "3.wav").write_bytes(original[:-1])
    assert not is_cached("digits-captcha")
    assert fetch("digits-captcha", progress=False) == fetched
    (fetched / "3.wav").unlink()
    assert not is_cached("digits-captcha")
    fetch("digits-captcha", progress=False)
    assert (fetched / "3.wav").read_bytes() == original


def test_a_folder_without_its_manifest_counts_as_missing(cache: Path, fetched: Path) -> None:
    (fetched / ".complete.json").write_text("[")
    assert not is_cached("digits-captcha")
    fetch("digits-captcha", progress=False)
    assert is_cached("digits-captcha")
    assert left_in(cache) == [str(fetched.relative_to(cache))]


def test_verify_finds_a_changed_file_of_the_same_size(fetched: Path) -> None:
    assert verify("digits-captcha") == fetched
    content = bytearray((fetched / "5.wav").read_bytes())
    content[-1] ^= 1
    (fetched / "5.wav").write_bytes(content)
    assert is_cached("digits-captcha")
    with pytest.raises(AssetError, match=r"5\.wav is not what the catalog expects.*Delete the folder"):
        verify("digits-captcha")


def test_verify_finds_a_changed_file_of_a_set(cache: Path, mirror: Path) -> None:
    asset = make_asset(member_sets=(member_set("*/recordings/*.wav", "clips", CLIPS),))
    make_zip(mirror / "made.zip", packed("top"))
    folder = fetch(asset, progress=False)
    assert verify(asset) == folder
    (folder / "clips" / "1_a_0.wav").write_bytes(b"two")
    with pytest.raises(AssetError, match="expects"):
        verify(asset)


def test_verify_of_what_was_never_fetched_says_how_to(cache: Path) -> None:
    with pytest.raises(AssetError, match="run `ftkit fetch elpv`"):
        verify("elpv")


def test_leftovers_of_a_killed_process_are_cleared(
    cache: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = cache / "assets" / ".digits-captcha.0badcafe.part" / "files"
    leftover.mkdir(parents=True)
    (leftover / "0.wav").write_bytes(b"half")
    monkeypatch.setenv("FTKIT_MIRROR", str(wheelhouse))
    folder = fetch("digits-captcha", progress=False)
    assert left_in(cache) == [str(folder.relative_to(cache))]


def test_another_content_under_the_same_name_gets_a_folder_of_its_own(cache: Path, mirror: Path) -> None:
    make_zip(mirror / "made.zip", {"a.txt": b"old"})
    old = fetch(make_asset(members=(member("a.txt", "a.txt", b"old"),)), progress=False)
    make_zip(mirror / "made.zip", {"a.txt": b"new"})
    new = fetch(make_asset(members=(member("a.txt", "a.txt", b"new"),)), progress=False)
    assert (old / "a.txt").read_bytes() == b"old"
    assert (new / "a.txt").read_bytes() == b"new"


def test_too_small_a_disk_is_known_before_anything_is_downloaded(cache: Path, offline: None) -> None:
    asset = make_asset(PipSource("captcha", "0.7.1"), archive_bytes=10**17)
    with pytest.raises(AssetError, match=r"needs 200,000,000,0\d\d MB in .*my cache.*FTKIT_CACHE"):
        fetch(asset, progress=False)
    assert left_in(cache) == []


def test_a_cache_that_is_a_file_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(AssetError, match="FTKIT_CACHE names the cache"):
        fetch("digits-captcha", progress=False)


# --- processes


def heed_interrupts() -> None:
    """A shell's background job ignores Ctrl-C, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def in_a_process(asset: Asset, folder: Path, prepare: Callable[[], None] = heed_interrupts) -> subprocess.Popen[str]:
    pickled = folder / "asset.pickle"
    pickled.write_bytes(pickle.dumps(asset))
    return subprocess.Popen(
        [sys.executable, "-c", FETCH_PICKLED, str(pickled)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )


def test_a_disk_that_fills_up_leaves_nothing_and_says_so(
    cache: Path, wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTKIT_MIRROR", str(wheelhouse))
    # Some of the clips are smaller than this limit on the size of a file, and are written before one that is not.
    limit = 112_000
    process = in_a_process(
        catalog.asset("digits-spokennumbers"),
        tmp_path,
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    printed, errors = process.communicate(timeout=30)
    assert printed.startswith("AssetError: The disk was full while fetching digits-spokennumbers")
    assert "Traceback" not in errors
    assert left_in(cache) == []


class Server:
    """A web server that counts requests and sends its content at the pace it is told."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.announced = len(content)
        self.pause_seconds = 0.0
        self.status = 200
        self.requests = 0
        self.stopped = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests += 1
                self.send_response(server.status)
                self.send_header("Content-Length", str(server.announced))
                self.end_headers()
                source = io.BytesIO(server.content)
                try:
                    while not server.stopped.is_set() and (block := source.read(20_000)):
                        self.wfile.write(block)
                        self.wfile.flush()
                        server.stopped.wait(server.pause_seconds)
                except OSError:
                    pass  # the client went away

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/made.zip"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.stopped.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


NOISE = hashlib.shake_256(b"noise").digest(600_000)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server(make_zip(tmp_path / "served.zip", {"a.bin": NOISE}).read_bytes())
    yield running
    running.close()


def served_asset(server: Server) -> Asset:
    return make_asset(
        WebSource(server.url), members=(member("a.bin", "a.bin", NOISE),), archive_bytes=len(server.content)
    )


def test_a_web_address_serves_an_asset_with_a_bar_of_bytes(
    cache: Path, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = fetch(served_asset(server))
    assert (folder / "a.bin").read_bytes() == NOISE
    assert "Downloading made: 100%" in capfd.readouterr().err


def test_a_connection_that_breaks_off_leaves_nothing(cache: Path, server: Server) -> None:
    server.announced = len(server.content) + 1
    with pytest.raises(AssetError, match=r"broke off after 600,\d\d\d of 600,\d\d\d bytes"):
        fetch(served_asset(server), progress=False)
    assert left_in(cache) == []


def test_an_address_that_is_gone_gives_the_three_ways(cache: Path, server: Server) -> None:
    server.status = 404
    with pytest.raises(AssetError, match=r"made is not in the cache .*Not Found.*FTKIT_MIRROR.*made\.zip.*FTKIT_CACHE"):
        fetch(served_asset(server), progress=False)
    assert left_in(cache) == []


def test_an_address_that_sends_far_too_much_is_cut_off(cache: Path, server: Server) -> None:
    server.content = bytes(20_000_000)
    server.announced = len(server.content)
    asset = dataclasses.replace(served_asset(server), archive_bytes=100_000)
    with pytest.raises(AssetError, match="sent more than"):
        fetch(asset, progress=False)
    assert left_in(cache) == []


def test_two_processes_fetch_at_once_and_download_once(cache: Path, server: Server, tmp_path: Path) -> None:
    server.pause_seconds = 0.05
    processes = [in_a_process(served_asset(server), tmp_path) for _ in range(2)]
    printed = [process.communicate(timeout=30)[0] for process in processes]
    folder = asset_folder(served_asset(server))
    assert printed == [f"{folder}\n"] * 2
    assert server.requests == 1
    assert left_in(cache) == [str(folder.relative_to(cache))]


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_an_interrupt_during_a_download_leaves_nothing(cache: Path, server: Server, tmp_path: Path) -> None:
    server.pause_seconds = 0.5
    process = in_a_process(served_asset(server), tmp_path)
    wait_until(lambda: any(path.stat().st_size for path in cache.glob("assets/.made.*.part/download/*")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert left_in(cache) == []
    server.pause_seconds = 0.0
    assert fetch(served_asset(server), progress=False).is_dir()


def test_an_interrupt_stops_pip_too_and_leaves_nothing(
    cache: Path, offline: None, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pause_seconds = 60.0
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", server.url)
    process = in_a_process(catalog.asset("digits-captcha"), tmp_path)
    wait_until(lambda: server.requests)
    (pip,) = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not pip.is_running()
    assert left_in(cache) == []


def test_a_process_that_is_killed_leaves_no_asset_and_the_next_one_succeeds(
    cache: Path, server: Server, tmp_path: Path
) -> None:
    server.pause_seconds = 0.5
    process = in_a_process(served_asset(server), tmp_path)
    wait_until(lambda: any(path.stat().st_size for path in cache.glob("assets/.made.*.part/download/*")))
    process.kill()
    process.communicate()
    assert not is_cached(served_asset(server))
    server.pause_seconds = 0.0
    folder = fetch(served_asset(server), progress=False)
    assert left_in(cache) == [str(folder.relative_to(cache))]


# --- many assets, and those that are installed


def test_the_synthetic_digits_come_with_an_installed_package(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "espeakng_loader", raising=False)  # another test may have spoken before
    assert fetch("spoken-digits-synthetic").name == "espeakng_loader"
    assert is_cached("spoken-digits-synthetic")
    assert "espeakng_loader" not in sys.modules
    (row,) = asset_states(["spoken-digits-synthetic"])
    assert row.state == "installed"


def test_a_package_that_is_not_installed_is_named(cache: Path) -> None:
    asset = make_asset(InstalledSource("espeakng-absent", "espeakng_absent"), archive_bytes=0)
    assert not is_cached(asset)
    with pytest.raises(AssetError, match="-m pip install espeakng-absent"):
        fetch(asset)


def test_states_tell_what_is_here_and_what_is_not(fetched: Path) -> None:
    rows = {row.name: row for row in asset_states()}
    assert list(rows) == list(catalog.load_catalog())
    assert rows["digits-captcha"].state == "cached"
    assert rows["elpv"].state == "missing"
    assert rows["elpv"].licence == "CC BY-NC-SA 4.0"
    assert rows["elpv"].archive_bytes == 90_801_454


@pytest.fixture
def spoken_numbers_alone(offline: None, wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One asset can be had, from a mirror, and no other."""
    name = catalog.asset("digits-spokennumbers").archive
    shutil.copy(wheelhouse / name, tmp_path / name)
    monkeypatch.setenv("FTKIT_MIRROR", str(tmp_path))


def test_one_asset_that_cannot_be_had_does_not_keep_the_others(cache: Path, spoken_numbers_alone: None) -> None:
    wanted = [catalog.asset(each) for each in ("digits-captcha", "digits-spokennumbers", "elpv")]
    with pytest.raises(AssetError, match=r"digits-captcha is not in the cache .* Nor could elpv be fetched"):
        fetch_missing(wanted, progress=False)
    assert is_cached("digits-spokennumbers")


def test_a_substitute_that_cannot_be_had_does_not_keep_the_others(
    cache: Path, spoken_numbers_alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftkit.experiments.demo._SUBSTITUTES", {"elpv": ("digits-captcha",)})
    wanted = [catalog.asset(each) for each in ("elpv", "digits-spokennumbers")]
    with pytest.raises(AssetError, match="digits-captcha is not in the cache"):
        fetch_missing(wanted, progress=False)
    assert is_cached("digits-spokennumbers")
