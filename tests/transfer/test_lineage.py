"""The lineage graph: what came of what, as far as the caller may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from quire.access.policy import Role
from quire.errors import SessionNotFound
from quire.transfer.lineage import Descent, Line, LineageRecords
from quire.transfer.lineage_graph import MOST_NODES
from quire.transfer.mermaid import drawn, escaped
from tests.content.house import filled_quire, finished
from tests.points.workspace import with_points
from tests.sessions.house import ADA, ALAN, GRACE, OPERATOR, create, finish_purges, new_id, purged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.access.principal import Principal
    from quire.app import Quire
    from quire.sessions.models import Session
    from quire.transfer.lineage_graph import Graph

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    """One for all: each test has sessions of its own."""
    async with filled_quire(tmp_path_factory.mktemp("quire")) as quire:
        yield quire


async def descend(
    quire: Quire, child: str, parent: str, kind: Descent = Descent.FORKED_FROM, points: int = 77
) -> None:
    line = Line(
        child_id=child,
        child_name=f"name of {child}",
        parent_id=parent,
        parent_name=f"name of {parent}",
        kind=kind,
        job_id=new_id("job"),
        points=points,
        documents=3,
    )
    async with quire.database.write() as connection:
        await LineageRecords(quire.database).add(connection, [line])


async def named(quire: Quire, who: Principal, name: str) -> Session:
    return await create(quire, who, name=name, dimension=4)


def arrows(graph: Graph) -> set[tuple[str, str, str]]:
    names = {node.key: node.session.name if node.session else node.status for node in graph.nodes}
    return {(names[edge.parent], edge.kind.value, names[edge.child]) for edge in graph.edges}


async def test_it_reaches_parents_children_and_their_kin(quire: Quire) -> None:
    root, left, right, leaf = [await named(quire, ADA, name) for name in "abcd"]
    await descend(quire, left.id, root.id)
    await descend(quire, right.id, root.id, Descent.SPLIT_FROM)
    await descend(quire, leaf.id, left.id, Descent.MERGED_FROM)
    await descend(quire, leaf.id, right.id, Descent.MERGED_FROM)
    whole = {
        ("a", "forked_from", "b"),
        ("a", "split_from", "c"),
        ("b", "merged_from", "d"),
        ("c", "merged_from", "d"),
    }
    for session in (root, left, leaf):
        graph = await quire.history.lineage.around(ADA, session.id, depth=5)
        assert arrows(graph) == whole
        assert graph.nodes[0].key == session.id
        assert not graph.is_cut
    near = await quire.history.lineage.around(ADA, root.id, depth=1)
    assert arrows(near) == {("a", "forked_from", "b"), ("a", "split_from", "c")}
    assert near.is_cut
    alone = await named(quire, ADA, "alone")
    graph = await quire.history.lineage.around(ADA, alone.id, depth=5)
    assert (len(graph.nodes), graph.edges, graph.is_cut) == (1, [], False)


async def test_what_was_undone_says_so(quire: Quire) -> None:
    session = await with_points(quire, 4)
    await finished(quire, await quire.history.checkpoints.begin(ADA, session.id, "one"))
    job = await finished(quire, await quire.history.restore.begin(ADA, session.id, "one"))
    graph = await quire.history.lineage.around(ADA, session.id, depth=5)
    (edge,) = graph.edges
    assert edge.line is not None
    assert (edge.parent, edge.child, edge.kind) == (session.id, session.id, "restored_from")
    assert (edge.line.points, edge.line.job_id, edge.is_undone) == (4, job.id, False)
    await finished(quire, await quire.history.undo.begin(ADA, job.id))
    graph = await quire.history.lineage.around(ADA, session.id, depth=5)
    assert graph.edges[0].is_undone


async def test_nothing_of_what_one_may_not_see_shows(quire: Quire) -> None:
    mine, theirs, beyond = [
        await named(quire, who, name)
        for who, name in ((ADA, "mine"), (GRACE, "secret"), (ADA, "beyond"))
    ]
    gone = await named(quire, ADA, "gone by now")
    await descend(quire, theirs.id, mine.id, points=4242)
    await descend(quire, beyond.id, theirs.id)
    await descend(quire, mine.id, gone.id)
    await purged(quire, ADA, gone.id)
    await finish_purges(quire)
    graph = await quire.history.lineage.around(ADA, mine.id, depth=5)
    assert arrows(graph) == {("mine", "forked_from", "hidden"), ("gone", "forked_from", "mine")}
    told = f"{[(n.key, n.name) for n in graph.nodes]} {graph.edges} {drawn(graph)}"
    for secret in (theirs.id, "secret", "4242", beyond.id, "beyond", gone.id, "gone by now"):
        assert secret not in told
    assert all(edge.line is None for edge in graph.edges)

    with pytest.raises(SessionNotFound):
        await quire.history.lineage.around(ALAN, mine.id, depth=5)
    everything = await quire.history.lineage.around(OPERATOR, mine.id, depth=5)
    assert len(everything.edges) == 3
    await quire.sharing.share(GRACE, theirs.id, ["ada"], Role.READ)
    shared = await quire.history.lineage.around(ADA, mine.id, depth=5)
    assert ("mine", "forked_from", "secret") in arrows(shared)
    assert ("secret", "forked_from", "beyond") in arrows(shared)


async def test_an_import_names_its_file_whoever_has_a_session_of_that_id(quire: Quire) -> None:
    mine, theirs = await named(quire, ADA, "mine"), await named(quire, GRACE, "secret")
    for origin in (theirs.id, "from-elsewhere"):
        await descend(quire, mine.id, origin, Descent.IMPORTED_FROM)
    graph = await quire.history.lineage.around(ADA, mine.id, depth=5)
    outside = [node for node in graph.nodes if node.session is None]
    assert {node.name for node in outside} == {f"name of {theirs.id}", "name of from-elsewhere"}
    assert {node.status for node in outside} == {"outside"}
    assert all(node.key.startswith(":") for node in outside)


async def test_a_session_with_very_many_children_is_cut(quire: Quire) -> None:
    root = await named(quire, ADA, "root")
    for _ in range(MOST_NODES + 10):
        await descend(quire, new_id("child"), root.id)
    graph = await quire.history.lineage.around(ADA, root.id, depth=5)
    assert len(graph.nodes) == MOST_NODES
    assert len(graph.edges) == MOST_NODES - 1
    assert graph.is_cut


async def test_no_name_breaks_the_diagram(quire: Quire) -> None:
    evil = 'x"] --> y["<script>alert(1)</script>`#quot;%%{init}%%\u2028; end'
    session, child = await named(quire, ADA, evil), await named(quire, ADA, "Äpfel 苹果")
    await descend(quire, child.id, session.id)
    text = drawn(await quire.history.lineage.around(ADA, child.id, depth=5))
    header, *lines, style = text.splitlines()
    assert header == "flowchart TD"
    assert lines[0] == '  n0["Äpfel 苹果<br/>0 points, active"]'
    assert lines[1].startswith('  n1["x#34;#93; --#62; y#91;#34;#60;script#62;')
    assert lines[2] == '  n1 -->|"forked_from, 77 points"| n0'
    assert style == "  style n0 stroke-width:3px"
    inside = lines[1].removeprefix('  n1["').removesuffix('"]').replace("<br/>", "")
    assert not set(inside) & set('"[]<>`%{}()')
    assert len(lines) == 3
    assert len(escaped("n" * 500)) < 80
