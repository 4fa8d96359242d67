"""A lineage graph as a Mermaid diagram."""

from __future__ import annotations

from quire.transfer.lineage_graph import Edge, Graph, Node

MOST_CHARACTERS = 60
PLAIN = frozenset(" .,-_/")


def drawn(graph: Graph) -> str:
    """The diagram, from parents down to children; what was undone is dotted.

    Names are what their owners like: nothing in one is read as anything but text.
    """
    places = {node.key: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart TD"]
    lines += [f'  {places[node.key]}["{_label(node)}"]' for node in graph.nodes]
    lines += [_arrow(edge, places) for edge in graph.edges]
    lines.append(f"  style {places[graph.session_id]} stroke-width:3px")
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """The text as Mermaid's entities, but for letters, digits and harmless signs; cut if long."""
    short = text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
    return "".join(
        character if character.isalnum() or character in PLAIN else f"#{ord(character)};"
        for character in " ".join(short.split())
    )


def _label(node: Node) -> str:
    if node.session is None:
        told = node.status if node.name is None else f"{escaped(node.name)}, {node.status}"
        return f"({told})"
    session = node.session
    return f"{escaped(session.name)}<br/>{session.points_count} points, {session.status}"


def _arrow(edge: Edge, places: dict[str, str]) -> str:
    told = edge.kind.value
    if edge.line is not None:
        told += f", {edge.line.points} points"
    if edge.is_undone:
        told += ", undone"
    arrow = "-.->" if edge.is_undone else "-->"
    return f'  {places[edge.parent]} {arrow}|"{told}"| {places[edge.child]}'
