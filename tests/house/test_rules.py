"""House rules: what holds for the whole repository."""

import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from appliance.__main__ import COMMANDS, parser
from appliance.config import Config
from library import errors
from tests.places import ROOT
from web.app import create_app
from web.problems import STATUS, status_of

DOCS = ROOT / "docs"


def error_classes() -> list[type[errors.AlmanacError]]:
    found = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    return [class_ for class_ in found if issubclass(class_, errors.AlmanacError)]


@pytest.mark.parametrize("class_", error_classes())
def test_every_error_has_a_status_a_code_and_a_place_in_the_drawn_tree(
    class_: type[errors.AlmanacError],
) -> None:
    assert class_.__name__ in (errors.__doc__ or "")
    assert any(issubclass(class_, known) and known is not errors.AlmanacError for known in STATUS) or (
        class_ is errors.AlmanacError
    )
    assert re.fullmatch(r"[a-z_]+", class_.code)


def test_a_more_special_error_is_never_shadowed_by_a_more_general_one() -> None:
    order = list(STATUS)
    for at, class_ in enumerate(order):
        assert not any(issubclass(later, class_) for later in order[at + 1 :])


def test_a_readers_mistake_is_never_a_500() -> None:
    assert status_of(errors.InvalidRequest("q", "is wrong.")) == 400
    assert status_of(errors.DocumentNotFound("x")) == 404
    assert status_of(errors.ModelNotFound("x", ())) == 404


def keys(struct: type[msgspec.Struct], prefix: str = "") -> list[tuple[str, object]]:
    found = []
    for field in msgspec.structs.fields(struct):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found += keys(field.type, f"{prefix}{field.name}.")
        else:
            found.append((prefix + field.name, field.default))
    return found


@pytest.mark.parametrize(("key", "default"), keys(Config))
def test_every_setting_is_documented_with_its_default(key: str, default: object) -> None:
    rows = (DOCS / "configuration.md").read_text().splitlines()
    row = next((row for row in rows if row.startswith(f"| `{key}` |")), None)
    assert row, f"{key} is not in docs/configuration.md"
    shown = str(default).lower() if isinstance(default, bool) else "[]" if default == () else str(default)
    assert f"| `{shown}` |" in row.replace('`""`', "``"), row


def test_no_setting_is_documented_that_does_not_exist() -> None:
    documented = re.findall(
        r"^\| `([a-z_]+(?:\.[a-z_]+)+)` \|", (DOCS / "configuration.md").read_text(), re.MULTILINE
    )
    assert sorted(documented) == sorted(key for key, _ in keys(Config))


def test_every_environment_variable_that_is_read_is_documented() -> None:
    read = set()
    for path in [*ROOT.glob("appliance/**/*.py"), *ROOT.glob("[wils]*/**/*.py"), ROOT / "Makefile"]:
        if "site-packages" not in str(path) and ".venv" not in str(path):
            read |= set(re.findall(r"\bALMANAC_[A-Z_]+\b", path.read_text()))
    documented = (DOCS / "configuration.md").read_text()
    assert read
    assert [name for name in sorted(read - {"ALMANAC_CI"}) if name not in documented] == []


def test_every_command_and_flag_is_documented() -> None:
    documented = (DOCS / "commands.md").read_text()
    for name in COMMANDS:
        assert f"## almanac {name}" in documented
    actions = parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    for name, command in actions.items():  # type: ignore[union-attr]
        part = documented.split(f"## almanac {name}\n", 1)[1].split("\n## ", 1)[0]
        for action in command._actions:
            for flag in action.option_strings:
                if flag.startswith("--") and flag != "--help":
                    assert f"`{flag}" in part, f"almanac {name} {flag}"


def test_every_endpoint_is_documented() -> None:
    documented = (DOCS / "api.md").read_text()
    routes = {route.path for route in create_app(SimpleNamespace(version="0", host_names=())).routes}  # type: ignore[arg-type]
    for path in sorted(routes):
        if path.startswith(("/static", "/api/schema")):
            continue
        plain = re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
        assert f"`{plain}`" in documented or f" {plain}`" in documented or f" {plain}?" in documented, plain


