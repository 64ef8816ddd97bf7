"""What a local judge is made of, and where: its arguments checked, its tokenizer and its model brought up."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from grmrewards import arguments
from grmrewards.errors import ConfigError

if TYPE_CHECKING:
    from grmrewards.judges.chat import Chat
    from grmrewards.judges.isolated import RemoteNetwork
    from grmrewards.judges.rows import Engine


class Loaded(NamedTuple):
    """The two halves of a judge: text and token ids here, token ids and numbers where the model is."""

    chat: Chat
    network: Engine


def model_and_tokenizer(model: Any, tokenizer: Any) -> tuple[Any, Any]:
    """A name with or without a tokenizer, or a model with one; `ConfigError` for anything else."""
    if isinstance(model, tuple) and len(model) == 2 and tokenizer is None:
        model, tokenizer = model
    if isinstance(model, (str, Path)) and str(model).strip():
        return str(model), tokenizer
    if not hasattr(model, "generate") or not hasattr(model, "config"):
        raise ConfigError(
            f"model={model!r}; allowed are the name or folder of a model, a loaded model, or (model, tokenizer)."
        )
    if tokenizer is None:
        raise ConfigError("tokenizer=None; a loaded model needs its tokenizer: TransformersJudge(model, tokenizer).")
    return model, tokenizer


def isolation(isolate: Any, model: Any) -> bool | None:
    """`isolate` if it can be had for this model: a loaded one is in this process already."""
    arguments.one_of("isolate", isolate, (None, True, False))
    if isolate and not isinstance(model, str):
        raise ConfigError(
            f"isolate=True with a loaded {type(model).__name__}; a process of its own can only load a model by name. Save "
            "it with save_pretrained (the tokenizer too), and give TransformersJudge the folder."
        )
    chosen: bool | None = isolate
    return chosen


def start_loading(
    source: Mapping[str, Any], isolate: bool | None, remote: type[RemoteNetwork] | None = None
) -> Future[Loaded]:
    """`load` on a thread of its own, for all that wait for it."""
    loading: Future[Loaded] = Future()
    loading.set_running_or_notify_cancel()  # a caller that leaves must not take the judge from the others
    threading.Thread(target=_fulfil, args=(loading, source, isolate, remote), name="grmrewards-load").start()
    return loading


def done(loaded: Loaded) -> Future[Loaded]:
    """What is there already."""
    future: Future[Loaded] = Future()
    future.set_result(loaded)
    return future


def release(loading: Future[Loaded] | None) -> None:
    """Give back the GPU memory that a judge keeps in reserve, where there is one."""
    if loading is not None and loading.done() and loading.exception() is None:
        loading.result().network.release()


def _fulfil(loading: Future[Loaded], *what: Any) -> None:
    try:
        loaded = load(*what)
    except BaseException as error:
        loading.set_exception(error)
    else:
        loading.set_result(loaded)


def in_vain(loading: Future[Loaded]) -> bool:
    """Whether it failed, or what it loaded is lost by now."""
    return loading.done() and (loading.exception() is not None or loading.result().network.lost)


def load(source: Mapping[str, Any], isolate: bool | None, remote: type[RemoteNetwork] | None = None) -> Loaded:
    """The judge, its model in this process or in one of its own: by default where Unsloth may patch this one."""
    if isolate is None:
        isolate = isinstance(source["model"], str) and "unsloth" in sys.modules
    return _isolated(source, remote) if isolate else _here(source)


@contextmanager
def code_refused(source: Mapping[str, Any]) -> Iterator[None]:
    """Say in our words that a model or a tokenizer comes with code which nobody allowed to run."""
    try:
        yield
    except (ValueError, ImportError) as error:
        if isinstance(error, ConfigError) or source["trust_remote_code"] or "trust_remote_code" not in str(error):
            raise
        raise ConfigError(
            f"trust_remote_code=False, and {source['model']!r} comes with Python code of its own that it needs; none of it "
            "was run. Read that code, and pass trust_remote_code=True if you trust it, at best with a fixed revision=."
        ) from error


def _here(source: Mapping[str, Any]) -> Loaded:
    from grmrewards.judges.chat import Chat
    from grmrewards.judges.network import Network

    with code_refused(source):
        chat = Chat(source)
        return Loaded(chat, Network(source, **chat.special_ids))


def _isolated(source: Mapping[str, Any], remote: type[RemoteNetwork] | None) -> Loaded:
    from grmrewards.judges.isolated import RemoteNetwork

    network = (remote or RemoteNetwork)()  # first, since both processes import transformers for seconds
    try:
        from grmrewards.judges.chat import Chat

        with code_refused(source):
            chat = Chat(source)
        network.load({**source, "tokenizer": None}, **chat.special_ids)
    except BaseException:
        network.close()
        raise
    return Loaded(chat, network)
