"""The one door from an object to its pictures: plain text, HTML, and for trees a dict that JSON can hold."""

from __future__ import annotations

from collections.abc import Container
from functools import singledispatch
from typing import Any

from labtether._blocking import SyncLink
from labtether._channel import Channel, SyncChannel
from labtether._face import Face
from labtether._handle import Handle, SyncHandle
from labtether._instrument import Instrument, Look
from labtether._lifecycle import Lifecycle
from labtether._nursery import Nursery
from labtether._outcome import Cancelled, Failed, Ok
from labtether._own_loop import SyncInstrument
from labtether._show.links import instrument_html, link_html, trace_html
from labtether._show.markup import Html
from labtether._show.scopes import handle_html, lifecycle_html, nursery_html, outcome_html, repr_of
from labtether._show.sharing import channel_html, event_html, places_html
from labtether._show.trees import tree_html
from labtether._sync import Event, Lock, Semaphore, Slots, SyncBlock, SyncEvent
from labtether._trace import Trace
from labtether._tree import Tree

__all__ = ["TREE", "bundle_of", "html_of"]

TREE = "application/vnd.labtether.tree+json"


def bundle_of(
    thing: object, include: Container[str] | None = None, exclude: Container[str] | None = None
) -> dict[str, Any]:
    """What IPython asks of `_repr_mimebundle_`: each form by its MIME type."""
    text = str(thing) if isinstance(thing, Tree | Trace) else repr_of(thing)
    forms: dict[str, Any] = {"text/plain": text, "text/html": str(html_of(thing))}
    if isinstance(thing, Tree):
        forms[TREE] = thing.to_dict()
    return {
        kind: form
        for kind, form in forms.items()
        if (include is None or kind in include) and (exclude is None or kind not in exclude)
    }


@singledispatch
def html_of(thing: object) -> Html:
    """The page of a thing."""
    raise TypeError(f"there is no page for {type(thing).__name__}")


def _instrument_html(one: Instrument) -> Html:
    seen = Look(one)
    return instrument_html(one.name, type(one).__name__, one.state, seen.age, seen.doing, seen.links, seen.problem)


html_of.register(Face, link_html)
html_of.register(Instrument, _instrument_html)
html_of.register(SyncInstrument, lambda face: html_of(face._twin))
html_of.register(Trace, trace_html)
html_of.register(Nursery, nursery_html)
html_of.register(Lifecycle, lifecycle_html)
html_of.register(Handle, handle_html)
html_of.register(Event, event_html)
html_of.register(Channel, channel_html)
html_of.register(Tree, tree_html)
for ending in (Ok, Failed, Cancelled):
    html_of.register(ending, outcome_html)
for places in (Lock, Semaphore, Slots):
    html_of.register(places, places_html)
for blocking in (SyncLink, SyncHandle, SyncChannel, SyncEvent):
    html_of.register(blocking, lambda face: html_of(face._twin))
html_of.register(SyncBlock, lambda face: html_of(face._of))
