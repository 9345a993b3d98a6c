"""What BPF programs cost: their runs and run time, by the kernel's own statistics."""

from __future__ import annotations

from contextlib import ExitStack

from lab.cluster import Cluster, Process
from lab.meter import Meter
from lab.meter.bpf import Program, held, program_name, run_time_statistics
from lab.meter.processes import gone, of_arm, part, subject
from lab.record import Block, Reading, Window


class Programs(Meter):
    """Runs and seconds of each BPF program that a process of the window's arm keeps open.

    Metrics by `place/process:program`: `bpf_runs`, `bpf_run_s`. The time is *inside* the CPU seconds of whoever was
    current: it says how much of them the programs took and must not be added to them. Counting costs two clock reads a
    run, in COST blocks only.
    """

    name = "programs"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.open_files = ExitStack()
        self.before: dict[int, Program] = {}

    def open(self, block: Block) -> None:
        super().open(block)
        self.open_files.enter_context(run_time_statistics())

    def begin(self, window: Window) -> None:
        self.before = {program.id: program for _, program in self._programs(window.arm)}

    def end(self, window: Window) -> tuple[Reading, ...]:
        readings = []
        for process, program in self._programs(window.arm):
            before = self.before.get(program.id, Program(program.id, program.tag, 0, 0, 0))
            who = (part(process), f"{subject(process)}:{program_name(program.id) or program.tag}")
            figures = {
                "bpf_runs": float(program.runs - before.runs),
                "bpf_run_s": (program.run_time_ns - before.run_time_ns) / 1e9,
            }
            readings += [self.reading(window.arm, window.index, *who, name, value) for name, value in figures.items()]
        return tuple(readings)

    def close(self) -> tuple[Reading, ...]:
        self.open_files.close()
        return ()

    def _programs(self, arm: str) -> list[tuple[Process, Program]]:
        """Each program once, under the first process that holds it."""
        found: dict[int, tuple[Process, Program]] = {}
        for process in of_arm(self.cluster.processes, arm):
            try:
                programs = held(process.pids()).programs
            except OSError as error:
                raise gone(process, error) from error
            for program in programs:
                found.setdefault(program.id, (process, program))
        return list(found.values())
