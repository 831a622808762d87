"""The finder behind the import alias: `sys.modules["detectron2.x"] is sys.modules["det2lite.x"]`."""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from det2lite.compat.children import install_in_children
from det2lite.utils.errors import UserError, close_names

__all__ = ["install", "uninstall"]

OURS, THEIRS = "det2lite", "detectron2"
logger = logging.getLogger(__name__)


class MissingModuleError(UserError, ModuleNotFoundError):
    """A module of Detectron2 that has no counterpart here. `name` is the module's name, as importers expect."""


def our_name(name: str) -> str:
    """`detectron2.x` -> `det2lite.x`."""
    return OURS + name[len(THEIRS) :]


class AliasLoader(Loader):
    """Loads a module by importing the one it is another name of."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(our_name(spec.name))
        self.own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        alias, module.__spec__ = module.__spec__.name, self.own_spec  # the import system had set the alias's
        _share_logger(alias)
        # What the module has imported below itself is known by both names from now on. Else an import by the other name
        # would bind it in the package once more, in place of a function of its name, such as engine.launch.
        ours = our_name(alias)
        for name in [name for name in sys.modules if name.startswith(f"{ours}.")]:
            other = alias + name[len(ours) :]
            if other not in sys.modules:
                sys.modules[other] = sys.modules[name]
                _share_logger(other)


def _share_logger(alias: str) -> None:
    """Whoever asks for the logger of a module by the other name gets the one that the module writes to."""
    logging.root.manager.loggerDict[alias] = logging.getLogger(our_name(alias))


class AliasFinder(MetaPathFinder):
    """Finds `detectron2` and everything below it; other names are left to the finders behind."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None):
        if fullname.partition(".")[0] != THEIRS:
            return None
        spec = importlib.util.find_spec(our_name(fullname))
        if spec is None:
            raise MissingModuleError(_missing(fullname), name=fullname)
        return ModuleSpec(
            fullname, AliasLoader(), origin=spec.origin, is_package=spec.submodule_search_locations is not None
        )


def _missing(fullname: str) -> str:
    """The message for a module that is not here, with the names of its neighbours that are."""
    parent, _, name = our_name(fullname).rpartition(".")
    known = {Path(file).stem for folder in sys.modules[parent].__path__ for file in Path(folder).iterdir()}
    hint = close_names(name, sorted(known)).replace("did you mean", "there is")
    return f"det2lite has no module in place of {fullname!r} (imports of 'detectron2' resolve to det2lite){hint}"


def install() -> None:
    """Makes `import detectron2` resolve to det2lite, here and in child processes; a second call changes nothing.

    An installed Detectron2 is left aside with a warning. Raises `UserError` if it is imported already, since then two
    sets of registries and classes would be in use.
    """
    if any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        return
    loaded = sys.modules.get(THEIRS)
    if loaded is not None:
        raise UserError(
            f"detectron2 is already imported from {_place(loaded.__spec__)}: call det2lite.compat.install() before that"
        )
    installed = importlib.util.find_spec(THEIRS)
    if installed is not None:
        logger.warning(
            "detectron2 is installed (%s) and left aside: imports of detectron2 resolve to det2lite", _place(installed)
        )
    put_finder()


def put_finder() -> None:
    """What `install` does once nothing stands against it."""
    sys.meta_path.insert(0, AliasFinder())
    install_in_children(put_finder)


def uninstall() -> None:
    """Takes the alias away: `detectron2` is what is installed, or unknown. Who has imported a module keeps it."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, AliasFinder)]
    install_in_children(None)
    for names in (sys.modules, logging.root.manager.loggerDict):
        for name in [name for name in names if name.partition(".")[0] == THEIRS]:
            del names[name]


def _place(spec: ModuleSpec | None) -> str:
    if spec is None:
        return "an unknown place"
    return spec.origin or ", ".join(spec.submodule_search_locations or ())
