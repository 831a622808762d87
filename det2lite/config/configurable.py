"""`@configurable`: a constructor takes explicit arguments, and may be called with a config instead."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from yacs.config import CfgNode as YacsNode

from det2lite.utils.errors import WrongKind

OMEGACONF_TREE = "omegaconf.dictconfig.DictConfig"


def configurable(init_func: Callable | None = None, *, from_config: Callable | None = None) -> Callable:
    """Lets a class or function be called as `f(cfg, ...)` besides `f(explicit=..., arguments=...)`.

    On `__init__` it asks for a classmethod `from_config(cls, cfg, ...)`; on a function it takes
    `@configurable(from_config=function_of_cfg)`. Either returns the explicit arguments as a dict. Arguments of a
    call that `from_config` does not take are passed on and win over the dict's.
    """
    if init_func is not None:
        if not (inspect.isfunction(init_func) and from_config is None and init_func.__name__ == "__init__"):
            raise WrongKind("@configurable without arguments decorates __init__; a function needs from_config=...")
        return _configurable_init(init_func)
    if from_config is None:
        return configurable
    if not inspect.isfunction(from_config):
        raise WrongKind("from_config of @configurable must be a function")
    return functools.partial(_configurable_function, from_config=from_config)


def _configurable_init(init: Callable) -> Callable:
    @functools.wraps(init)
    def wrapped(self, *args: Any, **kwargs: Any) -> None:
        reader = getattr(type(self), "from_config", None)
        if reader is None:
            raise AttributeError(f"{type(self).__name__} has a @configurable __init__ but no classmethod from_config")
        if not inspect.ismethod(reader):
            raise TypeError(f"{type(self).__name__}.from_config must be a classmethod")
        if has_config(*args, **kwargs):
            init(self, **explicit_arguments(reader, *args, **kwargs))
        else:
            init(self, *args, **kwargs)

    return wrapped


def _configurable_function(function: Callable, *, from_config: Callable) -> Callable:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if has_config(*args, **kwargs):
            return function(**explicit_arguments(from_config, *args, **kwargs))
        return function(*args, **kwargs)

    wrapped.from_config = from_config
    return wrapped


def has_config(*args: Any, **kwargs: Any) -> bool:
    """Whether a call with these arguments is one with a config."""
    return (bool(args) and _is_config(args[0])) or _is_config(kwargs.get("cfg"))


def _is_config(value: Any) -> bool:
    # a tree of omegaconf serves as well; it is known by its name, as nobody needs the package otherwise
    return isinstance(value, YacsNode) or f"{type(value).__module__}.{type(value).__name__}" == OMEGACONF_TREE


def explicit_arguments(from_config: Callable, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """What `from_config` makes of the call, with the arguments it does not take laid over it."""
    parameters = inspect.signature(from_config).parameters
    if next(iter(parameters), None) != "cfg":
        owner = getattr(getattr(from_config, "__self__", None), "__name__", from_config.__name__)
        raise TypeError(f"from_config of {owner} must take 'cfg' as its first argument")
    kinds = {parameter.kind for parameter in parameters.values()}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        return from_config(*args, **kwargs)
    overriding = {name: kwargs.pop(name) for name in set(kwargs) - set(parameters)}
    return {**from_config(*args, **kwargs), **overriding}
