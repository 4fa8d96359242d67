"""Transfers from session to session, composed from their parts."""

from __future__ import annotations

from quire.transfer.building import Building
from quire.transfer.fork import Fork
from quire.transfer.foundation import Foundation
from quire.transfer.merge import Merge
from quire.transfer.parts import PartFinder
from quire.transfer.split import Split
from quire.transfer.survey import Survey


class Transfers:
    """Merging, splitting and forking: one attribute for each."""

    def __init__(self, on: Foundation) -> None:
        limits = on.settings.transfer
        survey = Survey(on.engine, on.database)
        building = Building(
            on.database, on.repository, on.rows, on.engine, on.embedders, on.waker, on.jobs
        )
        self.merge = Merge(
            on.sessions,
            on.repository,
            on.targets,
            building,
            on.finale,
            on.replaced,
            survey,
            on.activity,
            on.waker,
            on.jobs,
            limits,
        )
        self.split = Split(
            on.sessions,
            on.repository,
            on.rows,
            on.engine,
            PartFinder(on.engine, on.rows, on.settings),
            on.targets,
            building,
            on.finale,
            on.replaced,
            survey,
            on.activity,
            on.jobs,
            limits,
        )
        self.fork = Fork(
            on.sessions,
            on.repository,
            on.targets,
            building,
            on.finale,
            survey,
            on.activity,
            on.jobs,
        )