def test_help_loads_no_model_library_and_no_server() -> None:
    script = (
        "import sys\n"
        "from appliance.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'xllamacpp', 'onnxruntime', 'ctransformers', 'fastembed', 'numpy', 'litestar', 'tantivy', 'qdrant_edge', 'qdrant_client'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "LOADED []" in done.stdout


def test_only_the_adapters_import_their_vendor() -> None:
    allowed = {
        "tantivy": {
            f"search/{name}.py"
            for name in (
                "analysis",
                "earlier",
                "lexical",
                "lexical_fields",
                "lexical_names",
                "lexical_query",
                "vocabulary",
                "vocabulary",
            )
        },
        "qdrant_edge": {"search/vectors/edge.py", "search/vectors/edge_shard.py"},
        "qdrant_client": {"search/vectors/server.py"},
        "onnxruntime": {"search/graphs.py"},
        "xllamacpp": {"llm/engines/worker.py", "llm/engines/devices.py"},
        "ctransformers": {"llm/engines/ctransformers/worker.py"},
        "sqlalchemy": {
            f"library/{name}.py"
            for name in (
                "models",
                "migrating",
                "record",
                "arrivals",
                "intake",
                "queue",
                "texts",
                "watermark",
                "catalogue",
                "excerpts",
                "holdings",
                "jobs",
            )
        }
        | {
            str(path.relative_to(ROOT))
            for path in (ROOT / "library" / "migrations" / "versions").glob("v*.py")
        },
        "h11": {"llm/engines/transport.py"},
        "jsonschema_rs": {"llm/tools/schemas.py"},
        "httpx": {"llm/engines/engine.py", "llm/engines/transport.py"},
        "prometheus_client": {"web/metrics.py", "web/readings.py"},
        "litestar": {str(path.relative_to(ROOT)) for path in (ROOT / "web").rglob("*.py")},
    }
    for vendor, places in allowed.items():
        pattern = re.compile(rf"^\s*(?:from|import) {vendor}\b", re.MULTILINE)
        for floor in ("appliance", "web", "ingest", "llm", "search", "library"):
            for path in (ROOT / floor).rglob("*.py"):
                if pattern.search(path.read_text()):
                    assert str(path.relative_to(ROOT)) in places, f"{path} imports {vendor}"


def test_whoever_imports_the_model_runtime_has_silenced_it_before() -> None:
    """Its import alone writes into the user's home, and asks the network for its maker seconds later."""
    importing = re.compile(r"^[ \t]*(?:import|from) onnxruntime\b", re.MULTILINE)
    silenced = re.compile(r"^[ \t]*os\.environ.*ORT_DISABLE_TELEMETRY", re.MULTILINE)
    # What belongs to an environment of its own is told by whoever starts it.
    elsewhere = {"tests/bench/peer_langchain.py": ROOT / "tests" / "bench" / "bench_peer.py"}
    importers = 0
    for floor in ("appliance", "web", "ingest", "llm", "search", "library", "tests"):
        for path in (ROOT / floor).rglob("*.py"):
            found = importing.search(text := path.read_text())
            if found is None:
                continue
            importers += 1
            if starter := elsewhere.get(path.relative_to(ROOT).as_posix()):
                assert "ORT_DISABLE_TELEMETRY" in starter.read_text(), path
                continue
            package = (path.parent / "__init__.py").read_text()
            before = text[: found.start()]
            assert any(silenced.search(part) is not None for part in (before, package)), path
    assert importers >= 2


def test_pages_and_styles_load_nothing_from_elsewhere() -> None:
    for path in [
        *(ROOT / "web").rglob("*.html"),
        *(ROOT / "web").rglob("*.css"),
        *(ROOT / "web").rglob("*.js"),
    ]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]{2,}", text), path
        assert "<style" not in text, path
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
        assert not re.search(r"\son[a-z]+=", text), path


def test_packages_are_listed_one_by_one_and_none_is_forgotten() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    floors = ("appliance", "web", "ingest", "llm", "search", "library")
    found = [
        str(path.parent.relative_to(ROOT)).replace(os.sep, ".")
        for floor in floors
        for path in (ROOT / floor).rglob("__init__.py")
    ]
    assert sorted(listed) == sorted(found)


def test_the_tree_in_the_readme_is_the_tree() -> None:
    readme = (ROOT / "README.md").read_text()
    for floor in ("appliance", "web", "ingest", "llm", "search", "library"):
        for path in (ROOT / floor).rglob("*.py"):
            if path.name != "__init__.py" and "migrations" not in path.parts:
                assert re.search(rf"\b{re.escape(path.name)}\b", readme), (
                    f"{path} is not in the README's tree"
                )


def test_links_between_the_documents_lead_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
            if not target.startswith(("http://", "https://")):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_module_says_what_it_is() -> None:
    for floor in ("appliance", "web", "ingest", "llm", "search", "library"):
        for path in (ROOT / floor).rglob("*.py"):
            text = path.read_text().strip()
            if text and "migrations" not in path.parts:
                assert text.startswith(('"""', "#!")), path


def test_starter_chapters_name_their_sources_and_edition() -> None:
    import yaml

    chapters = sorted((ROOT / "library" / "starter").rglob("*.md"))
    assert len(chapters) >= 15
    for path in chapters:
        text = Path(path).read_text()
        front = yaml.safe_load(text.split("---")[1])
        assert re.fullmatch(r"\d{4}-\d{2}", str(front["edition"])), path
        assert f"\n# {front['title']}\n" in text, path
        assert text.split("\n## ")[-1].startswith("Sources"), path
