"""Faults counted: how many were injected, and after how many nothing was lost."""

from dataclasses import dataclass, field

from fastwsol.rundir import environment


@dataclass
class Count:
    """Of one kind of fault."""

    injected: int = 0
    lost: list[str] = field(default_factory=list)
    """What was lost, and to which fault."""

    def __call__(self, fault: str, survived: bool) -> None:
        """Note a fault."""
        self.injected += 1
        if not survived:
            self.lost.append(fault)


@dataclass
class Tally:
    """By promise and kind of fault."""

    counts: dict[tuple[str, str], Count] = field(default_factory=dict)

    def of(self, promise: str, kind: str) -> Count:
        """The count of a kind."""
        return self.counts.setdefault((promise, kind), Count())

    def as_markdown(self, command: str) -> str:
        """The table, and what it was made by and on."""
        made = environment()
        versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
        machine = f"{made['machine']['processor']}, {made['machine']['cores']} cores"
        lines = [f"Made by `{command}` at commit {made['git']}, on {machine}; {versions}.", ""]
        lines += ["| promise | fault | injected | survived | lost |", "|---|---|---:|---:|---:|"]
        for (promise, kind), count in self.counts.items():
            survived = count.injected - len(count.lost)
            lines.append(f"| {promise} | {kind} | {count.injected:,} | {survived:,} | {len(count.lost):,} |")
        return "\n".join(lines) + "\n"
