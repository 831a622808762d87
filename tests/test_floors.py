"""Imports point down: config and utils carry everything, tools stand on top."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "det2lite"
FLOORS = [
    {"config", "utils"},
    {"structures"},
    {"layers"},
    {"data", "modeling", "solver"},
    {"checkpoint", "evaluation"},
    {"engine"},
    {"model_zoo", "export"},
    {"apis"},
    {"compat", "cli"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imported_rooms(path: Path) -> set[str]:
    """Rooms of det2lite that a file imports, wherever in the file the import stands."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [node.module] if node.module != "det2lite" else [f"det2lite.{a.name}" for a in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("det2lite.")}
    return rooms & set(FLOOR_OF)


def files_by_room() -> dict[str, list[Path]]:
    return {room: sorted((ROOT / room).rglob("*.py")) for room in FLOOR_OF if (ROOT / room).is_dir()}


@pytest.mark.parametrize("room", sorted(files_by_room()))
def test_imports_point_down(room):
    for path in files_by_room()[room]:
        up = {other for other in imported_rooms(path) if FLOOR_OF[other] > FLOOR_OF[room]}
        assert not up, f"{path.relative_to(ROOT)} imports upwards from {sorted(up)}"


def test_rooms_of_one_floor_do_not_import_round():
    arrows = {room: set() for room in files_by_room()}
    for room, paths in files_by_room().items():
        for path in paths:
            arrows[room] |= {other for other in imported_rooms(path) if other != room}
    for start in arrows:
        reached, todo = set(), list(arrows[start])
        while todo:
            room = todo.pop()
            if room not in reached:
                reached.add(room)
                todo += arrows.get(room, ())
        assert start not in reached, f"imports lead from {start} back to itself"


def test_every_room_has_a_floor():
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert rooms <= set(FLOOR_OF), "a new room needs its floor here"


def test_the_check_sees_an_upward_import(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from det2lite.engine import hooks\n    import det2lite.data.build\n")
    assert imported_rooms(path) == {"engine", "data"}
